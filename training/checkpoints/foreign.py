"""Checkpoints of the official PV3D and of EG3D, read as inert records, as the payload of a snapshot.

PV3D: a torch file {model: weights of generator.*, generator_ema.*, img_discriminator.*, vid_discriminator.*}.
EG3D: a pickle {G, D, G_ema} of persistent-class records, of which the state is read and the source text is not.

Our networks have the names of both. The configuration comes from the weights' shapes and, for what shapes do not tell,
from an EG3D record's keyword arguments. EG3D has no motion: its generator gets motion layers with the learned weight 0,
which leave every frame as EG3D renders it, and its raw image, the first three features, becomes a fixed to-RGB layer.
"""

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dnnlib.errors import UserError
from dnnlib.files import shown
from torch_utils.ops.upfirdn2d import setup_filter
from torch_utils.pickles import reader
from torch_utils.pickles.machine import InertTensor, Record
from training.cameras import frontal_label
from training.checkpoints.foreign_config import (
    Unfit,
    dictionary,
    discriminator_config,
    eg3d_options,
    generator_config,
    validated,
)
from training.checkpoints.shapes import Shapes, network_shapes
from training.checkpoints.snapshots import MOTION, StoredSnapshot, with_fresh_motion
from training.config import Config, GeneratorConfig, RenderingConfig
from training.networks.generator import Generator
from training.networks.layers import RESAMPLE_TAPS

PV3D_NAMES = {"generator": "G", "generator_ema": "G_ema", "img_discriminator": "D_img", "vid_discriminator": "D_vid"}
EG3D_NAMES = {"G": "G", "G_ema": "G_ema", "D": "D_img"}
WRAPPER = "module."  # what DistributedDataParallel puts in front of names
PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
PARAMETERS = ("weight", "bias", "const", "noise_strength")  # all others are buffers
FILTER = "resample_filter"
TO_RAW = "to_img_raw."
MAX_MODULES = 10_000  # of a network; EG3D's have about 150
MAX_ENTRIES = 40_000  # tensors of a network
MAX_NAME = 100  # characters of a module's or a tensor's own name
MAX_DEPTH = 32  # of modules inside modules
BANK_YAW = 0.3  # radians to both sides that the cameras of a foreign checkpoint spread over
BANK_CLIPS, BANK_FRAMES = 15, 16

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class ForeignCheckpoint:
    """What is in a checkpoint of other software, for our networks."""

    origin: str  # "PV3D" or "EG3D"
    config: Config
    weights: dict[str, Weights]  # of those of G, G_ema, D_img, D_vid that it holds
    missing: tuple[str, ...]  # entries of G that it lacks, made up to leave the frames unchanged
    left_out: str = ""  # why a discriminator that it holds is not among the weights

    @property
    def static(self) -> bool:
        """Whether the generator knows no motion."""
        return self.origin == "EG3D"

    def snapshot(self, path: Path) -> StoredSnapshot:
        """The same as a snapshot. The cameras are made up: still, near the front."""
        yaws = torch.linspace(-BANK_YAW, BANK_YAW, BANK_CLIPS)
        bank = frontal_label(yaws).unsqueeze(1).repeat(1, BANK_FRAMES, 1)
        left_out = (
            f"The discriminator in {path} is left out, and training would begin with a fresh one ({self.left_out})."
        )
        return StoredSnapshot(
            path=path,
            config=self.config,
            weights=self.weights,
            camera_bank=bank,
            progress={"kimg": 0.0},
            static=self.static,
            notes=(left_out,) if self.left_out else (),
        )


def read_foreign(path: str | os.PathLike) -> ForeignCheckpoint | None:
    """Reads a checkpoint of the official PV3D or of EG3D; None for any other file, also a missing or damaged zip.

    Nothing in the file is run. All tensors become float32.

    Raises:
        UserError: the file is a damaged pickle, or such a checkpoint but damaged, or of networks other than ours.
    """
    path = Path(path)
    start = _start(path)
    if start not in (b"P", b"\x80"):
        return None
    try:
        content = reader.read(path)
    except UserError:
        if start == b"P":
            return None
        raise
    origin, networks = _networks(content)
    if not networks:
        return None
    try:
        return _convert(origin, networks, path)
    except Unfit as error:
        raise UserError(
            f"The {origin} checkpoint {path} does not fit: {error}; give a checkpoint of the published networks."
        ) from error
    except reader.FAULTS as error:
        raise reader.unreadable(path, error) from error


