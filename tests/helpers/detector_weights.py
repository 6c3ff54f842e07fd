"""Inputs of the golden vectors of I3D and ArcFace, and networks with their weights."""

import zlib

import numpy as np
import torch
from torch import nn

from detectors import ARCFACE_GAIN, I3D_GAIN, random_weights
from detectors.arcface import ArcFace
from detectors.i3d import PYTORCH_EPS, InceptionI3D
from tests.helpers.golden_metrics import array


def finer(video: np.ndarray, factor: int) -> np.ndarray:
    """Return a video [..., T, H, W, 3], uint8, at `factor` times its size: pixels repeated, plus -20 to 20 levels."""
    large = video.repeat(factor, -3).repeat(factor, -2).astype(np.int64)
    t, y, x, c = np.ogrid[tuple(slice(size) for size in large.shape[-4:])]
    pattern = (37 * x + 101 * y + 17 * t + 53 * c + x * y % 61) % 41 - 20
    return (large + pattern).clip(0, 255).astype(np.uint8)


def clips(case: str) -> np.ndarray:
    """Return I3D's input of a case, uint8 [B, T, H, W, 3]."""
    video = array("i3d", "video")
    if case.startswith("x"):
        return finer(video, int(case[1:]))
    if case.startswith("t") and case[1:].isdigit():
        return video[1:, :9] if case == "t9" else longer(video[:1], int(case[1:]))
    height, width = {"wide": (48, 64), "tall": (64, 48), "sq": (50, 50)}.get(case, (64, 64))
    return video[: 1 if case in ("wide", "tall", "sq") else 2, :, :height, :width]


def longer(video: np.ndarray, frames: int) -> np.ndarray:
    """Return a video [B, 16, ...] and as many of its frames again as are needed: from the start, or all backwards."""
    again = video[:, ::-1] if frames == 32 else video[:, : frames - 16]
    return np.concatenate([video, again], axis=1)


def faces(case: str) -> np.ndarray:
    """Return ArcFace's input of a case, uint8 [4, H, W, 3]."""
    frames = array("arcface", "frames")
    return {"base": frames, "up": finer(frames, 4), "crop112": frames[:, 8:120, 8:120]}[case]


def channels_first(frames: np.ndarray) -> torch.Tensor:
    """Return frames [..., H, W, 3] as [..., 3, H, W]."""
    return torch.from_numpy(frames.copy()).movedim(-1, -3)


def crc32(frames: np.ndarray) -> int:
    """Return the checksum of the bytes in C order."""
    return zlib.crc32(np.ascontiguousarray(frames).tobytes())


def filled_i3d(bn_eps: float = PYTORCH_EPS) -> InceptionI3D:
    """Return I3D with the golden weights: those of `--detector random`."""
    return _filled(InceptionI3D(bn_eps), I3D_GAIN)


def filled_arcface() -> ArcFace:
    """Return ArcFace with the golden weights: those of `--detector random`."""
    return _filled(ArcFace(), ARCFACE_GAIN)


def _filled(network: nn.Module, gain: float) -> nn.Module:
    random_weights.fill(network, gain)
    return network.requires_grad_(False)
