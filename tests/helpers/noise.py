"""Datasets of noise: small clips whose frames and cameras are all different."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import torch

from training.cameras import frontal_label
from training.data.frames import encode_png
from training.data.writer import ClipRecord, write_dataset

SIZE = 16  # side of the frames in pixels


def noise_clip(index: int, frames: int, seed: int = 0, size: int = SIZE) -> ClipRecord:
    """Return a clip of noise with cameras of its own; pixel [0, 0, 0] is the frame's number."""
    rng = np.random.default_rng([seed, index])
    pictures = rng.integers(0, 256, [frames, 3, size, size], dtype=np.uint8)
    pictures[:, 0, 0, 0] = np.arange(frames)
    yaw = rng.uniform(-0.4, 0.4, frames)
    return ClipRecord(
        name=f"{index:05d}",
        frames=[(f"{i:05d}.png", encode_png(picture)) for i, picture in enumerate(pictures)],
        cameras=frontal_label(torch.from_numpy(yaw).float()).numpy(),
        fps=30.0,
        identity=f"person {index}",
    )


def make(path: Path, lengths: Sequence[int] = (20, 16, 30), seed: int = 0, size: int = SIZE) -> Path:
    """Write a dataset with clips of these numbers of frames."""
    with write_dataset(path) as writer:
        for index, length in enumerate(lengths):
            writer.add(noise_clip(index, length, seed, size))
    return path


def edit_index(folder: Path, change: Callable[[dict], object]) -> None:
    """Change the index of a dataset."""
    index = json.loads((folder / "dataset.json").read_text())
    change(index)
    (folder / "dataset.json").write_text(json.dumps(index))


def store_uncompressed(folder: Path) -> None:
    """Write all PNGs below a folder again without compression, as other tools do: they are all of one size then."""
    for path in folder.rglob("*.png"):
        edit_frame(path, lambda pixels: pixels)


def edit_frame(path: Path, change: Callable[[np.ndarray], np.ndarray] = np.flipud) -> None:
    """Write a picture again in place, without compression."""
    with PIL.Image.open(path) as image:
        pixels = np.asarray(image)
    PIL.Image.fromarray(np.ascontiguousarray(change(pixels))).save(path, format="png", compress_level=0)


# --- What may be wrong with the first frame ---------------------------------------------------------------------------


def damage_missing(folder: Path) -> None:
    (folder / "00000" / "00000.png").unlink()


def damage_truncated(folder: Path) -> None:
    frame = folder / "00000" / "00000.png"
    frame.write_bytes(frame.read_bytes()[:400])


def damage_text(folder: Path) -> None:
    (folder / "00000" / "00000.png").write_text("not a picture")


def damage_size(folder: Path) -> None:
    (folder / "00000" / "00000.png").write_bytes(encode_png(np.zeros([3, SIZE, 2 * SIZE], np.uint8)))


DAMAGES = [damage_missing, damage_truncated, damage_text, damage_size]
