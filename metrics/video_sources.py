"""Where the videos that are scored come from: a dataset, a folder of files, a generator.

A source's videos are numbered, and each depends on its number (and the source's seed) alone: whoever asks, in whatever
order, gets the same pixels.
"""

import hashlib
import itertools
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from dnnlib.errors import UserError
from dnnlib.names import not_taken
from dnnlib.video import CODEC_VERSION, read_frames, write_video
from metrics.folder_content import FolderContent
from metrics.folders import file_frames, folder_frames, frame_files, list_videos, notes_of_frames
from training.checkpoints.snapshots import Snapshot
from training.data.dataset import ClipDataset
from training.data.fingerprints import Fingerprinted
from training.data.pairs import camera_window
from training.data.streams import Stream
from training.sampling.clips import ClipSpec, clip_spec, frame_times, generate, trained_frames
from training.sampling.options import PAPER_FRAMES
from training.sampling.pictures import to_uint8

ROUND_TRIP_FPS = 25


@dataclass(frozen=True)
class Window:
    """Which frames of a longer video: `frames` of them, every `stride`-th."""

    frames: int = PAPER_FRAMES
    stride: int = 1

    @property
    def span(self) -> int:
        """Frames from the first to the last, both included."""
        return (self.frames - 1) * self.stride + 1


class NumberedVideos(Protocol):
    """A numbered set of videos, whatever is seen of each."""

    @property
    def count(self) -> int | None:
        """Number of videos; None: any number."""

    @property
    def content(self) -> Fingerprinted | None:
        """Files that the videos lie in; the identity has their fingerprint, which the processes share first."""

    @property
    def notes(self) -> Sequence[str]:
        """Sentences about what is there and is no video of the set."""

    @property
    def identity(self) -> dict[str, Any]:
        """Plain values that everything about the videos follows from."""


class VideoSource(NumberedVideos, Protocol):
    """Videos as frames."""

    def video(self, index: int) -> np.ndarray:
        """Return uint8 [T, 3, H, W]; raise UserError if this video is missing or damaged."""


# --- Real videos ------------------------------------------------------------------------------------------------------


class DatasetVideos:
    """Windows of a dataset's clips.

    Args:
        every_clip_once: clip by clip, each once, from a random frame (StyleGAN-V's protocol); else random windows, all
            clips in turn, as many as there are different ones (PV3D's).

    Raises:
        UserError: no clip is long enough.
    """

    def __init__(self, dataset: ClipDataset, window: Window, seed: int = 0, every_clip_once: bool = False):
        self.dataset = self.content = dataset
        self.window = window
        self.seed = seed
        self.every_clip_once = every_clip_once
        lengths = dataset.lengths
        self.clips = [index for index, length in enumerate(lengths) if length >= window.span]
        short = [dataset.clips[index].name for index, length in enumerate(lengths) if length < window.span]
        self.notes = not_taken(f"clips of {dataset.path} with fewer than {window.span} frames", short)
        if not self.clips:
            raise UserError(f"No clip of {dataset.path} has {window.span} frames: the protocol needs longer clips.")
        if every_clip_once:
            self.count = len(self.clips)
        else:
            self.count = sum(lengths[clip] - window.span + 1 for clip in self.clips)

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "source": "dataset",
            "fingerprint": self.dataset.fingerprint(),
            "seed": self.seed,
            "window": asdict(self.window),
            "once": self.every_clip_once,
        }

    def video(self, index: int) -> np.ndarray:
        turn, place = divmod(index, len(self.clips))
        if not self.every_clip_once:
            rng = np.random.default_rng([self.seed, turn, Stream.DATASET_CLIPS])
            place = rng.permutation(len(self.clips))[place]
        clip = self.clips[place]
        span = self.window.span
        rng = np.random.default_rng([self.seed, index, Stream.DATASET_CLIPS, 1])
        start = int(rng.integers(len(self.dataset.clips[clip]) - span + 1))
        numbers = range(start, start + span, self.window.stride)
        return np.stack([self.dataset.read_frame(clip, number) for number in numbers])


# --- Files made elsewhere ---------------------------------------------------------------------------------------------


class FolderVideos:
    """The videos of a folder: video files, and folders of frames; the first frames of each, in order of their names.

    Raises:
        UserError: the folder is missing or holds none.
    """

    def __init__(self, folder: Path, window: Window):
        self.folder = folder
        self.window = window
        self.paths, notes = list_videos(folder)
        self.notes = notes + notes_of_frames(path for path in self.paths if path.is_dir())
        self.count = len(self.paths)
        files = [frame_files(path) if path.is_dir() else [path] for path in self.paths]
        self.content = FolderContent(folder, itertools.chain.from_iterable(files))

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "source": "folder",
            "codec": CODEC_VERSION,
            "fingerprint": self.content.fingerprint(),
            "window": asdict(self.window),
        }

    def video(self, index: int) -> np.ndarray:
        path = self.paths[index]
        span = self.window.span
        all_frames = folder_frames(path) if path.is_dir() else file_frames(path)
        frames = list(itertools.islice(all_frames, span))
        if len(frames) < span:
            raise UserError(f"{path} has {len(frames)} frames: the protocol needs {span}.")
        if len({frame.shape for frame in frames}) > 1:
            raise UserError(f"The frames of {path} have different sizes.")
        return np.stack(frames[:: self.window.stride])


