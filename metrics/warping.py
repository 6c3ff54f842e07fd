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
class WarpedView:
    """The side view where it lands in the frontal view."""

    image: torch.Tensor  # uint8 [3, S, S], zero where not counted
    mask: torch.Tensor  # bool [S, S], the pixels that count

    def error(self, front: torch.Tensor) -> float:
        """Return the mean absolute difference to the frontal image uint8 [3, S, S], 0 to 255; NaN: no pixel counts."""
        differences = _differences(front, self.image)[self.mask]
        numbers = len(front) * self.mask.sum()
        return float(differences.sum().double() / numbers)


@dataclass(frozen=True, kw_only=True)
class WarpingErrors:
    """Warping errors of one pair of views, 0 to 255; NaN where no pixel counts: left out of the mean over pairs."""

    paper: float  # all pixels that land inside the frontal view
    reference: float  # the reference implementation's choice of pixels
    zbuffer: float  # the paper's, and where several pixels land on one, the nearest is seen
    no_warp: float  # the images as they are, for scale


def warping_errors(
    *,
    front: np.ndarray,
    side: np.ndarray,
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
    front_image = torch.from_numpy(resize_bytes(front, SIZE, SIZE))
    side_image = torch.from_numpy(resize_bytes(side, SIZE, SIZE))
    landing = land(
        torch.as_tensor(side_depth),
        side_camera=torch.as_tensor(side_camera),
        front_camera=torch.as_tensor(front_camera),
    )
    unwarped = _differences(front_image, side_image).sum().double()
    return WarpingErrors(
        paper=landing.warp(side_image).error(front_image),
        reference=landing.warp_like_reference(side_image).error(front_image),
        zbuffer=landing.warp(side_image, nearest_wins=True).error(front_image),
        no_warp=float(unwarped / side_image.numel()),
    )


def _differences(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return absolute differences [S, S] of images uint8 [3, S, S], summed over colours; integers: sums are exact."""
    return (a.short() - b.short()).abs().sum(dim=0)


# --- Where pixels land ------------------------------------------------------------------------------------------------


class Landing:
    """A side view's pixels, row by row, as the frontal camera sees them.

    Args:
        u, v: image positions [S * S], 0 to 1 inside the image.
        points: in the camera's frame [3, S * S].
        size: S.
    """

    def __init__(self, u: torch.Tensor, v: torch.Tensor, points: torch.Tensor, size: int):
        self.size = size
        self.points = points
        self.inside = _in_unit_range(u) & _in_unit_range(v)
        self.target = _pixel_numbers(v, size) * size + _pixel_numbers(u, size)

    def warp(self, side: torch.Tensor, nearest_wins: bool = False) -> WarpedView:
        """Warp as the paper says: pixels outside the frontal view, or behind its camera, are dropped.

        Where several land on one, the last in raster order is seen, as in the reference on one thread; or the nearest
        to the camera.
        """
        landed = (self.inside & (self.points[2] > 0)).nonzero().squeeze(1)
        if nearest_wins:
            landed = self._nearest(landed)
        winner = self._last(landed)
        return self._gather(side, winner, winner >= 0)

    def warp_like_reference(self, side: torch.Tensor) -> WarpedView:
        """Warp as the reference implementation does.

        Pixels outside are moved to the border, and whether a frontal pixel counts is asked of the side pixel with the
        same row and column, not of the one that landed there.
        """
        winner = self._last(torch.arange(self.size**2))
        return self._gather(side, winner, (winner >= 0) & self.inside)

    def _nearest(self, landed: torch.Tensor) -> torch.Tensor:
        """Return those of the side pixels `landed` (flat indices) that are nearest to the camera where they land."""
        target = self.target[landed]
        distance = self.points[:, landed].square().sum(dim=0)
        nearest = distance.new_full([self.size**2], torch.inf)
        nearest.scatter_reduce_(0, target, distance, "amin")
        return landed[distance == nearest[target]]

    def _last(self, landed: torch.Tensor) -> torch.Tensor:
        """Return for each frontal pixel [S * S] the last of the side pixels `landed` (flat indices) on it, or -1."""
        winner = torch.full([self.size**2], -1)
        return winner.scatter_reduce_(0, self.target[landed], landed, "amax")

    def _gather(self, side: torch.Tensor, winner: torch.Tensor, mask: torch.Tensor) -> WarpedView:
        """Return the image of the side pixels `winner` where the mask is true."""
        source = winner.clamp(min=0)
        image = side.flatten(1)[:, source] * mask
        return WarpedView(
            image.reshape(3, self.size, self.size),
            mask.reshape(self.size, self.size),
        )


def _in_unit_range(positions: torch.Tensor) -> torch.Tensor:
    return (positions >= 0) & (positions <= 1)


def _pixel_numbers(positions: torch.Tensor, size: int) -> torch.Tensor:
    """Return the rows or columns of image positions; those outside are moved to the border."""
    return positions.nan_to_num(0).mul(size).clamp(0, size - 1).long()


def land(
    side_depth: torch.Tensor,
    *,
    side_camera: torch.Tensor,
    front_camera: torch.Tensor,
    size: int = SIZE,
) -> Landing:
    """Find where the pixels of a side view [size, size] come to lie in the frontal view; in float64.

    `side_depth` [r, r] is a length along the unit ray, as our renderer and the reference give it (the paper's Eq. 7
    reads as if it were a z coordinate).
    """
    small = side_depth.cpu().double()[None, None]
    depth = interpolate(small, size=(size, size), mode="bilinear", align_corners=False)
    origin, directions = _rays(tuple(side_camera.tolist()), size)
    points = depth.reshape(1, -1) * directions + origin
    cam2world, intrinsics = split_label(front_camera.cpu().double())
    world2cam = torch.linalg.inv(cam2world)
    rotation = world2cam[:3, :3]
    translation = world2cam[:3, 3:]
    seen = torch.addmm(translation, rotation, points)
    u, v, _ = intrinsics @ seen / seen[2]
    return Landing(u, v, seen, size)


@functools.lru_cache(maxsize=4)  # all videos are seen by the protocol's two cameras
def _rays(camera: tuple[float, ...], size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return origin [3, 1] and unit directions [3, size * size] of a camera's rays, float64."""
    origins, directions = camera_rays(torch.tensor([camera], dtype=torch.float64), size)
    return origins[0, 0, :, None], directions[0].T.contiguous()
