"""Frames as files: videos, folders of pictures, arrays. The one way for gen_videos.py, edit_videos.py and pv3d."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dnnlib.files import atomic_folder, atomic_path
from dnnlib.names import frame_name
from dnnlib.video import write_video
from training.sampling import pictures
from training.sampling.options import DEFAULT_FPS, PICTURES
from training.sampling.records import SYNTHETIC

GIF_TICK = 0.01  # seconds: what a GIF counts its frames' times in
LEAST_DIFFERENCE = 1e-3  # of a tick, that is none


def name_of(name: str, format: str) -> str:
    """Return the name of a clip's file; of pictures, of their folder."""
    return f"frames/{name}" if format == PICTURES else f"{name}.{format}"


def as_arrays(images: Iterable[torch.Tensor]) -> Iterator[np.ndarray]:
    """Yield pictures uint8 [3, H, W] as arrays uint8 [H, W, 3]."""
    return (image.permute(1, 2, 0).numpy() for image in images)


# --- Pictures ---------------------------------------------------------------------------------------------------------


def write_frames(path: Path, frames: Iterable[np.ndarray], *, count: int, fps: float = DEFAULT_FPS) -> None:
    """Write pictures as a file, atomically, whose metadata say that it is synthetic.

    Args:
        path: ends in `.mp4`, `.webm` or `.gif`: a video; in `.png`: the picture; in nothing: a folder of pictures,
            frame000.png and so on.
        frames: `count` pictures uint8 [H, W, 3], all of one size.
        fps: of a video.

    Raises:
        UserError: as of `write_video`, or the disk is full.
    """
    suffix = path.suffix.lower()
    if suffix == f".{PICTURES}":
        (frame,) = frames
        pictures.save_png(path, frame, comment=SYNTHETIC)
    elif suffix == "":
        with atomic_folder(path) as folder:
            for number, frame in enumerate(frames):
                pictures.save_png(folder / frame_name(number, count, PICTURES), frame, comment=SYNTHETIC)
    else:
        write_video(path, frames, fps, comment=SYNTHETIC)


def uneven_times(format: str, fps: float) -> str | None:
    """Return a sentence if frames of a format cannot all be shown for the same time at so many a second."""
    ticks = 1 / (fps * GIF_TICK)
    if format != "gif" or abs(ticks - round(ticks)) < LEAST_DIFFERENCE:
        return None
    short = int(ticks) * 10
    return (
        f"A GIF counts hundredths of a second: for {fps:g} frames a second, some are shown for {short} ms and some for "
        f"{short + 10} ms; 20, 25 and 50 are even."
    )


# --- Arrays -----------------------------------------------------------------------------------------------------------


def clipped(image: torch.Tensor) -> torch.Tensor:
    """Return images [...] of about [-1, 1] in [0, 1]: what is whiter than white is white."""
    return ((image + 1) / 2).clamp(0, 1)


def layer_array(name: str, frames: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return a layer as numbers.

    Args:
        name: rgb, in [0, 1]; depth, distance along each ray, world units; or normals, unit vectors in camera axes.
        frames: what `clips.generate` yields: `image` [N, 3, R, R], `image_depth` [N, 1, r, r], `camera` [N, 25].

    Returns:
        [N, 3, R, R], [N, 1, r, r] or [N, 3, r, r].
    """
    if name == "rgb":
        return clipped(frames["image"])
    depth = frames["image_depth"]
    return depth if name == "depth" else pictures.normals_from_depth(depth.float(), frames["camera"])


def save_arrays(path: Path, arrays: Mapping[str, torch.Tensor]) -> None:
    """Write tensors by name as a compressed .npz, atomically. UserError if the disk is full."""
    plain: dict[str, Any] = {name: value.detach().cpu().numpy() for name, value in arrays.items()}
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **plain)