# --- Generated videos -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FrameStorage:
    """How generated frames are stored before they are scored."""

    name: str
    to_uint8: Callable[[torch.Tensor], torch.Tensor]  # from [-1, 1]
    h264: bool  # written as a video file and read back


def to_uint8_pv3d(images: torch.Tensor) -> torch.Tensor:
    """Turn [-1, 1] into bytes as PV3D's scripts do: clamp, (x + 1) / 2 * 255, truncate."""
    return images.clamp(-1, 1).add(1).div(2).mul(255).to(torch.uint8)


def stored_frames(
    batches: Iterable[dict[str, torch.Tensor]], to_uint8: Callable[[torch.Tensor], torch.Tensor] = to_uint8_pv3d
) -> np.ndarray:
    """Return the images of batches of `training.sampling.clips` as frames uint8 [T, 3, R, R]."""
    return np.concatenate([to_uint8(batch["image"]).cpu().numpy() for batch in batches])


PV3D_STORAGE = FrameStorage("pv3d", to_uint8_pv3d, h264=True)
STYLEGAN_V_STORAGE = FrameStorage("stylegan-v", to_uint8, h264=False)


@dataclass(kw_only=True)
class GeneratedVideos:
    """Videos of a snapshot, any number of them: number i of seed 0 has the codes of `gen_videos.py --seeds=i`.

    Args:
        checksum: of the snapshot's file.
        cameras: camera sequences [F, 25] to draw from; each video gets a random window of a random one.
    """

    snapshot: Snapshot
    checksum: str
    cameras: list[np.ndarray]
    window: Window
    storage: FrameStorage
    seed: int = 0
    count = content = None

    @property
    def notes(self) -> Sequence[str]:
        trained = trained_frames(self.snapshot.G, self.snapshot.config.training.window)
        if self.window.span <= trained or self.snapshot.G.chain is not None:
            return ()
        frames, move = (
            ("single frames", "do not move") if trained == 1 else (f"{trained} frames of a clip", "move slower")
        )
        return [f"The model was trained on {frames}, and real videos span {self.window.span}: generated ones {move}."]

    @property
    def identity(self) -> dict[str, Any]:
        digest = hashlib.sha256(repr([len(path) for path in self.cameras]).encode())
        for path in self.cameras:
            digest.update(np.ascontiguousarray(path).tobytes())
        return {
            "source": "generator",
            "snapshot": self.checksum,
            "cameras": digest.hexdigest(),
            "seed": self.seed,
            "window": asdict(self.window),
            "storage": self.storage.name,
            "codec": CODEC_VERSION if self.storage.h264 else None,
        }

    def video(self, index: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, index, Stream.VIDEO_CAMERAS])
        path = self.cameras[rng.integers(len(self.cameras))]
        cameras = camera_window(rng, path, self.window.span)[:: self.window.stride]
        spec = code_spec(self.snapshot, self.seed, index, torch.from_numpy(cameras))
        spec = replace(spec, times=scored_times(self.snapshot, self.window))
        frames = stored_frames(generate(self.snapshot.G, spec), self.storage.to_uint8)
        return through_h264(frames) if self.storage.h264 else frames


def code_spec(snapshot: Snapshot, seed: int, index: int, cameras: torch.Tensor) -> ClipSpec:
    """Return video `index` of a seed, seen by cameras [T, 25]; no two (seed, index) share a code."""
    number = (seed << 32) + index
    return clip_spec(snapshot.G, number, number, cameras)


def how_mapped(snapshot: Snapshot) -> dict[str, str]:
    """Return part of a key of what is seen in several views: those of some models are mapped with a camera each."""
    return {"mapping": "each view's camera"} if snapshot.config.generator.maps_each_camera else {}


def scored_times(snapshot: Snapshot, window: Window = Window()) -> torch.Tensor:
    """Return the times [T] of a scored video: at the speed of real frames, but not beyond the greatest trained one.

    Only where motion moves latents, it runs on.
    """
    end = (window.span - 1) / time_steps(snapshot)
    return frame_times(window.frames, min(end, snapshot.G.max_time) if snapshot.G.chain is None else end)


def time_steps(snapshot: Snapshot) -> int:
    """Return how many frames of a clip time 1 is away."""
    return max(snapshot.config.training.window - 1, 1)


def through_h264(frames: np.ndarray) -> np.ndarray:
    """Write frames uint8 [T, 3, H, W] as an H.264 file and read them back; odd sizes are padded, then cropped."""
    height, width = frames.shape[2:]
    with tempfile.TemporaryDirectory(prefix="pv3d-") as folder:
        path = Path(folder) / "video.mp4"
        write_video(path, frames.transpose(0, 2, 3, 1), ROUND_TRIP_FPS)
        decoded = np.stack([frame[:height, :width] for frame in read_frames(path)])
    return decoded.transpose(0, 3, 1, 2)
