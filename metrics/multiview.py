"""The multi-view protocol of ID, CD and WE (PV3D A.4): four renders of a video, two cameras at two times.

Views, in order: 0 frontal at t0, 1 side at t1, 2 side at t0, 3 frontal at t1.
"""

import itertools
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from dnnlib.errors import UserError
from dnnlib.files import reading, require_file
from metrics.arrays import read_arrays
from metrics.folder_content import FolderContent
from metrics.folders import folder_frames, frame_files, notes_of_frames, taken
from metrics.video_sources import NumberedVideos, code_spec, how_mapped, scored_times, to_uint8_pv3d
from training.cameras import CAMERA_DIM, canonical_label, frontal_label
from training.checkpoints.snapshots import Snapshot
from training.data.streams import Stream
from training.sampling.clips import generate_views
from training.sampling.options import SamplingOptions

SIDE_YAW = np.deg2rad(30)  # asked for; by the formula it is seen as 32.27 degrees
CAMERA_OF_VIEW = (0, 1, 1, 0)  # 0 frontal, 1 side
TIME_OF_VIEW = (0, 1, 0, 1)  # 0 t0, 1 t1
PAIRS_GEOMETRY = ((0, 2), (3, 1), (0, 1), (3, 2))  # CD and WE: (frontal, side), same time first
PAIRS_IDENTITY = (*PAIRS_GEOMETRY, (0, 3), (2, 1))
VIEWS = len(CAMERA_OF_VIEW)
GEOMETRY_FILE = "geometry.npz"


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """What four renders of one video show of its geometry, float32."""

    depth: np.ndarray  # [4, r, r], along the unit ray, world units
    points: np.ndarray  # [4, r, r, 3], of the surface, world units
    opacity: np.ndarray  # [4, r, r], 0 to 1
    cameras: np.ndarray  # labels [4, 25]


@dataclass(frozen=True)
class FourViews:
    """Four renders of one video; the geometry is None where it is not known (files made elsewhere)."""

    images: np.ndarray  # uint8 [4, 3, R, R]
    geometry: Geometry | None = None

    def require_geometry(self) -> Geometry:
        """Return the geometry; raise UserError where it is not known."""
        if self.geometry is None:
            raise UserError(f"CD and WE need {GEOMETRY_FILE} (depth, points, opacity, cameras) beside the four images.")
        return self.geometry


class ViewSource(NumberedVideos, Protocol):
    """Videos, each seen in four views."""

    def views(self, index: int) -> FourViews:
        """Return the views of a video; raise UserError if they are missing or damaged."""


def protocol_cameras() -> torch.Tensor:
    """Return labels [2, 25]: the canonical camera, and the side camera at yaw 30 degrees."""
    return torch.stack([canonical_label(), frontal_label(SIDE_YAW)])


# --- Generated views --------------------------------------------------------------------------------------------------


@dataclass
class GeneratedViews:
    """Renders of a snapshot, any number of them; number i of seed 0 has the codes of `gen_videos.py --seeds=i`.

    Args:
        checksum: of the snapshot's file.
    """

    snapshot: Snapshot
    checksum: str
    seed: int = 0
    count = content = None
    notes = ()

    @property
    def identity(self) -> dict[str, Any]:
        how = how_mapped(self.snapshot)
        return {"source": "generator", "snapshot": self.checksum, "seed": self.seed, **how}

    def times(self, index: int) -> torch.Tensor:
        """Return t0 and t1 of video `index`, [2]: two of the times of a scored video, drawn with replacement."""
        rng = np.random.default_rng([self.seed, index, Stream.VIEW_TIMES])
        times = scored_times(self.snapshot)
        return times[rng.integers(len(times), size=2)]

    @torch.inference_mode()
    def views(self, index: int) -> FourViews:
        front, side = protocol_cameras()
        paths = [front.expand(2, -1), side.expand(2, -1)]  # each at both times
        spec = replace(code_spec(self.snapshot, self.seed, index, paths[0]), times=self.times(index))
        (seen,) = generate_views(self.snapshot.G, spec, paths, SamplingOptions(frames_per_batch=2), with_points=True)

        def stack(name: str) -> torch.Tensor:
            """Stack one of the generator's outputs in the order of the views."""
            views = zip(CAMERA_OF_VIEW, TIME_OF_VIEW, strict=True)
            return torch.stack([seen[camera][name][time] for camera, time in views]).float().cpu()

        geometry = Geometry(
            depth=stack("image_depth")[:, 0].numpy(),
            points=stack("xyz").numpy(),
            opacity=stack("weight_total")[..., 0].numpy(),
            cameras=stack("camera").numpy(),
        )
        return FourViews(to_uint8_pv3d(stack("image")).numpy(), geometry)


# --- Views made elsewhere ---------------------------------------------------------------------------------------------


class FolderViews:
    """Renders made elsewhere: a folder per video with four images, in the order above by name, and `geometry.npz`.

    Raises:
        UserError: the folder is missing or holds none.
    """

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder: give the one that holds a folder of four images per video.")
        self.folder = folder
        self.paths, notes = taken(folder, Path.is_dir, "folders of four images, as --multiview needs per video")
        self.notes = notes + notes_of_frames(self.paths, known=(GEOMETRY_FILE,))
        self.count = len(self.paths)
        files = [[*frame_files(path), path / GEOMETRY_FILE] for path in self.paths]
        self.content = FolderContent(folder, itertools.chain.from_iterable(files))

    @property
    def identity(self) -> dict[str, Any]:
        return {"source": "folder", "fingerprint": self.content.fingerprint()}

    def views(self, index: int) -> FourViews:
        path = self.paths[index]
        images = list(folder_frames(path))
        if len(images) != VIEWS or len({image.shape for image in images}) > 1:
            raise UserError(f"{path} needs {VIEWS} images of one size: frontal t0, side t1, side t0, frontal t1.")
        geometry_file = path / GEOMETRY_FILE
        geometry = _read_geometry(geometry_file) if os.path.lexists(geometry_file) else None
        return FourViews(np.stack(images), geometry)


def _read_geometry(path: Path) -> Geometry:
    """Read geometry.npz; raise UserError unless its arrays are finite and fit together."""
    names = ("depth", "points", "opacity", "cameras")
    path = require_file(path, "file of geometry")
    with reading(path, f"{path} is damaged or lacks one of {', '.join(names)}", "write it again"):
        content = read_arrays(path)
        arrays = {name: content[name].astype(np.float32) for name in names}
    size = arrays["depth"].shape[1:]
    expected = {
        "depth": (VIEWS, *size),
        "points": (VIEWS, *size, 3),
        "opacity": (VIEWS, *size),
        "cameras": (VIEWS, CAMERA_DIM),
    }
    shapes = {name: array.shape for name, array in arrays.items()}
    finite = all(np.isfinite(array).all() for array in arrays.values())
    if len(size) != 2 or shapes != expected or not finite:
        raise UserError(
            f"{path} needs finite depth [4, r, r], points [4, r, r, 3], opacity [4, r, r], cameras [4, 25]."
        )
    return Geometry(**arrays)
