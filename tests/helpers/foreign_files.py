"""Files as the official PV3D and EG3D write them, of our networks, with a source text that must not run."""

import copy
import os
import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from training.checkpoints.snapshots import Networks
from training.networks.generator import Generator

MARKER = "was_run"
SOURCE = f"open('{MARKER}', 'w')\n"  # in place of a class's source text
PREFIXES = {"generator.": "G", "generator_ema.": "G_ema", "img_discriminator.": "D_img", "vid_discriminator.": "D_vid"}


def pv3d(networks, path, counters=None, **changes):
    """Write a checkpoint as the official PV3D does; `counters` say beside the model how far it is."""
    model = {
        prefix + name: value
        for prefix, key in PREFIXES.items()
        for name, value in getattr(networks, key).state_dict().items()
    }
    torch.save({"model": OrderedDict((model | changes).items())} | (counters or {}), path)
    return path


class Call:
    """Pickles to a call of a function."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


RUN = Call(os.system, f"touch {MARKER}")


class Persistent:
    """Pickles as a record of a persistent class."""

    def __init__(self, module, **attributes):
        self.state = {
            "training": False,
            "_parameters": module._parameters,
            "_buffers": module._buffers,
            "_modules": records(module),
            "_init_args": (),
            "_init_kwargs": {},
        } | attributes
        self.name = type(module).__name__

    def __reduce__(self):
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": self.name, "state": self.state}
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,)


def records(module) -> OrderedDict:
    """Return a module's children as records; torch's own as they are, since these are no persistent classes."""
    children = OrderedDict()
    for name, child in module._modules.items():
        if type(child) is torch.nn.Sequential:
            children[name] = torch.nn.Sequential()
            children[name].__dict__["_modules"] = records(child)
        elif child is not None:
            children[name] = child if type(child) is torch.nn.Softplus else Persistent(child)
    return children


class FirstThree(torch.nn.Module):
    """A layer that returns EG3D's raw image: the first three channels."""

    def forward(self, x, w):
        return x[:, :3]


def static(G: Generator) -> Generator:
    """Return a copy as EG3D has it: without motion layers, the raw image being the first three features."""
    G = copy.deepcopy(G)
    for side in G.backbone.synthesis.resolutions:
        getattr(G.backbone.synthesis, f"b{side}").motion_time_fuser = None
    G.to_img_raw = FirstThree()
    return G


def eg3d(
    networks: Networks, path: Path, attributes: dict | None = None, extra: dict | None = None, **options: Any
) -> Path:
    """Write a pickle as EG3D does, of the networks without motion and raw image layers.

    `attributes` are the generators' own; `extra` is beside the networks; `options` are of the rendering.
    """
    rendering = {
        "ray_start": 2.25,
        "ray_end": 3.3,
        "depth_resolution": 6,
        "depth_resolution_importance": 6,
        "box_warp": 1,
        "clamp_mode": "softplus",
        "superresolution_noise_mode": "none",
        "c_gen_conditioning_zero": False,
        "density_reg": 0.25,
        "white_back": False,
    } | options
    attributes = {"rendering_kwargs": rendering, "neural_rendering_resolution": 8, "z_dim": 8} | (attributes or {})
    content = {
        "training_set_kwargs": {"path": "x"},
        "augment_pipe": None,
        "D": Persistent(networks.D_img),
        "G": Persistent(static(networks.G), **attributes),
        "G_ema": Persistent(static(networks.G_ema), **attributes),
    }
    fake = ModuleType("torch_utils.persistence")
    exec("def _reconstruct_persistent_obj(meta): raise AssertionError", fake.__dict__)
    fake._reconstruct_persistent_obj.__module__ = fake.__name__
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, fake.__name__, fake)
        path.write_bytes(pickle.dumps(content | (extra or {}), protocol=4))
    return path