def origin(content: Any) -> str | None:
    """Whose the content of a pickle or torch file is, if it is other software's that we know."""
    if type(content) is not dict:
        return None
    if type(content.get("G_ema")) is Record:
        return "EG3D pickle"
    model = content.get("model")
    if type(model) is dict and any(type(value) is InertTensor for value in model.values()):
        return "PV3D checkpoint"
    return None


def _start(path: Path) -> bytes:
    """The first byte of a file; none if it cannot be read, or is a pipe, which might never have any."""
    try:
        if not path.is_file():
            return b""
        with open(path, "rb") as file:
            return file.read(1)
    except OSError:
        return b""


def _networks(content: Any) -> tuple[str, dict[str, Any]]:
    """Where a checkpoint comes from, and its networks by our names: flat weights (PV3D) or records (EG3D)."""
    if type(content) is not dict:
        return "", {}
    if type(model := content.get("model")) is dict:
        parts: dict[str, Any] = {}
        for key, value in model.items():
            prefix, _, name = key.removeprefix(WRAPPER).partition(".") if type(key) is str else ("", "", "")
            if prefix in PV3D_NAMES:
                parts.setdefault(PV3D_NAMES[prefix], {})[name.removeprefix(WRAPPER)] = value
        return "PV3D", parts
    if _state(content.get("G_ema")) is not None:
        return "EG3D", {ours: content[name] for name, ours in EG3D_NAMES.items() if content.get(name) is not None}
    return "", {}


def _convert(origin: str, networks: dict[str, Any], path: Path) -> ForeignCheckpoint:
    if "G_ema" not in networks:
        raise Unfit("it has no averaged generator")
    if origin == "PV3D":
        found = {name: _inside(_inert(part), path) for name, part in networks.items()}
        config = _config(found, RenderingConfig(), origin)
        return ForeignCheckpoint(origin, config, _fitted(found, config), ())
    found = {name: _inside(_collect(part), path) for name, part in networks.items() if name != "D_img"}
    rendering, options = eg3d_options(_state(networks["G_ema"]))
    config = _config(found, rendering, origin, not options.get("c_gen_conditioning_zero", False))
    fitted = _fitted(found, config, (MOTION, TO_RAW))
    added = _static_parts(config.generator)
    weights = {name: _folded(part, options) | added for name, part in fitted.items()}
    try:
        config, judge = _eg3d_discriminator(networks, config, path)
    except Unfit as error:  # sampling does without, and training starts with a fresh one
        return ForeignCheckpoint(origin, config, weights, tuple(added), str(error))
    return ForeignCheckpoint(origin, config, weights | judge, tuple(added))


def _config(
    found: dict[str, dict[str, InertTensor]], rendering: RenderingConfig, origin: str, conditioning: bool = True
) -> Config:
    shapes = {name: value.shape for name, value in found["G_ema"].items()}
    generator = replace(generator_config(shapes, rendering, origin), camera_conditioning=conditioning)
    return validated(Config(generator=generator, discriminator=discriminator_config(found)))


def _eg3d_discriminator(networks: dict[str, Any], config: Config, path: Path) -> tuple[Config, dict[str, Weights]]:
    """The configuration and the weights with those of EG3D's discriminator, if it has one."""
    if "D_img" not in networks:
        return config, {}
    found = {"D_img": _inside(_collect(networks["D_img"]), path)}
    config = validated(replace(config, discriminator=discriminator_config(found)))
    return config, _fitted(found, config)


def _fitted(
    found: dict[str, dict[str, InertTensor]], config: Config, lacks: tuple[str, ...] = ()
) -> dict[str, Weights]:
    own = network_shapes(config, found)
    return {name: _fit(_floats(part), own[name], name, lacks) for name, part in found.items()}


def _inside(part: dict[str, InertTensor], path: Path) -> dict[str, InertTensor]:
    """The same tensors, which may share storages, but not so as to be larger than the file."""
    if sum(value.nbytes for value in part.values()) > path.stat().st_size:
        raise Unfit("its tensors are larger than the file")
    return part


def _inert(part: dict[str, Any]) -> dict[str, InertTensor]:
    for name, value in part.items():
        if type(value) is not InertTensor:
            raise Unfit(f"its entry {shown(str(name))} is no tensor")
    return part


