"""Inputs of the golden vectors of I3D and ArcFace, networks with their weights, and LPIPS with random ones."""

import zlib
from pathlib import Path

import numpy as np
import torch

from detectors import ARCFACE_GAIN, I3D_GAIN, load_lpips, random_weights, weights
from detectors.arcface import ArcFace
from detectors.i3d import InceptionI3D
from detectors.lpips import LPIPS
from tests.helpers.golden_metrics import array

# --- Inputs -----------------------------------------------------------------------------------------------------------

# Of I3D's cases: [B, T, H, W] of the file's video [2, 16, 64, 64], cut off at the end.
SHAPES = {
    "base": (2, 16, 64, 64),
    "wide": (1, 16, 48, 64),
    "tall": (1, 16, 64, 48),
    "sq": (1, 16, 50, 50),
}
FACTORS = {"x2": 2, "x8": 8}
FRAMES = {"t17": 17, "t20": 20, "t32": 32}


def finer(video: np.ndarray, factor: int) -> np.ndarray:
    """Return a video [..., T, H, W, 3], uint8, at `factor` times its size: pixels repeated, plus -20 to 20 levels."""
    large = video.repeat(factor, -3).repeat(factor, -2)
    sizes = large.shape[-4:]
    t, y, x, c = np.ogrid[tuple(slice(size) for size in sizes)]
    waves = 37 * x + 101 * y + 17 * t + 53 * c
    pattern = (waves + x * y % 61) % 41 - 20
    levels = large + pattern
    return levels.clip(0, 255).astype(np.uint8)


def clips(case: str) -> np.ndarray:
    """Return I3D's input of a case, uint8 [B, T, H, W, 3]."""
    video = array("i3d", "video")
    if case in FACTORS:
        return finer(video, FACTORS[case])
    if case in FRAMES:
        return longer(video[:1], FRAMES[case])
    if case == "t9":
        return video[1:, :9]
    batch, frames, height, width = SHAPES[case]
    return video[:batch, :frames, :height, :width]


def longer(video: np.ndarray, frames: int) -> np.ndarray:
    """Return a video [B, 16, ...] and as many of its frames again as are needed: from the start, or all backwards."""
    again = video[:, ::-1] if frames == 32 else video[:, : frames - 16]
    return np.concatenate([video, again], axis=1)


def faces(case: str) -> np.ndarray:
    """Return ArcFace's input of a case, uint8 [4, H, W, 3]."""
    frames = array("arcface", "frames")
    if case == "up":
        return finer(frames, 4)
    if case == "crop112":
        return frames[:, 8:120, 8:120]
    return frames


def channels_first(frames: np.ndarray) -> torch.Tensor:
    """Return frames [..., H, W, 3] as [..., 3, H, W]."""
    channels_last = torch.from_numpy(frames.copy())
    return channels_last.movedim(-1, -3)


def crc32(frames: np.ndarray) -> int:
    """Return the checksum of the bytes in C order."""
    in_order = np.ascontiguousarray(frames)
    return zlib.crc32(in_order.tobytes())


# --- Networks ---------------------------------------------------------------------------------------------------------


def filled_i3d() -> InceptionI3D:
    """Return I3D with the golden weights: those of `--detector random`."""
    network = InceptionI3D()
    random_weights.fill(network, I3D_GAIN)
    return network.requires_grad_(False)


def filled_arcface() -> ArcFace:
    """Return ArcFace with the golden weights: those of `--detector random`."""
    network = ArcFace()
    random_weights.fill(network, ARCFACE_GAIN)
    return network.requires_grad_(False)


def filled_lpips() -> LPIPS:
    """Return LPIPS with fixed random weights."""
    return load_lpips(kind="random", folder=None, device="cpu")


def write_lpips(network: LPIPS, folder: Path) -> None:
    """Write the weights of LPIPS as the public files hold them: VGG16 with a classifier, here a small one."""
    classifier = {"classifier.0.weight": torch.ones(2, 3), "classifier.0.bias": torch.ones(2)}
    vgg = network.vgg.state_dict() | classifier
    torch.save(vgg, folder / weights.VGG16.file, _use_new_zipfile_serialization=False)
    write_channel_weights(network, folder)


def write_channel_weights(network: LPIPS, folder: Path) -> None:
    """Write the smaller of the two files."""
    state = network.channel_weights.state_dict()
    torch.save(state, folder / weights.LPIPS.file, _use_new_zipfile_serialization=False)
