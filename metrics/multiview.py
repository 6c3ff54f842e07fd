"""The multi-view protocol of ID, CD and WE (PV3D A.4): four renders of a video, two views at two times.

Views, in order: 0 frontal at t0, 1 side at t1, 2 side at t0, 3 frontal at t1.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from dnnlib.errors import UserError
from dnnlib.files import require_file
from metrics.arrays import read_arrays
from metrics.video_sources import code_spec, folder_frames, to_uint8_pv3d
from torch_utils.pickles.reader import FAULTS
from training.cameras import CAMERA_DIM, canonical_label, frontal_label
from training.checkpoints.snapshots import Snapshot
from training.sampling.clips import PAPER_FRAMES, ClipSpec, SamplingOptions, frame_times, generate_views

SIDE_YAW = np.deg2rad(30)  # asked for; by the formula it is seen as 32.27 degrees
TIMES = frame_times(PAPER_FRAMES)  # t0 and t1 are two of these, drawn with replacement
IS_SIDE, TIME_SLOT = (0, 1, 1, 0), (0, 1, 0, 1)  # of the four views
PAIRS_GEOMETRY = ((0, 2), (3, 1), (0, 1), (3, 2))  # CD and WE: (frontal, side), same time first
PAIRS_IDENTITY = (*PAIRS_GEOMETRY, (0, 3), (2, 1))
VIEWS = len(IS_SIDE)
DRAW = 4  # stream of random numbers
GEOMETRY_FILE = "geometry.npz"


@dataclass(frozen=True)
class Views:
    """Four renders of one video; the geometry is None where it is not known (files made elsewhere)."""

    images: np.ndarray  # uint8 [4, 3, R, R]
    depth: np.ndarray | None = None  # float32 [4, r, r], along the unit ray, world units
    points: np.ndarray | None = None  # float32 [4, r, r, 3], world
    opacity: np.ndarray | None = None  # float32 [4, r, r], 0 to 1
    cameras: np.ndarray | None = None  # float32 [4, 25]

    def geometry(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """depth, points, opacity, cameras; UserError where they are not known."""
        known = (self.depth, self.points, self.opacity, self.cameras)
        if any(part is None for part in known):
            raise UserError(f"CD and WE need {GEOMETRY_FILE} (depth, points, opacity, cameras) beside the four images.")
        return known


class ViewSource(Protocol):
    """A numbered set of four-view samples."""

    count: int | None  # None: as many as one likes

    @property
    def identity(self) -> dict[str, Any]:
        """Plain values that everything about the views follows from."""

    def views(self, index: int) -> Views:
        """UserError if this one cannot be had."""


def protocol_cameras() -> torch.Tensor:
    """Labels [2, 25]: the canonical camera, and the side camera at yaw 30 degrees."""
    return torch.stack([canonical_label(), frontal_label(SIDE_YAW)])


class GeneratedViews:
    """Renders of a snapshot; number i of seed 0 has the codes of `gen_videos.py --seeds=i`."""

    def __init__(self, snapshot: Snapshot, checksum: str, seed: int = 0):
        self.snapshot, self.checksum, self.seed, self.count = snapshot, checksum, seed, None

    @property
    def identity(self) -> dict[str, Any]:
        return {"source": "generator", "snapshot": self.checksum, "seed": self.seed}

    def times(self, index: int) -> torch.Tensor:
        """t0, t1 of video `index`, [2]."""
        return TIMES[np.random.default_rng([self.seed, index, DRAW]).integers(len(TIMES), size=2)]

    @torch.inference_mode()
    def views(self, index: int) -> Views:
        front, side = protocol_cameras()
        spec = code_spec(self.snapshot, self.seed, index, front.expand(2, -1))
        spec = ClipSpec(spec.z, spec.z_motion, spec.cameras, self.times(index))
        paths = [front.expand(2, -1), side.expand(2, -1)]
        (seen,) = generate_views(self.snapshot.G, spec, paths, SamplingOptions(frames_per_batch=2), with_points=True)
        pick = [(seen[view], slot) for view, slot in zip(IS_SIDE, TIME_SLOT, strict=True)]
        stack = lambda name: torch.stack([out[name][slot] for out, slot in pick]).float().cpu()  # noqa: E731
        return Views(
            to_uint8_pv3d(stack("image")).numpy(),
            stack("image_depth")[:, 0].numpy(),
            stack("xyz").numpy(),
            stack("weight_total")[..., 0].numpy(),
            stack("camera").numpy(),
        )


class FolderViews:
    """Renders made elsewhere: a folder per video with four images, in the order above by name, and `geometry.npz`.

    Raises:
        UserError: the folder is missing or holds none.
    """

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder: give the one that holds a folder of four images per video.")
        self.folder = folder
        self.paths = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        if not self.paths:
            raise UserError(f"{folder} holds no folders: --multiview needs a folder of four images per video.")
        self.count = len(self.paths)

    @property
    def identity(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for file in sorted(file for path in self.paths for file in path.iterdir()):
            digest.update(f"{file.relative_to(self.folder)}\0{file.stat().st_size}\0".encode())
        return {"source": "folder", "fingerprint": digest.hexdigest()}

    def views(self, index: int) -> Views:
        path = self.paths[index]
        images = list(folder_frames(path))
        if len(images) != VIEWS or len({image.shape for image in images}) > 1:
            raise UserError(f"{path} needs {VIEWS} images of one size: frontal t0, side t1, side t0, frontal t1.")
        geometry = path / GEOMETRY_FILE
        return Views(np.stack(images), *(_read_geometry(geometry) if os.path.lexists(geometry) else ()))


def _read_geometry(path: Path) -> list[np.ndarray]:
    """depth, points, opacity, cameras; UserError unless they fit together."""
    names = ("depth", "points", "opacity", "cameras")
    try:
        found = read_arrays(require_file(path, "file of geometry"))
        arrays = [found[name].astype(np.float32) for name in names]
    except (*FAULTS, OSError) as error:
        raise UserError(f"{path} is unreadable or lacks one of {', '.join(names)} ({error}).") from error
    size = arrays[0].shape[1:]
    expected = [(VIEWS, *size), (VIEWS, *size, 3), (VIEWS, *size), (VIEWS, CAMERA_DIM)]
    if len(size) != 2 or [array.shape for array in arrays] != expected or not all(np.isfinite(a).all() for a in arrays):
        raise UserError(
            f"{path} needs finite depth [4, r, r], points [4, r, r, 3], opacity [4, r, r], cameras [4, 25]."
        )
    return arrays
