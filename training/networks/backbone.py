"""The backbone: StyleGAN2 synthesis with skip connections that paints three feature planes (PV3D Fig. 2)."""

import torch
from torch import nn

from torch_utils.ops.upfirdn2d import setup_filter, upsample2d
from torch_utils.random_numbers import Random
from training.config import GeneratorConfig
from training.networks.layers import RESAMPLE_TAPS, SynthesisLayer, ToRGBLayer
from training.networks.mapping import MappingNetwork
from training.networks.motion import MotionLayer

PLANES = 3


class SynthesisBlock(nn.Module):
    """One resolution of the skip architecture: conv0 (2x up), motion, conv1, to-RGB added to the upsampled image.

    The first block (`in_channels` 0) starts from a learned constant, has only conv1, and fuses motion behind it.
    `up` 1 keeps the resolution (the first block of small super-resolution networks).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        img_channels: int,
        motion: MotionLayer | None = None,
        up: int = 2,
        use_noise: bool = True,
        conv_clamp: float | None = None,
    ):
        super().__init__()
        self.up = up
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_TAPS))
        layer = {"w_dim": w_dim, "resolution": resolution, "use_noise": use_noise, "conv_clamp": conv_clamp}
        if in_channels == 0:
            self.const = nn.Parameter(torch.randn(out_channels, resolution, resolution))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, up=up, **layer)
        self.conv1 = SynthesisLayer(out_channels, out_channels, **layer)
        self.motion_time_fuser = motion
        self.torgb = ToRGBLayer(out_channels, img_channels, w_dim, conv_clamp=conv_clamp)
        self.is_first = in_channels == 0
        self.num_convs = 1 if self.is_first else 2

    def forward(
        self,
        x: torch.Tensor | None,
        img: torch.Tensor | None,
        ws: torch.Tensor,
        z_motion=None,
        t=None,
        noise_mode: str = "const",
        random: Random | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """x [N, in, H, W], img [N, img_channels, H, W] (None in the first block), ws [N or 1, convs + 1, w_dim]."""
        rows = iter(ws.unbind(dim=1))
        if self.is_first:
            n = len(ws) if t is None else len(t)
            x = self.const.unsqueeze(0).repeat(n, 1, 1, 1).contiguous(memory_format=torch.channels_last)
            x = self.conv1(x, next(rows), noise_mode, random)
            x = self._fuse(x, z_motion, t, noise_mode, random)
        else:
            x = self.conv0(x, next(rows), noise_mode, random)
            x = self._fuse(x, z_motion, t, noise_mode, random)
            x = self.conv1(x, next(rows), noise_mode, random)
        rgb = self.torgb(x, next(rows)).to(self.torgb.weight.dtype)
        if img is None:
            return x, rgb
        if self.up == 2:
            img = upsample2d(img, self.resample_filter)
        return x, img + rgb

    def _fuse(self, x, z_motion, t, noise_mode, random):
        return x if self.motion_time_fuser is None else self.motion_time_fuser(x, z_motion, t, noise_mode, random)


class SynthesisNetwork(nn.Module):
    """Blocks `b4`, `b8`, ... up to the planes' resolution; the first `motion_blocks` of them carry motion layers."""

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.resolutions = config.block_resolutions
        self.img_channels = PLANES * config.plane_channels
        self.num_ws = 2 * len(self.resolutions)
        layers = config.motion_blocks if config.motion_generator != "naive" else 0
        in_channels = 0
        for index, resolution in enumerate(self.resolutions):
            channels = config.channels(resolution)
            motion = (
                MotionLayer(
                    config.motion_dim, config.w_dim, channels, resolution, config.motion_generator, config.motion_weight
                )
                if index < layers
                else None
            )
            block = SynthesisBlock(in_channels, channels, config.w_dim, resolution, self.img_channels, motion)
            self.add_module(f"b{resolution}", block)
            in_channels = channels

    def forward(
        self,
        ws: torch.Tensor,
        z_motion: torch.Tensor,
        t: torch.Tensor,
        noise_mode: str = "const",
        random: Random | None = None,
        dtype: torch.dtype | None = None,
    ) -> torch.Tensor:
        """ws [N or 1, num_ws, w_dim], z_motion [N, D], t [N, 1] -> [N, 3 * plane_channels, R, R].

        The convolutions run in `dtype` (None: the parameters'). A block's to-RGB layer shares its row of ws with
        the next block's first convolution.
        """
        x = img = None
        row = 0
        for resolution in self.resolutions:
            block = getattr(self, f"b{resolution}")
            x = x if x is None or dtype is None else x.to(dtype)
            x, img = block(x, img, ws[:, row : row + block.num_convs + 1], z_motion, t, noise_mode, random)
            row += block.num_convs
        return img


class Backbone(nn.Module):
    """Mapping and synthesis under the names of the public checkpoints."""

    def __init__(self, config: GeneratorConfig, camera_dim: int):
        super().__init__()
        self.synthesis = SynthesisNetwork(config)
        motion_dim = config.motion_dim if config.motion_generator == "naive" else 0
        self.mapping = MappingNetwork(
            config.z_dim, camera_dim, config.w_dim, self.synthesis.num_ws, config.mapping_layers, motion_dim
        )
