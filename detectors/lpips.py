"""LPIPS with VGG16 (Zhang et al., 2018), version 0.1: a perceptual distance between pictures, with gradients.

State-dict names are those of the public files: `VGG16`'s of torchvision's vgg16-397923af.pth, `ChannelWeights`' of
LPIPS' vgg.pth. The numbers are for float32 and float64: in half precision, `EPS` is zero.
"""

import torch
from torch import nn

from torch_utils.runtime import select_device

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions; every further one halves the sides
# Of RGB pictures in [-1, 1], as ImageNet's mean and deviation are of those in [0, 1].
MEAN = (-0.030, -0.088, -0.188)
DEVIATION = (0.458, 0.448, 0.450)
EPS = 1e-10  # added to the length of a feature vector
MIN_SIDE = 2 ** (len(STAGES) - 1)  # of pictures in pixels

Features = tuple[torch.Tensor, ...]  # of the five stages: [N, C, H, W], [N, C', H / 2, W / 2], ...


def normalise(x: torch.Tensor) -> torch.Tensor:
    """Return pictures [N, 3, H, W] in [-1, 1] as `VGG16` was trained to see them."""
    mean = x.new_tensor(MEAN).reshape(3, 1, 1)
    deviation = x.new_tensor(DEVIATION).reshape(3, 1, 1)
    return (x - mean) / deviation


class VGG16(nn.Module):
    """The convolutions of VGG16 (Simonyan and Zisserman, 2015), without the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential()
        inputs = 3
        for stage, (channels, convolutions) in enumerate(STAGES):
            if stage > 0:
                self.features.append(nn.MaxPool2d(2))
            for _ in range(convolutions):
                self.features.append(nn.Conv2d(inputs, channels, 3, padding=1))
                self.features.append(nn.ReLU(inplace=True))
                inputs = channels

    def forward(self, x: torch.Tensor) -> Features:
        """Return the last activations of each stage (relu1_2, 2_2, 3_3, 4_3, 5_3) of pictures from `normalise`."""
        taps = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                taps.append(x)
            x = layer(x)
        return (*taps, x)


class ChannelWeight(nn.Module):
    """Weighted sum over the channels of a stage: [N, C, H, W] -> [N, 1, H, W]."""

    def __init__(self, channels: int):
        super().__init__()
        in_training = nn.Identity()  # in the public file's training, dropout
        self.model = nn.Sequential(in_training, nn.Conv2d(channels, 1, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


class ChannelWeights(nn.ModuleDict):
    """A `ChannelWeight` for each stage; all numbers are positive."""

    def __init__(self) -> None:
        super().__init__({f"lin{stage}": ChannelWeight(channels) for stage, (channels, _) in enumerate(STAGES)})


class LPIPS(nn.Module):
    """The distance of pictures [N, 3, H, W], RGB in [-1, 1], whose sides are at least `MIN_SIDE` pixels.

    Gradients flow to the pictures, none to the weights.

    Args:
        vgg: the network, which becomes part of this one, like the next.
        channel_weights: those of its features.
        name: says, with the next, whose distances they are.
        checksum: sha256 that changes with either's weights.
        device: as of `select_device`.
    """

    def __init__(
        self,
        vgg: VGG16,
        channel_weights: ChannelWeights,
        *,
        name: str,
        checksum: str,
        device: torch.device | str = "cpu",
    ):
        super().__init__()
        self.vgg = vgg
        self.channel_weights = channel_weights
        self.name = name
        self.checksum = checksum
        self.to(select_device(device)).requires_grad_(False)

    def features(self, x: torch.Tensor) -> Features:
        """Return the feature vectors of pictures, in each stage divided by their length over the channels.

        A vector of zeros stays one, and passes a gradient of zero.
        """
        taps = self.vgg(normalise(x))
        return tuple(tap / (tap.norm(dim=1, keepdim=True) + EPS) for tap in taps)

    def distance(self, a: Features, b: Features) -> torch.Tensor:
        """Return distances [N] of pictures by their `features`, N or 1 on either side.

        Eq. (1): squared differences, weighted and summed over channels, mean over pixels, sum over stages.
        """
        parts = []
        for weight, from_a, from_b in zip(self.channel_weights.values(), a, b, strict=True):
            squares = (from_a - from_b).square()
            parts.append(weight(squares).mean((1, 2, 3)))
        return torch.stack(parts).sum(0)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return the distances [N] of pictures."""
        return self.distance(self.features(a), self.features(b))
