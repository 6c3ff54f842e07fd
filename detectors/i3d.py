"""Inception-I3D (Carreira and Zisserman, 2017) on Kinetics-400: the 400 logits that FVD compares, and preprocessing.

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

SIDE = 224  # of the square frames that the network sees
CLASSES = 400
MIN_FRAMES = 9  # five stages of stride leave two time steps, the head's pool
PAPER_EPS, TF_EPS = 1e-5, 1e-3  # of BatchNorm: VideoGPT and PV3D; the original TensorFlow graph

# Units: channels, kernel, stride. Pools: kernel, stride. Mixed blocks: channels of b0, b1a, b1b, b2a, b2b, b3b.
STAGES: list[tuple] = [
    ("Conv3d_1a_7x7", "unit", 64, 7, 2),
    ("MaxPool3d_2a_3x3", "pool", (1, 3, 3), (1, 2, 2)),
    ("Conv3d_2b_1x1", "unit", 64, 1, 1),
    ("Conv3d_2c_3x3", "unit", 192, 3, 1),
    ("MaxPool3d_3a_3x3", "pool", (1, 3, 3), (1, 2, 2)),
    ("Mixed_3b", "mixed", 64, 96, 128, 16, 32, 32),
    ("Mixed_3c", "mixed", 128, 128, 192, 32, 96, 64),
    ("MaxPool3d_4a_3x3", "pool", (3, 3, 3), (2, 2, 2)),
    ("Mixed_4b", "mixed", 192, 96, 208, 16, 48, 64),
    ("Mixed_4c", "mixed", 160, 112, 224, 24, 64, 64),
    ("Mixed_4d", "mixed", 128, 128, 256, 24, 64, 64),
    ("Mixed_4e", "mixed", 112, 144, 288, 32, 64, 64),
    ("Mixed_4f", "mixed", 256, 160, 320, 32, 128, 128),
    ("MaxPool3d_5a_2x2", "pool", (2, 2, 2), (2, 2, 2)),
    ("Mixed_5b", "mixed", 256, 160, 320, 32, 128, 128),
    ("Mixed_5c", "mixed", 384, 192, 384, 48, 128, 128),
]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis so that ceil(size / stride) values come out; the odd one goes to the end."""
    total = max(kernel - (size % stride or stride), 0)
    return total // 2, total - total // 2


class Unit(nn.Module):
    """Convolution, BatchNorm with running statistics, ReLU: [B, C, T, H, W] -> [B, C', T', H', W']."""

    def __init__(self, channels: int, outputs: int, kernel: int, stride: int, bn_eps: float):
        super().__init__()
        self.conv3d = nn.Conv3d(channels, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=bn_eps, momentum=0.001)

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of the convolution that BatchNorm is part of."""
        scale = self.bn.weight * (self.bn.running_var + self.bn.eps).rsqrt()
        return self.conv3d.weight * scale[:, None, None, None, None], self.bn.bias - self.bn.running_mean * scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.folded()
        if self.conv3d.kernel_size == (1, 1, 1):
            return pointwise(x, weight, bias).relu_()
        pads = [
            same_padding(size, k, s)
            for size, k, s in zip(x.shape[2:], self.conv3d.kernel_size, self.conv3d.stride, strict=True)
        ]
        if any(front != back for front, back in pads):
            x = F.pad(x, [pad for pair in reversed(pads) for pad in pair])
            pads = [(0, 0)] * 3
        return F.conv3d(x, weight, bias, self.conv3d.stride, [front for front, _ in pads]).relu_()


def pointwise(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """1 x 1 x 1 convolution as one matrix product: x [B, C, T, H, W] channels last, weight [C', C, 1, 1, 1]."""
    return F.linear(x.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)


class MaxPool(nn.Module):
    """Max-pool with 'same' padding of what is not negative, so that padding with anything below equals zeros."""

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        front = [same_padding(*sizes)[0] for sizes in zip(x.shape[2:], self.kernel, self.stride, strict=True)]
        # Windows that start inside may reach beyond the end: this is the padding behind.
        return F.max_pool3d(x, self.kernel, self.stride, front, ceil_mode=True)


class Mixed(nn.Module):
    """Four branches side by side: 1; 1, 3; 1, 3; pool, 1. [B, C, T, H, W] -> [B, b0 + b1b + b2b + b3b, T, H, W]."""

    def __init__(self, channels: int, widths: tuple[int, ...], bn_eps: float):
        super().__init__()
        b0, b1a, b1b, b2a, b2b, b3b = widths
        self.b0 = Unit(channels, b0, 1, 1, bn_eps)
        self.b1a = Unit(channels, b1a, 1, 1, bn_eps)
        self.b1b = Unit(b1a, b1b, 3, 1, bn_eps)
        self.b2a = Unit(channels, b2a, 1, 1, bn_eps)
        self.b2b = Unit(b2a, b2b, 3, 1, bn_eps)
        self.pool = MaxPool((3, 3, 3), (1, 1, 1))
        self.b3b = Unit(channels, b3b, 1, 1, bn_eps)
        self.outputs = b0 + b1b + b2b + b3b

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.pool(x))]
        size = [len(x), self.outputs, *x.shape[2:]]
        out = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last_3d)
        for part, branch in zip(out.split([b.shape[1] for b in branches], dim=1), branches, strict=True):
            part.copy_(branch)
        return out


