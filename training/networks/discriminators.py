"""The camera-conditioned discriminators of frames and of pairs of frames (PV3D section 3.3)."""

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import nn

from torch_utils.ops.upfirdn2d import setup_filter
from training.cameras import CAMERA_DIM
from training.config import FRAMES_PER_CLIP, DiscriminatorConfig
from training.networks.layers import RESAMPLE_TAPS, Conv2dLayer, FullyConnectedLayer
from training.networks.mapping import CameraMapping

CONV_CLAMP = 256  # on every convolution's output, times the layer's gain
RESIDUAL_GAIN = math.sqrt(0.5)  # of both branches of a residual block
STD_EPS = 1e-8


def minibatch_std(x: torch.Tensor, group_size: int, sets: int = 1) -> torch.Tensor:
    """Append a channel to x [N, C, H, W]: the mean standard deviation over groups of min(group_size, N / sets) samples.

    Sample n of a set of M samples belongs to group n mod (M / group).

    Args:
        sets: how many sets of samples, one after the other, are in x; none sees another's.

    Raises:
        ValueError: the samples of a set are no multiple of the group.
    """
    n, channels, height, width = x.shape
    own = n // sets
    group = min(group_size, own)
    if own % group:
        raise ValueError(f"Minibatch standard deviation: {own} samples are no multiple of the group of {group}.")
    groups = x.reshape(sets, group, own // group, channels, height, width)
    variance = groups.var(dim=1, unbiased=False)
    std = (variance + STD_EPS).sqrt()
    statistic = std.mean(dim=[2, 3, 4])
    statistic = statistic.repeat(1, group).reshape(n, 1, 1, 1)
    plane = statistic.expand(n, 1, height, width)
    return torch.cat([x, plane], dim=1)


def _channels(config: DiscriminatorConfig, resolution: int) -> int:
    return min(config.channel_base // resolution, config.channel_max)


class ResidualBlock(nn.Module):
    """fromrgb (first block only), conv0, conv1 with 2x downsampling, and a 1 x 1 downsampling skip."""

    def __init__(self, in_channels: int, channels: int, out_channels: int, img_channels: int):
        super().__init__()
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_TAPS))
        layer = partial(Conv2dLayer, activation="lrelu", conv_clamp=CONV_CLAMP)
        self.fromrgb: Conv2dLayer | None = None
        if in_channels == 0:
            self.fromrgb = layer(img_channels, channels, 1)
        self.conv0 = layer(channels, channels, 3)
        self.conv1 = layer(channels, out_channels, 3, down=2)
        self.skip = Conv2dLayer(channels, out_channels, 1, bias=False, down=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [N, C, H, W], the image in the first block, else features -> [N, out, H / 2, W / 2]."""
        if self.fromrgb is not None:
            x = self.fromrgb(x)
        skip = self.skip(x, gain=RESIDUAL_GAIN)
        x = self.conv0(x)
        return skip.add_(self.conv1(x, gain=RESIDUAL_GAIN))  # nothing keeps the skip


class Epilogue(nn.Module):
    """The last stage: 4 x 4 features to a vector of `cmap_dim` (or 1) numbers."""

    def __init__(self, channels: int, cmap_dim: int, mbstd_group: int):
        super().__init__()
        self.mbstd_group = mbstd_group
        self.conv = Conv2dLayer(channels + 1, channels, 3, activation="lrelu", conv_clamp=CONV_CLAMP)
        self.fc = FullyConnectedLayer(channels * 16, channels, activation="lrelu")
        self.out = FullyConnectedLayer(channels, cmap_dim or 1)

    def forward(self, x: torch.Tensor, sets: int = 1) -> torch.Tensor:
        """x [N, C, 4, 4] -> [N, cmap_dim or 1]; `sets` as of `minibatch_std`."""
        x = x.to(self.conv.weight.dtype)
        x = self.conv(minibatch_std(x, self.mbstd_group, sets))
        x = self.fc(x.flatten(1))
        return self.out(x)


class Discriminator(nn.Module):
    """Residual StyleGAN2 trunk, conditioned by projection on a mapped camera label.

    Args:
        img_channels: of the input.
        camera_dim: numbers of the condition, 0 for none.
        resolution: of the input.
    """

    def __init__(self, img_channels: int, camera_dim: int, resolution: int, config: DiscriminatorConfig):
        super().__init__()
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_TAPS))
        # Of all blocks if bfloat16, else of the highest resolutions; None: that of the parameters.
        self.precision: torch.dtype | None = None
        self.resolutions = []  # of the blocks, from the input's to 8
        side = resolution
        while side > 4:
            channels = _channels(config, side)
            in_channels = 0 if side == resolution else channels
            block = ResidualBlock(in_channels, channels, _channels(config, side // 2), img_channels)
            self.add_module(f"b{side}", block)
            self.resolutions.append(side)
            side //= 2
        self.half_resolutions = self.resolutions[: config.half_resolutions]
        channels = _channels(config, 4)
        cmap_dim = channels if camera_dim else 0
        self.mapping: CameraMapping | None = None
        if camera_dim:
            self.mapping = CameraMapping(camera_dim, cmap_dim, config.mapping_layers)
        self.b4 = Epilogue(channels, cmap_dim, config.mbstd_group)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features [N, C, 4, 4] of the input [N, img_channels, R, R] ahead of the last stage."""
        for features in self.block_features(x):
            x = features
        return x

    def block_features(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield what each block makes of the input [N, img_channels, R, R]: [N, C, R / 2, R / 2] to [N, C, 4, 4]."""
        for r in self.resolutions:
            dtype = self.b4.conv.weight.dtype
            if self.precision == torch.bfloat16 or (self.precision is not None and r in self.half_resolutions):
                dtype = self.precision
            block = getattr(self, f"b{r}")
            x = block(x.to(dtype, memory_format=torch.channels_last))
            yield x

    def logits(self, x: torch.Tensor, condition: torch.Tensor | None, sets: int = 1) -> torch.Tensor:
        """Return logits [N, 1] of the input [N, img_channels, R, R] under the condition [N, camera_dim].

        Args:
            sets: how many sets of samples, one after the other, are judged, each as if it were alone.
        """
        x = self.b4(self.features(x), sets)
        if self.mapping is None:
            return x
        cmap = self.mapping(condition)
        projection = (x * cmap).sum(dim=1, keepdim=True)
        return projection / math.sqrt(cmap.shape[1])


class ImageDiscriminator(Discriminator):
    """D_img(I, c), which judges a frame together with the raw image it was made from (dual discrimination)."""

    def __init__(self, resolution: int, config: DiscriminatorConfig):
        super().__init__(6, CAMERA_DIM, resolution, config)

    def forward(
        self, image: torch.Tensor, image_raw: torch.Tensor, camera: torch.Tensor, sets: int = 1
    ) -> torch.Tensor:
        """image [N, 3, R, R], image_raw [N, 3, r, r], camera [N, 25] -> logits [N, 1]; `sets` as of `logits`."""
        return self.logits(self.assemble(image, image_raw), camera, sets)

    def assemble(self, image: torch.Tensor, image_raw: torch.Tensor) -> torch.Tensor:
        """Return the input [N, 6, R, R] of image [N, 3, R, R] and image_raw [N, 3, r, r]."""
        raw = nn.functional.interpolate(
            image_raw, size=image.shape[-2:], mode="bilinear", align_corners=False, antialias=True
        )
        return torch.cat([image, raw], dim=1)


def video_camera_dim(config: DiscriminatorConfig) -> int:
    """Return the length of the video discriminator's condition: both cameras, or none."""
    return FRAMES_PER_CLIP * CAMERA_DIM if config.video_cameras else 0


class VideoDiscriminator(Discriminator):
    """D_vid([I_i, I_j, dt], [c_i, c_j]), which judges two frames of a clip and the time between them."""

    def __init__(self, resolution: int, config: DiscriminatorConfig):
        channels = 3 * FRAMES_PER_CLIP
        if config.video_dt:
            channels += 1
        super().__init__(channels, video_camera_dim(config), resolution, config)
        self.dt = config.video_dt

    def assemble(self, image: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return the input [B, 7 (6 without dt), R, R] of frames [B * 2, 3, R, R] and times [B, 2]."""
        clips = image.unflatten(0, (-1, FRAMES_PER_CLIP))
        x = clips.flatten(1, 2)
        if not self.dt:
            return x
        dt = torch.diff(t, dim=1).to(x.dtype)
        height, width = x.shape[2:]
        plane = dt.reshape(-1, 1, 1, 1).expand(-1, 1, height, width)
        return torch.cat([x, plane], dim=1)

    def forward(self, x: torch.Tensor, camera: torch.Tensor, sets: int = 1) -> torch.Tensor:
        """x [B, 7, R, R] as `assemble` gives it, camera [B * 2, 25] -> logits [B, 1]; `sets` as of `logits`."""
        condition = None if self.mapping is None else camera.reshape(len(x), -1)
        return self.logits(x, condition, sets)
