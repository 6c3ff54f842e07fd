"""Super-resolution: the rendered features and raw image to the output image (PV3D section 3.2)."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from training.networks.backbone import SynthesisBlock

CONV_CLAMP = 256  # kept in every precision, as in the reference
SMALLEST = 64  # images up to this size are what the renderer gives, if it renders at their size
BLOCK_CHANNELS = {1024: (128, 64), 512: (256, 128), 256: (128, 64)}  # by image size
OTHER_BLOCK_CHANNELS = (128, 64)


@dataclass(frozen=True)
class BlockPlan:
    """The two blocks for an output size."""

    input_resolution: int
    channels: tuple[int, int]
    up: tuple[int, int]  # upsampling factors


def block_plan(img_resolution: int, channels: tuple[int, int] | None) -> BlockPlan:
    """Return the plan for an output size; `channels` None are those of the reference.

    512 and up: a quarter of the output, two 2x blocks. Below: half of the output (128 for 256), the first block keeps
    the size.
    """
    if channels is None:
        channels = BLOCK_CHANNELS.get(img_resolution, OTHER_BLOCK_CHANNELS)
    if img_resolution >= 512:
        return BlockPlan(img_resolution // 4, channels, up=(2, 2))
    return BlockPlan(img_resolution // 2, channels, up=(1, 2))


def resize(x: torch.Tensor, resolution: int) -> torch.Tensor:
    """Resize x [N, C, H, W] to a square by antialiased bilinear interpolation, half-pixel centres."""
    size = (resolution, resolution)
    if x.shape[-2:] == size:
        return x
    return nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)


class SuperResolution(nn.Module):
    """Two StyleGAN2 skip blocks, both modulated by the backbone's last w, without noise unless asked for."""

    def __init__(self, channels: int, img_resolution: int, w_dim: int, block_channels: tuple[int, int] | None = None):
        super().__init__()
        plan = block_plan(img_resolution, block_channels)
        self.input_resolution = plan.input_resolution
        first, second = plan.channels
        up0, up1 = plan.up
        middle = plan.input_resolution * up0
        block = partial(SynthesisBlock, w_dim=w_dim, img_channels=3, conv_clamp=CONV_CLAMP)
        self.block0 = block(channels, first, resolution=middle, up=up0)
        self.block1 = block(first, second, resolution=middle * up1, up=up1)

    def forward(
        self,
        rgb: torch.Tensor,
        features: torch.Tensor,
        w: torch.Tensor,
        noise_mode: str = "none",
        dtype: torch.dtype | None = None,
    ) -> torch.Tensor:
        """rgb [N, 3, r, r], features [N, C, r, r], w [N or 1, w_dim] -> image [N, 3, R, R].

        Every layer sees the same w; the convolutions run in `dtype` (None: the parameters'), the images are summed in
        full precision.
        """
        ws = w.unsqueeze(1).expand(-1, 3, -1)
        features = resize(features, self.input_resolution)
        features = features.to(dtype or features.dtype, memory_format=torch.channels_last)
        rgb = resize(rgb, self.input_resolution)
        features, rgb = self.block0(features, rgb, ws, noise_mode=noise_mode)
        _, image = self.block1(features, rgb, ws, noise_mode=noise_mode)
        return image
