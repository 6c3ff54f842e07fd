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

    resample_filter: torch.Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        w_dim: int,
        resolution: int,
        img_channels: int,
        motion: MotionLayer | None = None,
        up: int = 2,
        conv_clamp: float | None = None,
    ):
        super().__init__()
        self.up = up
        self.is_first = in_channels == 0
        self.num_convs = 1 if self.is_first else 2
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_TAPS))
        if self.is_first:
            self.const = nn.Parameter(torch.randn(out_channels, resolution, resolution))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim, resolution, up=up, conv_clamp=conv_clamp)
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim, resolution, conv_clamp=conv_clamp)
        self.motion_time_fuser = motion
        self.torgb = ToRGBLayer(out_channels, img_channels, w_dim, conv_clamp=conv_clamp)

    def forward(
        self,
        x: torch.Tensor | None,
        img: torch.Tensor | None,
        ws: torch.Tensor,
        *,
        z_motion: torch.Tensor | None = None,
        t: torch.Tensor | None = None,
        noise_mode: str = "const",
        random: Random | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features and the image of this resolution.

        Args:
            x: [N, in, H, W], None in the first block.
            img: [N, img_channels, H, W], None in the first block.
            ws: [N or 1, convs + 1, w_dim].
            z_motion, t: [N, motion_dim] and [N, 1], where the block has a motion layer.
        """
        rows = iter(ws.unbind(dim=1))
        if self.is_first:
            frames = len(ws) if t is None else len(t)
            const = self.const.unsqueeze(0).repeat(frames, 1, 1, 1)
            x = const.contiguous(memory_format=torch.channels_last)
        first_conv = self.conv1 if self.is_first else self.conv0
        x = first_conv(x, next(rows), noise_mode, random)
        if self.motion_time_fuser is not None:
            x = self.motion_time_fuser(x, z_motion, t, noise_mode, random)
        if not self.is_first:
            x = self.conv1(x, next(rows), noise_mode, random)
        rgb = self.torgb(x, next(rows))
        if img is None:
            return x, rgb
        if self.up == 2:
            img = upsample2d(img, self.resample_filter)
        return x, img + rgb.to(img.dtype)


class SynthesisNetwork(nn.Module):
    """Blocks `b4`, `b8`, ... up to the planes' resolution; the first `motion_blocks` of them carry motion layers."""

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.resolutions = config.block_resolutions
        self.num_ws = 2 * len(self.resolutions)
        has_layers = config.motion == "layers" and not config.maps_motion
        motion_blocks = config.motion_blocks if has_layers else 0
        in_channels = 0
        for index, resolution in enumerate(self.resolutions):
            out_channels = config.channels(resolution)
            motion = None
            if index < motion_blocks:
                motion = MotionLayer(
                    motion_dim=config.motion_dim,
                    w_dim=config.w_dim,
                    channels=out_channels,
                    resolution=resolution,
                    generator=config.motion_generator,
                    learned_weight=config.motion_weight,
                )
            block = SynthesisBlock(
                in_channels,
                out_channels,
                w_dim=config.w_dim,
                resolution=resolution,
                img_channels=PLANES * config.plane_channels,
                motion=motion,
            )
            self.add_module(f"b{resolution}", block)
            in_channels = out_channels

    def forward(
        self,
        ws: torch.Tensor,
        z_motion: torch.Tensor | None,
        t: torch.Tensor | None,
        noise_mode: str = "const",
        random: Random | None = None,
        dtype: torch.dtype | None = None,
    ) -> torch.Tensor:
        """Return the planes, [N, 3 * plane_channels, R, R], of ws [N or 1, num_ws, w_dim], z_motion [N, D], t [N, 1].

        The convolutions run in `dtype` (None: the parameters'). A block's to-RGB layer shares its row of ws with
        the next block's first convolution. Without motion layers z_motion and t may be None: N is then that of ws.
        """
        x = None
        img = None
        row = 0
        for resolution in self.resolutions:
            block = getattr(self, f"b{resolution}")
            if x is not None and img is not None and dtype is not None:
                x = x.to(dtype)
                img = img.to(dtype)
            rows = ws[:, row : row + block.num_convs + 1]
            x, img = block(x, img, rows, z_motion=z_motion, t=t, noise_mode=noise_mode, random=random)
            row += block.num_convs
        assert img is not None
        return img


class Backbone(nn.Module):
    """Mapping and synthesis under the names of the public checkpoints."""

    def __init__(self, config: GeneratorConfig, camera_dim: int):
        super().__init__()
        self.synthesis = SynthesisNetwork(config)
        self.mapping = MappingNetwork(
            z_dim=config.z_dim,
            camera_dim=camera_dim,
            w_dim=config.w_dim,
            num_ws=self.synthesis.num_ws,
            layers=config.mapping_layers,
            motion_dim=config.motion_dim if config.maps_motion else 0,
        )
