"""Camera paths of videos: real ones, frontal, an orbit, or from a file."""

import math
from pathlib import Path

import numpy as np
import torch

from dnnlib.errors import UserError
from dnnlib.files import read_json
from training.camera_checks.views import has_rays
from training.cameras import CAMERA_DIM, FRONTAL_PITCH, Numbers, frontal_label, parse_label, resample_labels
from training.data.published import frame_order
from training.sampling.options import KINDS, Orbit


def camera_path(
    bank: torch.Tensor, seed: int, cameras: str | torch.Tensor, frames: int, orbit: Orbit = Orbit()
) -> torch.Tensor:
    """Return the cameras [frames, 25] of a video.

    Args:
        bank: real paths [M, F, 25] of a snapshot, of which `seed` takes one; with "shared" every seed takes the first.
        cameras: one of KINDS, or a path [F, 25] of one's own.
        orbit: how far "orbit" goes.

    Raises:
        UserError: the bank is empty and wanted; neighbouring cameras of a path are about opposite.
    """
    if isinstance(cameras, torch.Tensor):
        return resample_labels(cameras, frames)
    if cameras == "frontal":
        return frontal_label().expand(frames, -1)
    if cameras == "orbit":
        return _orbit_labels(orbit, frames)
    if len(bank) == 0:
        raise UserError("The snapshot holds no cameras; choose --cameras=frontal, orbit or a file.")
    number = 0 if cameras == "shared" else seed % len(bank)
    return resample_labels(bank[number], frames)


def _orbit_labels(orbit: Orbit, frames: int) -> torch.Tensor:
    """Return a closed path [frames, 25], as `cameras.orbit_labels` but by true elevations: pitches are none."""
    phase = torch.arange(frames, dtype=torch.float32) * (2 * math.pi / max(frames, 1))
    return turned(math.radians(orbit.yaw) * torch.sin(phase), math.radians(orbit.pitch) * torch.cos(phase))


def turned(yaw: Numbers, pitch: Numbers) -> torch.Tensor:
    """Return the frontal camera [..., 25], turned by true radians of azimuth and elevation.

    Args:
        yaw: positive to the +x side, number or [...].
        pitch: positive downwards, alike.
    """
    drop = pitch if isinstance(pitch, torch.Tensor) else torch.tensor(pitch, dtype=torch.float64)
    frontal = math.asin(1 - 2 * FRONTAL_PITCH / math.pi)
    of_sphere = (1 - torch.sin(frontal - drop)) * (math.pi / 2)
    return frontal_label(yaw, of_sphere - FRONTAL_PITCH)


def read_cameras(path: Path) -> torch.Tensor:
    """Read labels [F, 25] from a JSON list: 25 numbers each, or [name, 25 numbers] as in the published data.

    Named ones come in the order of the frames' numbers. UserError if the file is none such, or frames are missing.
    """
    if not path.exists():
        raise UserError(f"--cameras={path} is neither {', '.join(KINDS[:-1])} or {KINDS[-1]} nor a file.")
    return cameras_of(read_json(path), path)


def cameras_of(content: object, path: Path) -> torch.Tensor:
    """Return labels [F, 25] of what JSON text says, as of `read_cameras`; `path` is how messages name it."""
    rows = content if isinstance(content, list) else []
    names = [str(row[0]) for row in rows if isinstance(row, list) and len(row) == 2]
    if names and len(names) == len(rows):
        rows = [rows[place][1] for place in frame_order(names, path)]
    labels = [parse_label(row) for row in rows]
    valid = [label for label in labels if label is not None]
    if not valid or len(valid) < len(labels):
        raise UserError(f"{path} is no camera path: expected a JSON list of labels of {CAMERA_DIM} finite numbers.")
    path_labels = np.stack(valid)
    blind = np.flatnonzero(~has_rays(path_labels))
    if len(blind):
        raise UserError(f"Camera {blind[0]} of {path} sees nothing: its axes or its focal lengths are none.")
    return torch.from_numpy(path_labels)
