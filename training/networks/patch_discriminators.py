"""The discriminators of MoCoGAN-HD (Tian et al., ICLR 2021): patches of clips and of pairs of frames, at two scales.

Both see the first frame of a clip beside each other one, and no cameras. Widths are the published 64 to 512 where
`channel_max` is 512, and as much smaller where that is.
"""

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, instance_norm, leaky_relu

from training.config import COLOURS, DiscriminatorConfig

LARGEST = 128  # side of the frames that they see; larger ones are averaged
SLOPE = 0.2  # of leaky ReLUs below zero
WEIGHT_INIT = 0.02  # standard deviation of the first weights
WIDTHS = (1, 2, 4, 8)  # of the layers, times the first one's
STRIDES = (2, 2, 2, 1)


class InstanceNorm(nn.Module):
    """Each channel of each sample with mean 0 and variance 1; in evaluation mode those of training, as they ran.

    Args:
        channels: of x [N, channels, ...].
    """

    mean: torch.Tensor
    variance: torch.Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x normalised."""
        return instance_norm(x, self.mean, self.variance, use_input_stats=self.training)


class PatchNetwork(nn.Module):
    """Convolutions of 4 pixels (and frames) a side, to a score of every patch.

    Args:
        channels: of the input.
        width: of the first layer.
        dimensions: 2 for images, 3 for clips.
    """

    def __init__(self, channels: int, width: int, dimensions: int):
        super().__init__()
        kind = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.convs = nn.ModuleList()
        self.norms = nn.ModuleList()
        for number, (factor, stride) in enumerate(zip(WIDTHS, STRIDES, strict=True)):
            # A normalised channel forgets its bias.
            self.convs.append(kind(channels, width * factor, 4, stride, padding=2, bias=number == 0))
            channels = width * factor
            self.norms.append(nn.Identity() if number == 0 else InstanceNorm(channels))
        self.out = kind(channels, 1, 4, padding=2, bias=False)  # scores are only compared with each other
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        for conv in (*self.convs, self.out):
            conv.weight.copy_(torch.randn(*conv.weight.shape).mul(WEIGHT_INIT))
            if conv.bias is not None:
                conv.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [N, channels, (T,) H, W] -> scores [N, 1, (T',) H', W']."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = leaky_relu(norm(conv(x)), SLOPE)
        return self.out(x)


class PatchDiscriminator(nn.Module):
    """A network for the input and one for the input of half the size; all compute in the parameters' type."""

    precision: torch.dtype | None = None  # that of other networks changes nothing here

    def __init__(self, dimensions: int, config: DiscriminatorConfig):
        super().__init__()
        width = max(config.channel_max // WIDTHS[-1], 1)
        self.fine = PatchNetwork(2 * COLOURS, width, dimensions)
        self.coarse = PatchNetwork(2 * COLOURS, width, dimensions)
        self.halve: nn.Module = nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)
        if dimensions == 3:  # time stays
            self.halve = nn.AvgPool3d(3, (1, 2, 2), padding=1, count_include_pad=False)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """x [N, 6, (T,) S, S] -> scores of patches at both scales, [N, 1, ...] each."""
        return [self.fine(x), self.coarse(self.halve(x))]


class PairPatches(PatchDiscriminator):
    """D_img, which judges the first frame of a clip together with another one."""

    def __init__(self, config: DiscriminatorConfig):
        super().__init__(2, config)

    def assemble(self, clips: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """Return the input [B, 6, S, S] of clips [B, F, 3, S, S] and numbers of frames, int [B]."""
        own = torch.arange(len(clips), device=clips.device)
        return torch.cat([clips[:, 0], clips[own, chosen]], dim=1)


class ClipPatches(PatchDiscriminator):
    """D_vid, which judges all later frames of a clip, each together with the first one."""

    def __init__(self, config: DiscriminatorConfig):
        super().__init__(3, config)

    def assemble(self, clips: torch.Tensor) -> torch.Tensor:
        """Return the input [B, 6, F - 1, S, S] of clips [B, F, 3, S, S]."""
        later = clips[:, 1:]
        return torch.cat([clips[:, :1].expand_as(later), later], dim=2).transpose(1, 2)


def seen(frames: torch.Tensor) -> torch.Tensor:
    """Return frames [N, 3, R, R] as these discriminators see them: at most of 128 pixels a side, by averaging."""
    factor = max(frames.shape[-1] // LARGEST, 1)
    return avg_pool2d(frames, factor) if factor > 1 else frames
