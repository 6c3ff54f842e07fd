"""Clips on disk -> pairs of frames with times and cameras, as training draws them (PV3D section 3.4).

A dataset is a folder or zip of `<clip>/<frame>.png|jpg` and `dataset.json` (docs/data.md). Item k of the endless stream
of training pairs depends on the seed and k alone, so any number of ranks and workers sees the same stream, and a
resumed run goes on where it stopped.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from dnnlib.errors import UserError
from dnnlib.files import shown
from training.cameras import CAMERA_DIM, MIRROR_NEGATES, as_camera
from training.data.files import (
    DAMAGE,
    DEPTH_SUFFIX,
    decode_depth,
    decode_frame,
    is_safe,
    labels_of,
    open_files,
    read_index,
)
from training.data.loader import endless_batches

WINDOW = 16  # frames of a clip that a pair is drawn from (section 3.4)
DEFAULT_FPS, FPS_END = 25.0, 1000  # of a clip without a rate above 0 and below this one
MIRROR_SIGN = np.ones(CAMERA_DIM, dtype=np.float32)
MIRROR_SIGN[list(MIRROR_NEGATES)] = -1


class Purpose(IntEnum):
    """What random numbers are for: the beginning of their key, so that no two kinds of draws can be the same numbers.

    NumPy takes keys as words of 32 bits; no seed (up to 2 ** 63 - 1) begins with two words of which the upper is full,
    nor do seed and iteration. So these differ from the keys of `torch_utils.random_numbers`, too.
    """

    PAIRS = 2**64 - 1
    EPOCHS = 2**64 - 2
    CAMERAS = 2**64 - 3
    BANK = 2**64 - 4


@dataclass(frozen=True)
class Clip:
    """One clip: its frames' paths inside the dataset, in order, and their cameras float32 [F, 25]."""

    name: str
    frames: tuple[str, ...]
    cameras: np.ndarray
    fps: float
    identity: str | None


@dataclass(frozen=True)
class Pair:
    """Two frames of a clip: frames uint8 [2, 3, R, R], times float32 [2] in [0, 1], cameras float32 [2, 25]."""

    frames: np.ndarray
    times: np.ndarray
    cameras: np.ndarray