class Head(nn.Module):
    """Class scores of every time step: features [B, 1024, T, 1, 1] -> [B, 400, T, 1, 1]."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv3d = nn.Conv3d(channels, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return pointwise(x, self.conv3d.weight, self.conv3d.bias)


class InceptionI3D(nn.Module):
    """The network, for inference only: BatchNorm always takes its running statistics."""

    def __init__(self, bn_eps: float = PAPER_EPS):
        super().__init__()
        channels = 3
        for name, kind, *numbers in STAGES:
            if kind == "unit":
                outputs, kernel, stride = numbers
                stage, channels = Unit(channels, outputs, kernel, stride, bn_eps), outputs
            elif kind == "pool":
                stage = MaxPool(*numbers)
            else:
                stage = Mixed(channels, tuple(numbers), bn_eps)
                channels = stage.outputs
            self.add_module(name, stage)
        self.pool = nn.AvgPool3d((2, SIDE // 32, SIDE // 32), stride=1)
        self.logits = Head(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Clips [B, 3, T, 224, 224] in [-1, 1] -> logits [B, 400]. UserError if T < 9."""
        if x.shape[2] < MIN_FRAMES:
            raise UserError(f"Clips of {x.shape[2]} frames are too short for I3D: use {MIN_FRAMES} or more.")
        x = x.contiguous(memory_format=torch.channels_last_3d)
        for stage in self.children():
            x = stage(x)
        return x.mean(2).flatten(1)


def preprocess(clips: torch.Tensor) -> torch.Tensor:
    """VideoGPT's and PV3D's: uint8 [B, T, 3, H, W] RGB -> [B, 3, T, 224, 224] in [-1, 1].

    The shorter side is brought to 224, bilinearly without antialiasing, and the centre cut out.
    """
    height, width = clips.shape[-2:]
    scale = SIDE / min(height, width)
    # In floats, as the reference has it: a square of 50, 200 or 400 becomes 225 high, of which the last row is cut off.
    size = (SIDE, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), SIDE)
    frames = F.interpolate(clips.flatten(0, 1).float() / 255, size, mode="bilinear", align_corners=False)
    top, left = ((side - SIDE) // 2 for side in size)
    return _as_clips(frames[:, :, top : top + SIDE, left : left + SIDE], len(clips))


def preprocess_stretched(clips: torch.Tensor) -> torch.Tensor:
    """StyleGAN-V's: as `preprocess`, but frames become 224 x 224 directly, so that those not square are distorted."""
    frames = F.interpolate(clips.flatten(0, 1).float() / 255, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return _as_clips(frames, len(clips))


def _as_clips(frames: torch.Tensor, clips: int) -> torch.Tensor:
    """Frames [B T, 3, H, W] in [0, 1] -> [B, 3, T, H, W] in [-1, 1]."""
    return frames.unflatten(0, (clips, -1)).movedim(2, 1).sub(0.5).mul(2)


class I3DFeatures:
    """The logits of clips, as FVD compares them (`detectors.VideoFeatures`)."""

    dim = CLASSES

    def __init__(
        self,
        network: InceptionI3D,
        prepare: Callable[[torch.Tensor], torch.Tensor],
        name: str,
        checksum: str,
        device: torch.device | str = "cpu",
    ):
        self.network = network.to(device).requires_grad_(False)
        self.prepare, self.name, self.checksum, self.device = prepare, name, checksum, torch.device(device)

    @torch.inference_mode()
    def __call__(self, clips: torch.Tensor) -> torch.Tensor:
        """uint8 [B, T, 3, H, W] RGB on any device -> float32 [B, 400] on the detector's. UserError if T < 9."""
        return self.network(self.prepare(clips.to(self.device)))
