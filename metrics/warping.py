"""Warping error: the side view re-projected into the frontal view by its depth, compared there (PV3D A.4, Eq. 7-8)."""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import interpolate

from metrics.resize import resize_bytes
from training.cameras import split_label
from training.rendering.rays import camera_rays

SIZE = 256  # of the images that are compared


@dataclass(frozen=True)
class Warp:
    """The side view where it lands in the frontal view."""

    image: torch.Tensor  # uint8 [3, S, S], zero where not counted
    mask: torch.Tensor  # bool [S, S], the pixels that count

    def error(self, front: torch.Tensor) -> float:
        """Mean absolute difference to the frontal image uint8 [3, S, S], 0 to 255; NaN where no pixel counts."""
        return float(_differences(front, self.image)[self.mask].sum().double() / (len(front) * self.mask.sum()))


@dataclass(frozen=True)
class WarpingErrors:
    """Warping errors of one pair of views, 0 to 255; NaN where no pixel counts: left out of the mean over pairs."""

    paper: float  # all pixels that land inside the frontal view
    reference: float  # the reference implementation's choice of pixels
    zbuffer: float  # the paper's, and where several pixels land on one, the nearest is seen
    no_warp: float  # the images as they are, for scale


def warping_errors(
    front: np.ndarray | torch.Tensor,
    side: np.ndarray | torch.Tensor,
    side_depth: np.ndarray | torch.Tensor,
    front_camera: np.ndarray | torch.Tensor,
    side_camera: np.ndarray | torch.Tensor,
) -> WarpingErrors:
    """Compare two views.

    Args:
        front, side: uint8 [3, H, W], RGB; brought to 256 x 256 as OpenCV does it (bilinear, bytes).
        side_depth: [r, r], length along the unit ray of each pixel, world units; brought to 256 x 256 bilinearly.
        front_camera, side_camera: [25].
    """
    front, side = (torch.from_numpy(resize_bytes(np.asarray(image), SIZE, SIZE)) for image in (front, side))
    landing = land(torch.as_tensor(side_depth), torch.as_tensor(side_camera), torch.as_tensor(front_camera))
    unwarped = float(_differences(front, side).sum().double() / side.numel())
    return WarpingErrors(
        landing.warp(side).error(front),
        landing.warp_like_reference(side).error(front),
        landing.warp(side, nearest_wins=True).error(front),
        unwarped,
    )


def land(
    side_depth: torch.Tensor, side_camera: torch.Tensor, front_camera: torch.Tensor, size: int = SIZE
) -> "Landing":
    """Where the pixels of a side view [size, size] come to lie in the frontal view; in float64.

    `side_depth` [r, r] is a length along the unit ray, as our renderer and the reference give it (the paper's Eq. 7
    reads as if it were a z coordinate).
    """
    depth = interpolate(side_depth.cpu().double()[None, None], size=(size, size), mode="bilinear", align_corners=False)
    origin, directions = _rays(tuple(side_camera.tolist()), size)
    cam2world, intrinsics = split_label(front_camera.cpu().double())
    world2cam = torch.linalg.inv(cam2world)
    seen = torch.addmm(world2cam[:3, 3:], world2cam[:3, :3], depth.reshape(1, -1) * directions + origin)
    u, v, _ = intrinsics @ seen / seen[2]
    return Landing(u, v, seen, size)


@functools.lru_cache(maxsize=4)  # all videos are seen by the protocol's two cameras
def _rays(camera: tuple[float, ...], size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Origin [3, 1] and unit directions [3, size * size] of a camera's rays, float64."""
    origins, directions = camera_rays(torch.tensor([camera], dtype=torch.float64), size)
    return origins[0, 0, :, None], directions[0].T.contiguous()


def _differences(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Absolute differences of images [3, S, S] of bytes, summed over colours: [S, S] in integers, so sums are exact."""
    return (a.short() - b.short()).abs().sum(dim=0)


class Landing:
    """A side view's pixels, row by row, as the frontal camera sees them.

    Args:
        u, v: image positions [S * S], 0 to 1 inside the image.
        points: in the camera's frame [3, S * S].
    """

    def __init__(self, u: torch.Tensor, v: torch.Tensor, points: torch.Tensor, size: int):
        self.size, self.points = size, points
        self.inside = (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
        column, row = (position.nan_to_num(0).mul(size).clamp(0, size - 1).long() for position in (u, v))
        self.target = row * size + column

    def warp(self, side: torch.Tensor, nearest_wins: bool = False) -> Warp:
        """The paper's: pixels outside the frontal view, or behind its camera, are dropped.

        Where several land on one, the last in raster order is seen, as in the reference on one thread; or the nearest
        to the camera.
        """
        kept = (self.inside & (self.points[2] > 0)).nonzero().squeeze(1)
        if nearest_wins:
            distance = self.points[:, kept].square().sum(dim=0)
            nearest = distance.new_full([self.size**2], torch.inf)
            nearest.scatter_reduce_(0, self.target[kept], distance, "amin")
            kept = kept[distance == nearest[self.target[kept]]]
        winner = self._last(kept)
        return self._gather(side, winner, winner >= 0)

    def warp_like_reference(self, side: torch.Tensor) -> Warp:
        """The reference implementation's: pixels outside are moved to the border, and whether a frontal pixel counts is
        asked of the side pixel with the same row and column, not of the one that landed there."""
        winner = self._last(torch.arange(self.size**2))
        return self._gather(side, winner, (winner >= 0) & self.inside)

    def _last(self, kept: torch.Tensor) -> torch.Tensor:
        """For each frontal pixel [S * S] the last of the side pixels `kept` (flat indices) that landed on it, or -1."""
        winner = torch.full([self.size**2], -1)
        return winner.scatter_reduce_(0, self.target[kept], kept, "amax")

    def _gather(self, side: torch.Tensor, winner: torch.Tensor, mask: torch.Tensor) -> Warp:
        image = side.flatten(1)[:, winner.clamp(min=0)] * mask
        return Warp(image.reshape(3, self.size, self.size), mask.reshape(self.size, self.size))
