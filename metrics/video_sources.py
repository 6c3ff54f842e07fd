"""Where the videos that are scored come from: a dataset, a folder of files, a generator.

A source's videos are numbered, and each depends on its number (and the source's seed) alone: whoever asks, in whatever
order, gets the same pixels.
"""

import hashlib
import itertools
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from dnnlib.errors import UserError
from dnnlib.files import read_file
from dnnlib.video import read_frames, write_video
from training.checkpoints.snapshots import Snapshot
from training.data.dataset import ClipDataset
from training.data.files import FRAME_SUFFIXES, MAX_FILE_BYTES, decode_frame
from training.data.pairs import camera_window
from training.sampling.clips import PAPER_FRAMES, ClipSpec, SamplingOptions, clip_spec, generate

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif")
ROUND_TRIP_FPS = 25
CAMERAS, CLIPS = 2, 3  # streams of random numbers beside those of codes (training.sampling.clips)


@dataclass(frozen=True)
class Window:
    """Which frames of a longer video: `frames` of them, every `stride`-th."""

    frames: int = PAPER_FRAMES
    stride: int = 1

    @property
    def span(self) -> int:
        """Frames from the first to the last, both included."""
        return (self.frames - 1) * self.stride + 1


class VideoSource(Protocol):
    """A numbered set of videos."""

    count: int | None  # None: as many as one likes

    @property
    def identity(self) -> dict[str, Any]:
        """Plain values that everything about the videos follows from."""

    def video(self, index: int) -> np.ndarray:
        """uint8 [T, 3, H, W]; UserError if this one cannot be had."""


class DatasetVideos:
    """Windows of a dataset's clips.

    Args:
        every_clip_once: StyleGAN-V's protocol: clip by clip, each once, from a random frame; else PV3D's: random
            windows, all clips in turn, as many as there are different ones.

    Raises:
        UserError: no clip is long enough.
    """

    def __init__(self, dataset: ClipDataset, window: Window, seed: int = 0, every_clip_once: bool = False):
        self.dataset, self.window, self.seed, self.once = dataset, window, seed, every_clip_once
        self.clips = [i for i, clip in enumerate(dataset.clips) if len(clip.frames) >= window.span]
        if not self.clips:
            raise UserError(f"No clip of {dataset.path} has {window.span} frames: the protocol needs longer clips.")
        windows = sum(len(dataset.clips[clip].frames) - window.span + 1 for clip in self.clips)
        self.count = len(self.clips) if every_clip_once else windows

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "source": "dataset",
            "fingerprint": self.dataset.fingerprint(),
            "seed": self.seed,
            "window": vars(self.window).copy(),
            "once": self.once,
        }

    def video(self, index: int) -> np.ndarray:
        turn, place = divmod(index, len(self.clips))
        order = (
            np.arange(len(self.clips))
            if self.once
            else np.random.default_rng([self.seed, turn, CLIPS]).permutation(len(self.clips))
        )
        clip = self.clips[order[place]]
        rng = np.random.default_rng([self.seed, index, CLIPS, 1])
        start = int(rng.integers(len(self.dataset.clips[clip].frames) - self.window.span + 1))
        numbers = range(start, start + self.window.span, self.window.stride)
        return np.stack([self.dataset.read_frame(clip, number) for number in numbers])


