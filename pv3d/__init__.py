"""PV3D from Python: load a model, make videos, meshes and single frames of it (docs/python.md).

import pv3d
m = pv3d.load("heads")
m.video(m.appearance(3), m.motion(7), cameras=pv3d.orbit(48, yaw=30)).save("turn.mp4")

What is here is imported when it is first used, since torch takes seconds: `pv3d --help` does without (PEP 562).
"""

import importlib
from typing import TYPE_CHECKING, Any

from pv3d import shadowing

if shadowing.fault(shadowing.LIBRARY) is None:
    from dnnlib import openmp  # noqa: F401  (before torch)
if TYPE_CHECKING:
    from dnnlib.errors import UserError
    from pv3d.appearances import W
    from pv3d.cameras import frontal, orbit, read_cameras, resample
    from pv3d.loading import load
    from pv3d.model import Model
    from pv3d.video import Video
    from training.sampling.surfaces import Mesh

# The module that each is in.
_HOMES = {
    "Mesh": "training.sampling.surfaces",
    "Model": "pv3d.model",
    "UserError": "dnnlib.errors",
    "Video": "pv3d.video",
    "W": "pv3d.appearances",
    "frontal": "pv3d.cameras",
    "load": "pv3d.loading",
    "orbit": "pv3d.cameras",
    "read_cameras": "pv3d.cameras",
    "resample": "pv3d.cameras",
}
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


def __getattr__(name: str) -> Any:
    """Import one of __all__, which is found without this from then on. ImportError if another project hides ours."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    fault = shadowing.fault(shadowing.LIBRARY)
    if fault is not None:
        raise ImportError(fault)
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return all names, those that are not imported yet too."""
    return sorted({*globals(), *__all__})
