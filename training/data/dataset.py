"""A dataset as clips: a folder or zip of `<clip>/<frame>.png|jpg` and `dataset.json` (docs/data.md), read on demand."""

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import shown
from dnnlib.names import frame_numbers, natural_key, order_notes, plain
from dnnlib.video import is_frame_rate
from training.cameras import CAMERA_DIM, parse_label
from training.data.files import DAMAGE, INDEX, ZipFiles, fault_of_name, labels_of, open_files, read_index
from training.data.fingerprints import Fingerprinted
from training.data.frames import DEPTH_SUFFIX, decode_depth, decode_frame

DEFAULT_FPS = 25.0  # of a clip without a proper frame rate


# --- Clips on disk ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One clip: its frames' paths inside the dataset, in order, and their cameras float32 [F, 25]."""

    name: str
    frames: tuple[str, ...]
    cameras: np.ndarray
    fps: float
    identity: str | None


class ClipDataset(Fingerprinted):
    """The clips of a folder or zip, which every process that gets the dataset opens for itself.

    Args:
        path: the folder or zip.
        resolution: side of the frames to deliver; None for the stored one. Stored frames may be larger by a whole
            factor, and are then averaged down.

    Raises:
        UserError: nothing is there, it has no cameras, it is damaged, or it has another resolution.
    """

    def __init__(self, path: str | Path, resolution: int | None = None):
        self.path = Path(path)
        self._files = open_files(self.path)
        index = read_index(self._files)
        self.clips = _clips(index, self.path)
        self._describes_clips = index.get("clips") is not None
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

    @property
    def notes(self) -> list[str]:
        """Sentences about what the dataset leaves open."""
        if self._describes_clips:
            files = {clip.name: [frame.rpartition("/")[2] for frame in clip.frames] for clip in self.clips}
            notes = order_notes(files, "clips")
        else:
            note = stills_note([frame for clip in self.clips for frame in clip.frames])
            notes = [note] if note else []
        return [f"{self.path}: {note}" for note in notes]

    @cached_property
    def names_and_sizes(self) -> str:
        """64 hexadecimal digits of the frames' names, file sizes and cameras, and of the resolution.

        This was the fingerprint that earlier versions gave to their runs, so that it never changes: names are in the
        order of their text.
        """
        digest = hashlib.sha256(str(self.resolution).encode())
        for clip in sorted(self.clips, key=lambda clip: clip.name):
            order = sorted(range(len(clip.frames)), key=clip.frames.__getitem__)
            frames = [clip.frames[place] for place in order]
            digest.update("\0".join((clip.name, *frames, "")).encode())
            sizes = np.array([self._files.size(frame) for frame in frames], dtype="<i8")
            digest.update(sizes.tobytes())
            digest.update(clip.cameras[order].tobytes())
        return digest.hexdigest()

    @property
    def is_reordered(self) -> bool:
        """Whether earlier versions read the frames of a clip in another order, that of the text of their names."""
        return any(list(clip.frames) != sorted(clip.frames) for clip in self.clips)

    def at_a_glance(self) -> str:
        """Return names and sizes of the frames; of a zip, whose directory has their checksums, all of the content."""
        return self.fingerprint() if isinstance(self._files, ZipFiles) else self.names_and_sizes

    def _read_fingerprint(self) -> str:
        """Digest the frames' names in order, their contents and cameras, and the resolution.

        The path does not count, nor whether it is a folder or a zip of it.
        """
        marks = iter(self._files.checksums([frame for clip in self.clips for frame in clip.frames]))
        digest = hashlib.sha256(str(self.resolution).encode())
        for clip in self.clips:
            contents = itertools.islice(marks, len(clip.frames))
            digest.update("\0".join((clip.name, *clip.frames, *contents, "")).encode())
            digest.update(clip.cameras.tobytes())
        return digest.hexdigest()

    def read_frame(self, clip_index: int, frame_index: int) -> np.ndarray:
        """Read one frame, uint8 [3, R, R]. UserError if it is missing, damaged or of another size."""
        name = self.clips[clip_index].frames[frame_index]
        frame = self._decode(name, decode_frame)
        _, height, width = frame.shape
        stored = self.stored_resolution
        if height != stored or width != stored:
            raise UserError(
                f"Frame {shown(name)} of {self.path} is {width} x {height} pixels, others "
                f"are {stored} x {stored}: `python dataset_tool.py check {self.path}` lists all such."
            )
        return shrink(frame, stored // self.resolution)

    def read_depth(self, clip_index: int, frame_index: int) -> np.ndarray:
        """Read the true depth of a procedural frame, float32 [S, S] at the stored resolution S.

        It is the distance along the rays through the pixels' centres, world units. UserError if the dataset has none.
        """
        frame = PurePosixPath(self.clips[clip_index].frames[frame_index])
        return self._decode(str(frame.with_suffix(DEPTH_SUFFIX)), decode_depth)

    def _decode(self, name: str, decode: Callable[[bytes], np.ndarray]) -> np.ndarray:
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
        """Return the side of the first frame. UserError if it is not square."""
        name = self.clips[0].frames[0]
        _, height, width = self._decode(name, decode_frame).shape
        if height != width:
            raise UserError(
                f"Frame {shown(name)} of {self.path} is {width} x {height} pixels: frames must be square, "
                "crop them or use `python dataset_tool.py convert`."
            )
        return height


def shrink(frame: np.ndarray, factor: int) -> np.ndarray:
    """Average uint8 [3, H, W] over factor x factor pixels."""
    if factor == 1:
        return frame
    channels, height, width = frame.shape
    blocks = frame.reshape(channels, height // factor, factor, width // factor, factor)
    return (blocks.mean(axis=(2, 4)) + 0.5).astype(np.uint8)


# --- From the index to clips ------------------------------------------------------------------------------------------

Frames = list[tuple[str, np.ndarray]]  # paths inside the dataset, with cameras float32 [25]


def _clips(index: dict, path: Path) -> list[Clip]:
    """Return the clips of an index, by name; without "clips" (an EG3D image dataset) every frame is a clip."""
    described = described_clips(index)
    if not isinstance(described, dict | None):
        raise UserError(f'"clips" in {INDEX} of {path} must be an object: {{clip: {{"fps": 25}}}}.')
    grouped: dict[str, Frames] = {}
    for name, label in labels_of(index, path):
        clip = name if described is None else PurePosixPath(name).parent.as_posix()
        grouped.setdefault(clip, []).append((name, _camera(name, label, path)))
    return [_clip(name, grouped[name], (described or {}).get(name), path) for name in sorted(grouped, key=natural_key)]


def described_clips(index: dict) -> object:
    """Return "clips" of an index; of an object, with plain names."""
    described = index.get("clips")
    return {plain(name): about for name, about in described.items()} if isinstance(described, dict) else described


def stills_note(names: list[str]) -> str | None:
    """Return what to say of frames without "clips", which are stills, that look like clips; None if they do not.

    They do where folders hold several frames of consecutive numbers, as those of EG3D's own stills may, too.
    """
    folders: dict[str, list[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        if folder:
            folders.setdefault(folder, []).append(file)
    like_clips = sum(_is_sequence(files) for files in folders.values())
    if not like_clips:
        return None
    return (
        f"no clips are described, so that each of {len(names)} frames is a still picture; if the {like_clips} folders "
        f'of consecutive frames are clips, add "clips": {{}} to {INDEX}.'
    )


def _is_sequence(files: list[str]) -> bool:
    numbers = sorted(frame_numbers(files) or [])
    return len(numbers) > 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _clip(name: str, frames: Frames, description: object, path: Path) -> Clip:
    """Make a clip of its frames and of what the index says about it, which may be anything.

    UserError if a frame has two cameras.
    """
    about = description if isinstance(description, dict) else {}
    fps = about.get("fps")
    identity = about.get("identity")
    frames = sorted(frames, key=lambda frame: natural_key(frame[0]))
    for (frame, camera), (following, next_camera) in pairwise(frames):
        if frame == following and not np.array_equal(camera, next_camera):
            raise UserError(f"{INDEX} of {path} has two cameras of frame {shown(frame)}: leave one of them there.")
    paths, cameras = zip(*frames, strict=True)
    return Clip(
        name=name,
        frames=paths,
        cameras=np.stack(cameras),
        fps=float(fps) if is_frame_rate(fps) else DEFAULT_FPS,
        identity=str(identity) if isinstance(identity, str | int | float) else None,
    )


def _camera(name: str, label: object, path: Path) -> np.ndarray:
    """Return a frame's label as float32 [25]. UserError if it is something else, or the path leaves the dataset."""
    if fault := fault_of_name(name):
        raise UserError(
            f"{INDEX} of {path} lists the unsafe path {shown(repr(name))} ({fault}): use relative paths inside it."
        )
    camera = parse_label(label)
    if camera is None:
        raise UserError(
            f"Frame {shown(name)} of {path} has no valid camera ({CAMERA_DIM} finite numbers): "
            f"`python dataset_tool.py check {path}` lists all such frames."
        )
    return camera
