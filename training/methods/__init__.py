"""Methods: how a generator gets its motion, which discriminators judge it, and with which losses. One file each.

A method is a table of settings, like a preset: networks, losses and data follow from the configuration, and know no
method by its name. `--cfg` keeps size, data and schedule, `--method` lays its settings over those.
"""

from training.methods.eg3d import EG3D
from training.methods.eg3d_mcghd import EG3D_MCGHD
from training.methods.method import Method
from training.methods.pv3d import PV3D
from training.methods.vidgen_eg3d import VIDGEN_EG3D

__all__ = ["METHODS", "Method"]
METHODS: dict[str, Method] = {method.name: method for method in (PV3D, EG3D, VIDGEN_EG3D, EG3D_MCGHD)}
