"""Inception-I3D (Carreira and Zisserman, 2017) on Kinetics-400: the logits of clips, and preprocessing.

State-dict names are those of the public PyTorch weights. On a CPU the network runs at 0.8 to 0.9 of the matrix-multiply
peak (benchmarks/detectors.py): channels last, BatchNorm folded into the convolutions, 1 x 1 x 1 convolutions as matrix
products, and padding left to the operations wherever it is symmetric.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from dnnlib.errors import UserError
from torch_utils.runtime import full_float32, select_device

SIDE = 224  # of the square frames that the network sees
CLASSES = 400
MIN_FRAMES = 9  # five stages of stride leave two time steps, the head's pool
# Epsilon of BatchNorm.
PYTORCH_EPS = 1e-5  # of VideoGPT's port
TENSORFLOW_EPS = 1e-3  # of the original graph

Preprocessing = Callable[[torch.Tensor], torch.Tensor]  # uint8 [B, T, 3, H, W] -> float [B, 3, T, 224, 224] in [-1, 1]

# --- Layers -----------------------------------------------------------------------------------------------------------


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after an axis for ceil(size / stride) outputs; an odd one goes to the end."""
    last_step = size % stride or stride
    total = max(kernel - last_step, 0)
    front = total // 2
    return front, total - front


class Unit(nn.Module):
    """Convolution, BatchNorm with running statistics, ReLU: [B, C, T, H, W] -> [B, C', T', H', W']."""

    def __init__(self, channels: int, outputs: int, bn_eps: float, kernel: int = 1, stride: int = 1):
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.conv3d = nn.Conv3d(channels, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, bn_eps)

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weight and bias of the convolution that BatchNorm is part of."""
        mean = self.bn.get_buffer("running_mean")
        variance = self.bn.get_buffer("running_var")
        scale = self.bn.weight * (variance + self.bn.eps).rsqrt()
        bias = self.bn.bias - mean * scale
        return self.conv3d.weight * scale[:, None, None, None, None], bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.folded()
        if self.kernel == 1:
            return pointwise(x, weight, bias).relu_()
        padding = []
        both_sides: list[int] = []  # the last axis first, as F.pad takes them
        symmetric = True
        for size in x.shape[2:]:
            front, back = same_padding(size, self.kernel, self.stride)
            padding.append(front)
            both_sides = [front, back, *both_sides]
            if front != back:
                symmetric = False
        if not symmetric:
            x = F.pad(x, both_sides)
            padding = [0, 0, 0]
        return F.conv3d(x, weight, bias, self.stride, padding).relu_()


def pointwise(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Convolve 1 x 1 x 1 as one matrix product: x [B, C, T, H, W] channels last, weight [C', C, 1, 1, 1]."""
    channels_last = x.movedim(1, -1)
    return F.linear(channels_last, weight.flatten(1), bias).movedim(-1, 1)


class MaxPool(nn.Module):
    """Max-pool with 'same' padding of what is not negative, so that padding with anything below equals zeros.

    Args:
        over_time: also of neighbouring frames; else of each frame alone.
    """

    def __init__(self, kernel: int, stride: int, over_time: bool = True):
        super().__init__()
        self.kernel = [kernel, kernel, kernel]
        self.stride = [stride, stride, stride]
        if not over_time:
            self.kernel[0] = 1
            self.stride[0] = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        axes = zip(x.shape[2:], self.kernel, self.stride, strict=True)
        padding = [same_padding(size, kernel, stride)[0] for size, kernel, stride in axes]
        # Windows that start inside may reach beyond the end: this is the padding behind.
        return F.max_pool3d(x, self.kernel, self.stride, padding, ceil_mode=True)