class FolderVideos:
    """The videos of a folder: video files, and folders of frames; the first frames of each, in order of their names.

    Raises:
        UserError: the folder is missing or holds none.
    """

    def __init__(self, folder: Path, window: Window):
        self.folder, self.window = folder, window
        self.paths = list_videos(folder)
        self.count = len(self.paths)

    @property
    def identity(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for path in self.paths:
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                digest.update(f"{file.relative_to(self.folder)}\0{_size(file)}\0".encode())
        return {"source": "folder", "fingerprint": digest.hexdigest(), "window": vars(self.window).copy()}

    def video(self, index: int) -> np.ndarray:
        path, span = self.paths[index], self.window.span
        frames = list(itertools.islice(folder_frames(path) if path.is_dir() else file_frames(path), span))
        if len(frames) < span:
            raise UserError(f"{path} has {len(frames)} frames: the protocol needs {span}.")
        if len({frame.shape for frame in frames}) > 1:
            raise UserError(f"The frames of {path} have different sizes.")
        return np.stack(frames[:: self.window.stride])


def _size(file: Path) -> int:
    """In bytes; -1 for a link that leads nowhere, which cannot be read later on."""
    try:
        return file.stat().st_size
    except OSError:
        return -1


def list_videos(folder: Path) -> list[Path]:
    """Video files and folders of frames in a folder, by name. UserError if there are none."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give the folder that holds the videos.")
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    found = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES or (path.is_dir() and _frame_files(path))]
    if not found:
        raise UserError(f"{folder} holds no videos ({', '.join(VIDEO_SUFFIXES)}) and no folders of frames.")
    return found


def _frame_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in FRAME_SUFFIXES)


def file_frames(path: Path) -> Iterable[np.ndarray]:
    """Frames uint8 [3, H, W] of a video file."""
    return (frame.transpose(2, 0, 1) for frame in read_frames(path))


def folder_frames(folder: Path) -> Iterable[np.ndarray]:
    """Frames uint8 [3, H, W] of a folder of images."""
    for path in _frame_files(folder):
        try:
            yield decode_frame(read_file(path, "frame", MAX_FILE_BYTES))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is unreadable or truncated ({error}).") from error


class GeneratedVideos:
    """Videos of a snapshot: number i of seed 0 has the codes of `gen_videos.py --seeds=i`.

    Args:
        cameras: camera sequences [F, 25] to draw from; each video gets a random window of a random one.
        storage: how frames become uint8, and whether they pass through H.264: see STORAGE.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        checksum: str,
        cameras: list[np.ndarray],
        window: Window,
        seed: int = 0,
        storage: str = "pv3d",
        batch: int = 4,
    ):
        self.snapshot, self.checksum, self.cameras, self.seed = snapshot, checksum, cameras, seed
        self.window, self.storage, self.batch, self.count = window, storage, batch, None

    @property
    def identity(self) -> dict[str, Any]:
        digest = hashlib.sha256(b"".join(np.ascontiguousarray(path).tobytes() for path in self.cameras)).hexdigest()
        return {
            "source": "generator",
            "snapshot": self.checksum,
            "cameras": digest,
            "seed": self.seed,
            "window": vars(self.window).copy(),
            "storage": self.storage,
        }

    def video(self, index: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, index, CAMERAS])
        path = self.cameras[rng.integers(len(self.cameras))]
        cameras = torch.from_numpy(camera_window(rng, path, self.window.span))[:: self.window.stride]
        spec = code_spec(self.snapshot, self.seed, index, cameras)
        batches = generate(self.snapshot.G, spec, SamplingOptions(frames_per_batch=self.batch))
        convert, round_trip = STORAGE[self.storage]
        frames = np.concatenate([convert(batch["image"]).cpu().numpy() for batch in batches])
        return through_h264(frames) if round_trip else frames


def code_spec(snapshot: Snapshot, seed: int, index: int, cameras: torch.Tensor) -> ClipSpec:
    """Video `index` of a seed, seen by cameras [T, 25]; no two (seed, index) share a code."""
    number = (seed << 32) + index
    return clip_spec(snapshot.G, number, number, cameras)


def to_uint8_pv3d(images: torch.Tensor) -> torch.Tensor:
    """[-1, 1] -> uint8 as PV3D's scripts do: clamp, (x + 1) / 2 * 255, truncate."""
    return images.clamp(-1, 1).add(1).div(2).mul(255).to(torch.uint8)


def to_uint8_stylegan(images: torch.Tensor) -> torch.Tensor:
    """[-1, 1] -> uint8 as StyleGAN-V does: x * 127.5 + 128, clamp, truncate."""
    return images.mul(127.5).add(128).clamp(0, 255).to(torch.uint8)


# How frames become uint8, and whether they are stored as H.264 in between.
STORAGE = {
    "pv3d": (to_uint8_pv3d, True),
    "pv3d-frames": (to_uint8_pv3d, False),
    "stylegan-v": (to_uint8_stylegan, False),
}


def through_h264(frames: np.ndarray) -> np.ndarray:
    """Frames uint8 [T, 3, H, W] written as an H.264 file and read back (H and W even, else padded and cropped)."""
    height, width = frames.shape[2:]
    with tempfile.TemporaryDirectory(prefix="pv3d-") as folder:
        path = Path(folder) / "video.mp4"
        write_video(path, (frame.transpose(1, 2, 0) for frame in frames), ROUND_TRIP_FPS)
        return np.stack([frame[:height, :width].transpose(2, 0, 1) for frame in read_frames(path)])
