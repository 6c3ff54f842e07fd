"""Super-resolution: the rendered features and raw image to the output image (PV3D section 3.2)."""

import torch
from torch import nn

from training.networks.backbone import SynthesisBlock

CONV_CLAMP = 256  # kept in every precision, as in the reference
SMALLEST = 64  # images up to this size are what the renderer gives, if it renders at their size


def block_plan(img_resolution: int, channels: tuple[int, int] | None) -> tuple[int, tuple[int, int], tuple[int, int]]:
    """Input size, channels of the two blocks, and their upsampling factors for an output size.

    512 and up: a quarter of the output, two 2x blocks. Below: half of the output (128 for 256), the first block keeps
    the size.
    """
    defaults = {1024: (128, 64), 512: (256, 128), 256: (128, 64)}
    up = (2, 2) if img_resolution >= 512 else (1, 2)
    return img_resolution // (up[0] * up[1]), channels or defaults.get(img_resolution, (128, 64)), up


def resize(x: torch.Tensor, resolution: int) -> torch.Tensor:
    """x [N, C, H, W] resized to a square by antialiased bilinear interpolation, half-pixel centres."""
    if x.shape[-1] == resolution and x.shape[-2] == resolution:
        return x
    return nn.functional.interpolate(
        x, size=(resolution, resolution), mode="bilinear", align_corners=False, antialias=True
    )


class SuperResolution(nn.Module):
    """Two StyleGAN2 skip blocks, both modulated by the backbone's last w, without noise unless asked for."""

    def __init__(self, channels: int, img_resolution: int, w_dim: int, block_channels: tuple[int, int] | None = None):
        super().__init__()
        self.input_resolution, (first, second), (up0, up1) = block_plan(img_resolution, block_channels)
        middle = self.input_resolution * up0
        self.block0 = SynthesisBlock(channels, first, w_dim, middle, 3, up=up0, conv_clamp=CONV_CLAMP)
        self.block1 = SynthesisBlock(first, second, w_dim, middle * up1, 3, up=up1, conv_clamp=CONV_CLAMP)

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
        return self.block1(features, rgb, ws, noise_mode=noise_mode)[1]
