"""PV3D from Python: load a model, make videos, meshes and single frames of it (docs/python.md).

import pv3d
m = pv3d.load("heads")
m.video(m.appearance(3), m.motion(7), cameras=pv3d.orbit(48, yaw=30)).save("turn.mp4")
"""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
from dnnlib.errors import UserError
from pv3d.appearances import W
from pv3d.cameras import frontal, orbit, read_cameras, resample
from pv3d.loading import load
from pv3d.model import Model
from pv3d.video import Video
from training.sampling.surfaces import Mesh

__all__ = [
    "Mesh",
    "Model",
    "UserError",
    "Video",
    "W",
    "frontal",
    "load",
    "orbit",
    "read_cameras",
    "resample",
]
