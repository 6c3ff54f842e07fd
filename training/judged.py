"""The frames that discriminators judge, real or fake: sets of them, blurred, joined, with others in their place.

Shapes: B clips of 2 frames (or 1); frames and their cameras are folded into the batch, [B * 2, ...], times stay [B, 2].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from torch_utils.ops.upfirdn2d import filter2d
from torch_utils.transfers import to_device

PER_FRAME = ("image", "image_raw", "cameras")  # fields of Frames with an entry for each frame
TENSORS = ("image", "image_raw", "times", "cameras")  # all of its fields that are tensors


@dataclass(kw_only=True)
class Frames:
    """Frames that discriminators judge, real or fake."""

    image: torch.Tensor  # [B * 2, 3, R, R] in [-1, 1]
    image_raw: torch.Tensor  # [B * 2, 3, r, r]
    times: torch.Tensor  # [B, 2]
    cameras: torch.Tensor  # [B * 2, 25]
    # Where some clips have but one frame: the same with others in their place, for the video discriminator.
    stand_ins: "Frames | None" = None
    images: int = 0  # how many frames, the first ones, are images in the place of clips', which `stand_ins` then has

    def blurred(self, sigma: float) -> tuple["Frames", "Frames"]:
        """Return what the image and what the video discriminator judges, blurred by `sigma` but for raw images."""
        own = replace(self, image=blur(self.image, sigma))
        if self.stand_ins is None:
            return own, own
        return own, replace(self.stand_ins, image=blur(self.stand_ins.image, sigma))

    def detached(self) -> "Frames":
        """Return these frames without the graph that made them."""
        images = {name: getattr(self, name).detach() for name in TENSORS}
        return Frames(**images, stand_ins=self.stand_ins and self.stand_ins.detached(), images=self.images)

    def with_clips(self, clips: list[int], others: "Frames") -> "Frames":
        """Return these frames with those of some clips replaced, in order, by all of `others`."""
        values = {}
        for name in TENSORS:
            by_clip = getattr(self, name).unflatten(0, (len(self.times), -1))
            new = getattr(others, name).unflatten(0, (len(clips), -1))
            values[name] = by_clip.index_copy(0, to_device(torch.tensor(clips), new.device), new).flatten(0, 1)
        return Frames(**values)

    def with_images(self, images: "Frames") -> "Frames":
        """Return these frames with as many of the first ones replaced by images, single frames, for one discriminator.

        The video discriminator judges what it would judge without them.
        """
        count = len(images.image)
        own = {name: torch.cat([getattr(images, name), getattr(self, name)[count:]]) for name in PER_FRAME}
        times = torch.cat([images.times.flatten(), self.times.flatten()[count:]]).view_as(self.times)
        return Frames(**own, times=times, stand_ins=self.stand_ins or self, images=count)


def joined(sets: Sequence[Frames]) -> Frames:
    """Return several sets of frames as one, one after the other."""
    if len(sets) == 1:
        return sets[0]
    values: dict[str, Any] = {name: torch.cat([getattr(frames, name) for frames in sets]) for name in TENSORS}
    if all(frames.stand_ins is None for frames in sets):
        return Frames(**values)
    return Frames(**values, stand_ins=joined([frames.stand_ins or frames for frames in sets]))


def blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Filter images [N, C, H, W] with Gaussian-like taps 2^-((k / sigma)^2), |k| <= floor(3 sigma)."""
    reach = math.floor(3 * sigma)
    if reach < 1:
        return images
    k = torch.arange(-reach, reach + 1, device=images.device, dtype=torch.float32)
    taps = (k / sigma).square().neg().exp2()
    return filter2d(images, taps / taps.sum())
