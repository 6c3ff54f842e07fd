"""What frames of an inversion are compared by: pixels at several scales, features, identity; and the priors.

Shapes: N frames of side R, in about [-1, 1]; every distance returns one number a frame, [N].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn.functional import avg_pool2d, normalize

from training.networks.discriminators import ImageDiscriminator
from training.networks.superresolution import resize

SCALES = 4  # of pixels: the frame, and halved up to three times
FEATURE_EPS = 1e-8  # below which features have no direction


class Distance(Protocol):
    """A distance between frames, with what it takes of the target's computed once."""

    def describe(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return what is compared of images [N, 3, R, R]: tensors [N, ...]."""

    def between(self, seen: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return distances [N] of two descriptions."""


class PixelDistance:
    """The squared error of pixels, summed over scales: each half the last one's size."""

    def describe(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the images at all scales."""
        scales = [images]
        while len(scales) < SCALES and scales[-1].shape[-1] % 2 == 0:
            scales.append(avg_pool2d(scales[-1], 2))
        return scales

    def between(self, seen: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the sum over scales of mean squared errors."""
        errors = [(a - b).square().mean(dim=(1, 2, 3)) for a, b in zip(seen, wanted, strict=True)]
        return torch.stack(errors).sum(dim=0)


class FeatureDistance:
    """How the image discriminator's features differ in direction, as LPIPS compares those of a classifier.

    Args:
        D: judges frames of the model; its weights come with the snapshot, so nothing is downloaded.
        raw_resolution: side of the raw images that it expects beside the frames, which are made of these.
    """

    def __init__(self, D: ImageDiscriminator, raw_resolution: int):
        self.D = D
        self.raw_resolution = raw_resolution

    def describe(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return features of unit length a pixel, [N, C, R / 2, R / 2] to [N, C, 4, 4]."""
        raw = resize(images, self.raw_resolution)
        blocks = self.D.block_features(self.D.assemble(images, raw))
        return [normalize(features.float(), dim=1, eps=FEATURE_EPS) for features in blocks]

    def between(self, seen: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the mean over blocks of squared differences a pixel."""
        errors = [(a - b).square().sum(dim=1).mean(dim=(1, 2)) for a, b in zip(seen, wanted, strict=True)]
        return torch.stack(errors).mean(dim=0)


class EmbeddingDistance:
    """One minus the cosine of embeddings.

    Args:
        embed: differentiable, images [N, 3, R, R] -> vectors [N, D].
    """

    def __init__(self, embed: Callable[[torch.Tensor], torch.Tensor]):
        self.embed = embed

    def describe(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return unit vectors [N, D]."""
        return [normalize(self.embed(images), dim=1)]

    def between(self, seen: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return distances, 0 to 2."""
        return 1 - (seen[0] * wanted[0]).sum(dim=1)


@dataclass(frozen=True, kw_only=True)
class Term:
    """A distance with its weight."""

    weight: float
    distance: Distance


class Comparison:
    """The weighted distances of frames to those of a target [T, 3, R, R], which is described once."""

    def __init__(self, terms: Sequence[Term], target: torch.Tensor):
        self.terms = [term for term in terms if term.weight > 0]
        with torch.no_grad():
            self.wanted = [term.distance.describe(target) for term in self.terms]

    def __call__(self, images: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return distances [N] of images [N, 3, R, R] to the target's frames of these numbers [N]."""
        total = images.new_zeros(len(images))
        for term, wanted in zip(self.terms, self.wanted, strict=True):
            seen = term.distance.describe(images)
            total = total + term.weight * term.distance.between(seen, [part[rows] for part in wanted])
        return total