class ClipDataset:
    """The clips of a folder or zip; opens again in every process that it is sent to.

    Args:
        path: the folder or zip.
        resolution: side of the frames to deliver; None for the stored one. Stored frames may be larger by a whole
            factor, and are then averaged down.

    Raises:
        UserError: nothing there, no cameras, damaged, or another resolution.
    """

    def __init__(self, path: str | Path, resolution: int | None = None):
        self.path = Path(path)
        self._files = open_files(self.path)
        index = read_index(self._files)
        self.clips = _clips(index, self.path)
        self.stored_resolution = self._stored_resolution()
        self.resolution = resolution or self.stored_resolution
        if self.stored_resolution % self.resolution:
            raise UserError(
                f"The dataset {self.path} has frames of {self.stored_resolution} pixels, which do not "
                f"shrink to {self.resolution}: convert its source with --resolution={self.resolution}."
            )

    @property
    def num_clips(self) -> int:
        """Number of clips."""
        return len(self.clips)

    @property
    def num_frames(self) -> int:
        """Number of frames of all clips."""
        return sum(len(clip.frames) for clip in self.clips)

    def fingerprint(self) -> str:
        """64 hexadecimal digits that change with the frames' names, file sizes, cameras or resolution (not with the
        path, nor between a folder and a zip of it)."""
        digest = hashlib.sha256(str(self.resolution).encode())
        for clip in self.clips:
            digest.update("\0".join((clip.name, *clip.frames, "")).encode())
            digest.update(np.array([self._files.size(frame) for frame in clip.frames], dtype="<i8").tobytes())
            digest.update(clip.cameras.tobytes())
        return digest.hexdigest()

    def read_frame(self, clip_index: int, frame_index: int) -> np.ndarray:
        """One frame, uint8 [3, R, R]. UserError if it is missing, damaged or of another size."""
        name = self.clips[clip_index].frames[frame_index]
        frame = self._decode(name)
        stored = self.stored_resolution
        if frame.shape[1:] != (stored, stored):
            raise UserError(
                f"Frame {shown(name)} of {self.path} is {frame.shape[2]} x {frame.shape[1]} pixels, others "
                f"are {stored} x {stored}: `python dataset_tool.py check {self.path}` lists all such."
            )
        return shrink(frame, stored // self.resolution)

    def read_depth(self, clip_index: int, frame_index: int) -> np.ndarray:
        """The true depth of a procedural frame, float32 [S, S] at the stored resolution S: distance along the rays
        through the pixels' centres, world units. UserError if the dataset has none."""
        return self._decode(
            str(PurePosixPath(self.clips[clip_index].frames[frame_index]).with_suffix(DEPTH_SUFFIX)), decode_depth
        )

    def _decode(self, name: str, decode: Callable[[bytes], np.ndarray] = decode_frame) -> np.ndarray:
        advice = f"`python dataset_tool.py check {self.path}` lists all broken frames"
        try:
            return decode(self._files.read(name))
        except KeyError:
            raise UserError(f"Frame {shown(name)} of {self.path} is missing: {advice}.") from None
        except DAMAGE as error:
            raise UserError(
                f"Frame {shown(name)} of {self.path} is unreadable or truncated ({shown(str(error))}): {advice}."
            ) from error

    def _stored_resolution(self) -> int:
        name = self.clips[0].frames[0]
        height, width = self._decode(name).shape[1:]
        if height != width:
            raise UserError(
                f"Frame {shown(name)} of {self.path} is {width} x {height} pixels: frames must be square, "
                "crop them or use `python dataset_tool.py convert`."
            )
        return height


def shrink(frame: np.ndarray, factor: int) -> np.ndarray:
    """uint8 [3, H, W] averaged over factor x factor pixels."""
    if factor == 1:
        return frame
    channels, height, width = frame.shape
    blocks = frame.reshape(channels, height // factor, factor, width // factor, factor)
    return (blocks.mean(axis=(2, 4)) + 0.5).astype(np.uint8)


def _clips(index: dict, path: Path) -> list[Clip]:
    """Clips of an index, by name; without "clips" (an EG3D image dataset) every frame is a clip of its own."""
    described = index.get("clips")
    if not isinstance(described, dict | None):
        raise UserError(f'"clips" in dataset.json of {path} must be an object: {{clip: {{"fps": 25}}}}.')
    grouped: dict[str, list[tuple[str, np.ndarray]]] = {}
    for name, label in labels_of(index, path):
        folder = PurePosixPath(name).parent.as_posix() if described is not None else name
        grouped.setdefault(folder, []).append((name, _camera(name, label, path)))
    return [_clip(name, sorted(grouped[name], key=lambda item: item[0]), described or {}) for name in sorted(grouped)]


def _clip(name: str, frames: list[tuple[str, np.ndarray]], described: dict) -> Clip:
    about = described.get(name)
    about = about if isinstance(about, dict) else {}
    fps, identity = about.get("fps"), about.get("identity")
    return Clip(
        name,
        tuple(frame for frame, _ in frames),
        np.stack([camera for _, camera in frames]),
        float(fps) if isinstance(fps, int | float) and 0 < fps < FPS_END else DEFAULT_FPS,
        str(identity) if isinstance(identity, str | int | float) else None,
    )


def _camera(name: str, label, path: Path) -> np.ndarray:
    """A label as float32 [25]. UserError if it is something else, or the frame's path leaves the dataset."""
    if not is_safe(name):
        raise UserError(
            f"dataset.json of {path} lists the unsafe path {shown(repr(name))}: use relative paths inside it."
        )
    camera = as_camera(label)
    if camera is None:
        raise UserError(
            f"Frame {shown(name)} of {path} has no valid camera (25 finite numbers): "
            f"`python dataset_tool.py check {path}` lists all such frames."
        )
    return camera


def draw_times(rng: np.random.Generator) -> tuple[float, float]:
    """Two moments in [0, 1), sorted: one of Beta(2, 1), one of Beta(1, 2) (section 3.4)."""
    first, second = sorted((rng.beta(2, 1), rng.beta(1, 2)))
    return float(first), float(second)


def draw_frames(rng: np.random.Generator, length: int, window: int = WINDOW) -> tuple[int, np.ndarray, np.ndarray]:
    """A random window of a clip of `length` frames, and two moments in it.

    Returns:
        start: first frame of the window; a clip shorter than the window is a window itself.
        offsets: int [2], frames in the window: int(moment * window).
        moments: float [2], the two draws of `draw_times`.
    """
    span = min(length, window)
    start = int(rng.integers(length - span + 1))
    moments = np.array(draw_times(rng))
    return start, np.minimum((moments * span).astype(int), span - 1), moments


def draw_pair(
    rng: np.random.Generator, dataset: ClipDataset, clip_index: int, window: int = WINDOW, mirror: float = 0.5
) -> Pair:
    """Two frames of a clip as a training sample: time is the index in the window / (window - 1); both are mirrored
    together, cameras too, with probability `mirror`."""
    clip = dataset.clips[clip_index]
    start, offsets, _ = draw_frames(rng, len(clip.frames), window)
    frames = np.stack([dataset.read_frame(clip_index, start + int(offset)) for offset in offsets])
    cameras = clip.cameras[start + offsets]
    if rng.random() < mirror:
        frames, cameras = np.ascontiguousarray(frames[..., ::-1]), cameras * MIRROR_SIGN
    return Pair(frames, (offsets / max(window - 1, 1)).astype(np.float32), cameras)


class PairStream(torch.utils.data.Dataset):
    """The endless stream of training pairs as a map from item number to sample; epochs are shuffled anew.

    A UserError becomes the item, for a worker can only pass on values cleanly.
    """

    def __init__(self, dataset: ClipDataset, seed: int, window: int = WINDOW, mirror: bool = True):
        self.dataset, self.seed, self.window, self.mirror = dataset, seed, window, 0.5 if mirror else 0.0

    def clip_index(self, item: int) -> int:
        """Which clip item number `item` is drawn from."""
        epoch, position = divmod(item, self.dataset.num_clips)
        return int(_epoch_order(self.seed, epoch, self.dataset.num_clips)[position])

    def __getitem__(self, item: int) -> "Pair | UserError":
        try:
            rng = np.random.default_rng([Purpose.PAIRS, self.seed, item])
            return draw_pair(rng, self.dataset, self.clip_index(item), self.window, self.mirror)
        except UserError as error:
            return error


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, clips: int) -> np.ndarray:
    return np.random.default_rng([Purpose.EPOCHS, seed, epoch]).permutation(clips)


def training_batches(
    dataset: ClipDataset,
    batch: int,
    *,
    seed: int,
    start: int = 0,
    rank: int = 0,
    world: int = 1,
    workers: int = 2,
    window: int = WINDOW,
    mirror: bool = True,
) -> Iterator[dict[str, torch.Tensor]]:
    """This rank's share of the endless training stream.

    Args:
        batch: clips a batch, of this rank.
        start: clips already consumed by all ranks together; a resumed run goes on there.
        rank, world: this rank takes items start + rank, start + rank + world, ...
        workers: processes that decode; 0 decodes here. The stream does not depend on it.

    Yields:
        frames uint8 [batch, 2, 3, R, R], times float32 [batch, 2], cameras float32 [batch, 2, 25].

    Raises:
        UserError: a frame is missing or damaged; a worker died, hangs, or has no shared memory.
    """
    return endless_batches(
        PairStream(dataset, seed, window, mirror), batch, start=start + rank, step=world, workers=workers
    )


class CameraSampler:
    """Times and cameras for fakes: those of a random training clip, drawn as for reals but with continuous times.

    Args:
        source: a dataset, or a bank of camera sequences [M, F, 25].
    """

    def __init__(self, source: ClipDataset | torch.Tensor | np.ndarray, window: int = WINDOW, mirror: bool = True):
        is_dataset = isinstance(source, ClipDataset)
        self.sequences = [clip.cameras for clip in source.clips] if is_dataset else list(np.asarray(source, np.float32))
        self.window, self.mirror = window, 0.5 if mirror else 0.0

    def sample(self, key: int | tuple[int, ...], n: int) -> tuple[torch.Tensor, torch.Tensor]:
        """times float32 [n, 2] and cameras float32 [n, 2, 25]; a pure function of `key` (non-negative integers)."""
        rng = np.random.default_rng([Purpose.CAMERAS, *((key,) if isinstance(key, int) else key)])
        times, cameras = np.empty([n, 2], np.float32), np.empty([n, 2, CAMERA_DIM], np.float32)
        for row in range(n):
            sequence = self.sequences[rng.integers(len(self.sequences))]
            start, offsets, times[row] = draw_frames(rng, len(sequence), self.window)
            cameras[row] = sequence[start + offsets] * (MIRROR_SIGN if rng.random() < self.mirror else 1)
        return torch.from_numpy(times), torch.from_numpy(cameras)


def camera_bank(dataset: ClipDataset, clips: int = 256, frames: int = WINDOW, seed: int = 0) -> torch.Tensor:
    """Camera sequences float32 [M, frames, 25] of up to `clips` random clips, a random window each, for snapshots."""
    rng = np.random.default_rng([Purpose.BANK, seed])
    chosen = rng.permutation(dataset.num_clips)[:clips]
    return torch.from_numpy(np.stack([camera_window(rng, dataset.clips[index].cameras, frames) for index in chosen]))


def camera_window(rng: np.random.Generator, cameras: np.ndarray, frames: int) -> np.ndarray:
    """A random window [frames, 25] of a clip's cameras [F, 25]; a shorter clip runs to and fro (0 1 2 1 0 ...)."""
    length = len(cameras)
    start = int(rng.integers(max(length - frames, 0) + 1))
    period = max(2 * (length - 1), 1)
    place = (start + np.arange(frames)) % period
    return cameras[np.minimum(place, period - place) if length < frames else place]