def _state(record: Any) -> dict[str, Any] | None:
    """Attributes of a module's record: of a persistent class, or of one of torch's own."""
    if type(record) is not Record:
        return None
    state = record.state
    if record.name == PERSISTENT and len(record.arguments) == 1:
        state = dictionary(record.arguments[0]).get("state")
    return state if type(state) is dict and type(state.get("_modules")) is dict else None


def _collect(record: Any) -> dict[str, InertTensor]:
    """All parameters and buffers under a module's record, by dotted name."""
    found: dict[str, InertTensor] = {}
    waiting, visited = [("", record, 0)], 0
    while waiting:
        prefix, module, depth = waiting.pop()
        state, visited = _state(module), visited + 1
        if state is None or depth > MAX_DEPTH:
            raise Unfit(f"the module {prefix.rstrip('.') or 'G'} has no state, or modules are nested without end")
        for kind in ("_parameters", "_buffers"):
            entries = _named(state.get(kind), MAX_ENTRIES - len(found))
            found |= _inert({f"{prefix}{name}": value for name, value in entries.items()})
        children = _named(state["_modules"], MAX_MODULES - visited - len(waiting))
        waiting += [(f"{prefix}{name}.", child, depth + 1) for name, child in children.items()]
    return found


def _named(value: Any, most: int) -> dict[str, Any]:
    """What a dictionary of a module's state has, but None. Unfit if that is more than a network can have."""
    entries = {name: entry for name, entry in dictionary(value).items() if entry is not None}
    if len(entries) > most:
        raise Unfit("it has too many entries, or modules are nested without end")
    if not all(type(name) is str and name.isprintable() and len(name) <= MAX_NAME for name in entries):
        raise Unfit("it has entries without a proper name")
    return entries


def _floats(part: dict[str, InertTensor]) -> Weights:
    """The tensors, read; counters among the buffers are left out."""
    weights = {}
    for name, inert in part.items():
        if inert.dtype.is_floating_point:
            weights[name] = inert.tensor().float()
            if not weights[name].isfinite().all():
                raise Unfit(f"{shown(name)} holds numbers that are not finite")
        elif _leaf(name) in PARAMETERS:
            raise Unfit(f"{shown(name)} holds no floating-point numbers")
    return weights


def _folded(weights: Weights, options: dict[str, Any]) -> Weights:
    """With the factors that EG3D has outside of the weights: of the camera, and the decoder's learning rate."""
    factors = {"backbone.mapping.embed.weight": options.get("c_scale", 1)}
    factors |= {name: options.get("decoder_lr_mul", 1) for name in weights if name.startswith("decoder.")}
    return weights | {name: weights[name] * float(factor) for name, factor in factors.items()}


def _static_parts(config: GeneratorConfig) -> Weights:
    """What EG3D's generator lacks: motion layers that add nothing, and a raw image of the first three features."""
    channels = config.plane_channels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        motion = with_fresh_motion({}, Generator(config))
    # The style is affine.bias / sqrt(channels) = 1: features pass as they are.
    return motion | {
        f"{TO_RAW}weight": torch.eye(3, channels)[:, :, None, None],
        f"{TO_RAW}bias": torch.zeros(3),
        f"{TO_RAW}affine.weight": torch.zeros(channels, config.w_dim),
        f"{TO_RAW}affine.bias": torch.full([channels], math.sqrt(channels)),
    }


def _fit(found: Weights, own: Shapes, network: str, lacks: tuple[str, ...]) -> Weights:
    """The entries of our network but those with a part of `lacks` in their names; Unfit if others differ.

    Buffers that we do not have are left out; resampling filters, which are constants, may be missing.
    """
    own = {name: shape for name, shape in own.items() if not any(part in name for part in lacks)}
    wrong = [name for name in found.keys() - own.keys() if _leaf(name) in PARAMETERS]
    wrong += [name for name in own if name not in found and _leaf(name) != FILTER]
    wrong += [name for name in own if name in found and tuple(found[name].shape) != own[name]]
    if wrong:
        raise Unfit(f"{len(wrong)} entries of {network} are not those of our networks, {shown(min(wrong))} among them")
    return {name: found[name] if name in found else setup_filter(RESAMPLE_TAPS) for name in own}


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]