class Mixed(nn.Module):
    """Four branches side by side: [B, C, T, H, W] -> [B, b0 + b1b + b2b + b3b, T, H, W].

    b0 is a unit of 1 x 1 x 1; b1a and b2a are such units, with b1b and b2b of 3 x 3 x 3 behind them; b3b is one of
    1 x 1 x 1 behind a max-pool. The arguments are their channels.
    """

    def __init__(
        self,
        channels: int,
        bn_eps: float,
        *,
        b0: int,
        b1a: int,
        b1b: int,
        b2a: int,
        b2b: int,
        b3b: int,
    ):
        super().__init__()
        self.widths = [b0, b1b, b2b, b3b]
        self.b0 = Unit(channels, b0, bn_eps)
        self.b1a = Unit(channels, b1a, bn_eps)
        self.b1b = Unit(b1a, b1b, bn_eps, kernel=3)
        self.b2a = Unit(channels, b2a, bn_eps)
        self.b2b = Unit(b2a, b2b, bn_eps, kernel=3)
        self.pool = MaxPool(3, stride=1)
        self.b3b = Unit(channels, b3b, bn_eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = [
            self.b0(x),
            self.b1b(self.b1a(x)),
            self.b2b(self.b2a(x)),
            self.b3b(self.pool(x)),
        ]
        clips, _, *size = x.shape
        out = torch.empty(
            [clips, sum(self.widths), *size],
            dtype=x.dtype,
            device=x.device,
            memory_format=torch.channels_last_3d,
        )
        for part, branch in zip(out.split(self.widths, dim=1), branches, strict=True):
            part.copy_(branch)
        return out


class Head(nn.Module):
    """Class scores of every time step: features [B, 1024, T, 1, 1] -> [B, 400, T, 1, 1]."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv3d = nn.Conv3d(channels, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return pointwise(x, self.conv3d.weight, self.conv3d.bias)


# --- Network ----------------------------------------------------------------------------------------------------------


class InceptionI3D(nn.Module):
    """The network, for inference only: BatchNorm always takes its running statistics."""

    def __init__(self, bn_eps: float = PYTORCH_EPS):
        super().__init__()
        # They run in this order.
        self.Conv3d_1a_7x7 = Unit(3, 64, bn_eps, kernel=7, stride=2)
        self.MaxPool3d_2a_3x3 = MaxPool(3, stride=2, over_time=False)
        self.Conv3d_2b_1x1 = Unit(64, 64, bn_eps)
        self.Conv3d_2c_3x3 = Unit(64, 192, bn_eps, kernel=3)
        self.MaxPool3d_3a_3x3 = MaxPool(3, stride=2, over_time=False)
        self.Mixed_3b = Mixed(192, bn_eps, b0=64, b1a=96, b1b=128, b2a=16, b2b=32, b3b=32)
        self.Mixed_3c = Mixed(256, bn_eps, b0=128, b1a=128, b1b=192, b2a=32, b2b=96, b3b=64)
        self.MaxPool3d_4a_3x3 = MaxPool(3, stride=2)
        self.Mixed_4b = Mixed(480, bn_eps, b0=192, b1a=96, b1b=208, b2a=16, b2b=48, b3b=64)
        self.Mixed_4c = Mixed(512, bn_eps, b0=160, b1a=112, b1b=224, b2a=24, b2b=64, b3b=64)
        self.Mixed_4d = Mixed(512, bn_eps, b0=128, b1a=128, b1b=256, b2a=24, b2b=64, b3b=64)
        self.Mixed_4e = Mixed(512, bn_eps, b0=112, b1a=144, b1b=288, b2a=32, b2b=64, b3b=64)
        self.Mixed_4f = Mixed(528, bn_eps, b0=256, b1a=160, b1b=320, b2a=32, b2b=128, b3b=128)
        self.MaxPool3d_5a_2x2 = MaxPool(2, stride=2)
        self.Mixed_5b = Mixed(832, bn_eps, b0=256, b1a=160, b1b=320, b2a=32, b2b=128, b3b=128)
        self.Mixed_5c = Mixed(832, bn_eps, b0=384, b1a=192, b1b=384, b2a=48, b2b=128, b3b=128)
        self.pool = nn.AvgPool3d((2, 7, 7), stride=1)
        self.logits = Head(1024)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits [B, 400] of clips [B, 3, T, 224, 224] in [-1, 1]. Raises UserError if T < 9."""
        frames = x.shape[2]
        if frames < MIN_FRAMES:
            raise UserError(f"Clips of {frames} frames are too short for I3D: use {MIN_FRAMES} or more.")
        x = x.contiguous(memory_format=torch.channels_last_3d)
        for stage in self.children():
            x = stage(x)
        return x.mean(2).flatten(1)


# --- Preprocessing ----------------------------------------------------------------------------------------------------


def preprocess_cropped(clips: torch.Tensor) -> torch.Tensor:
    """Bring clips to the network's input as VideoGPT does: scaled by their shorter side, and the centre cut out.

    uint8 [B, T, 3, H, W] RGB -> [B, 3, T, 224, 224] in [-1, 1]; bilinear without antialiasing.
    """
    height, width = clips.shape[-2:]
    scale = SIDE / min(height, width)
    # In floats, as the reference has it: a square of 50, 200 or 400 becomes 225 high, of which the last row is cut off.
    if height < width:
        size = (SIDE, math.ceil(width * scale))
    else:
        size = (math.ceil(height * scale), SIDE)
    top = (size[0] - SIDE) // 2
    left = (size[1] - SIDE) // 2
    frames = _resized_frames(clips, size)
    centre = frames[:, :, top : top + SIDE, left : left + SIDE]
    return _as_clips(centre, len(clips))


def preprocess_stretched(clips: torch.Tensor) -> torch.Tensor:
    """Bring clips to the network's input as StyleGAN-V does: frames that are not square are distorted.

    uint8 [B, T, 3, H, W] RGB -> [B, 3, T, 224, 224] in [-1, 1]; bilinear without antialiasing.
    """
    return _as_clips(_resized_frames(clips, (SIDE, SIDE)), len(clips))


def _resized_frames(clips: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return all frames of uint8 [B, T, 3, H, W] as floats [B T, 3, *size] in [0, 1]."""
    frames = clips.flatten(0, 1).float() / 255
    return F.interpolate(frames, size, mode="bilinear", align_corners=False)


def _as_clips(frames: torch.Tensor, clips: int) -> torch.Tensor:
    """Turn frames [B T, 3, H, W] in [0, 1] into clips [B, 3, T, H, W] in [-1, 1]."""
    channels_first = frames.unflatten(0, (clips, -1)).movedim(2, 1)
    return channels_first.sub(0.5).mul(2)


# --- Detector ---------------------------------------------------------------------------------------------------------


class I3DEmbedder:
    """The logits of clips (`detectors.VideoEmbedder`)."""

    dim = CLASSES

    def __init__(
        self,
        network: InceptionI3D,
        *,
        prepare: Preprocessing,
        name: str,
        checksum: str,
        device: torch.device | str = "cpu",
    ):
        self.device = select_device(device)
        self.network = network.to(self.device).requires_grad_(False)
        self.prepare = prepare
        self.name = name
        self.checksum = checksum

    @torch.inference_mode()
    @full_float32()
    def __call__(self, clips: torch.Tensor) -> torch.Tensor:
        """Embed clips, uint8 [B, T, 3, H, W] RGB on any device -> float32 [B, 400] on the detector's.

        Raises:
            UserError: T < 9.
        """
        return self.network(self.prepare(clips.to(self.device)))
