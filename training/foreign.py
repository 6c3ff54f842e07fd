"""Checkpoints of the official PV3D and of EG3D, read as inert records, as the payload of a snapshot.

PV3D: a torch file {model: weights of generator.*, generator_ema.*, img_discriminator.*, vid_discriminator.*}.
EG3D: a pickle {G, D, G_ema} of persistent-class records, of which the state is read and the source text is not.

Our networks have the names of both. The configuration comes from the weights' shapes and, for what shapes do not tell,
from an EG3D record's keyword arguments. EG3D has no motion: its generator gets motion layers with the learned weight 0,
which leave every frame as EG3D renders it, and its raw image, the first three features, becomes a fixed to-RGB layer.
"""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch._subclasses import FakeTensorMode

from dnnlib.errors import UserError
from torch_utils import inert_pickle
from torch_utils.inert_machine import InertTensor, Record
from torch_utils.ops.upfirdn2d import setup_filter
from training.cameras import CAMERA_DIM, frontal_label
from training.config import Config, DiscriminatorConfig, GeneratorConfig, RenderingConfig, to_dict, validate
from training.networks.discriminators import ImageDiscriminator, VideoDiscriminator
from training.networks.generator import Generator
from training.networks.layers import RESAMPLE_TAPS

PV3D_NAMES = {"generator": "G", "generator_ema": "G_ema", "img_discriminator": "D_img", "vid_discriminator": "D_vid"}
EG3D_NAMES = {"G": "G", "G_ema": "G_ema", "D": "D_img"}
PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
PARAMETERS = ("weight", "bias", "const", "noise_strength")      # all others are buffers
FILTER = "resample_filter"
MOTION = ".motion_time_fuser."
TO_RAW = "to_img_raw."
MAX_MODULES = 10_000                     # of a network; EG3D's have about 150
MAX_DEPTH = 32                           # of modules inside modules
MAX_LAYERS = 64                          # of a mapping network
MAX_COUNT = 4096                         # of samples along a ray
BANK_YAW = 0.3                           # radians to both sides that the cameras of a foreign checkpoint spread over
BANK_CLIPS, BANK_FRAMES = 15, 16
# EG3D's names of our rendering options.
RENDERING = {"ray_start": "near", "ray_end": "far", "depth_resolution": "depth_samples", "box_warp": "box_side",
             "depth_resolution_importance": "importance_samples", "disparity_space_sampling": "disparity",
             "white_back": "white_background"}
# What our networks do, and an EG3D checkpoint must not ask otherwise.
FIXED = {"clamp_mode": "softplus", "superresolution_noise_mode": "none", "sr_antialias": True}

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class ForeignCheckpoint:
    """What is in a checkpoint of other software, for our networks."""
    origin: str                          # "PV3D" or "EG3D"
    config: Config
    weights: dict[str, Weights]          # of those of G, G_ema, D_img, D_vid that it holds
    missing: tuple[str, ...]             # entries of G that it lacks, made up to leave the frames unchanged

    @property
    def static(self) -> bool:
        """Whether the generator knows no motion."""
        return self.origin == "EG3D"

    def payload(self) -> dict[str, Any]:
        """As `checkpoint.load` gives a snapshot's, and `static`. The cameras are made up: still, near the front."""
        yaws = torch.linspace(-BANK_YAW, BANK_YAW, BANK_CLIPS)
        bank = frontal_label(yaws).unsqueeze(1).repeat(1, BANK_FRAMES, 1)
        return {"config": to_dict(self.config), "weights": self.weights, "camera_bank": bank,
                "progress": {"kimg": 0.0}, "static": self.static}


class _Unfit(Exception):
    """Why a checkpoint does not fit our networks."""


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
        content = inert_pickle.read(path)
    except UserError:
        if start == b"P":
            return None
        raise
    origin, networks = _networks(content)
    if not networks:
        return None
    try:
        return _convert(origin, networks, path)
    except _Unfit as error:
        raise UserError(f"The {origin} checkpoint {path} does not fit: {error}; give a checkpoint of the published "
                        "networks.") from error
    except inert_pickle.FAULTS as error:
        raise inert_pickle.unreadable(path, error) from error


def with_fresh_motion(weights: Weights, module: torch.nn.Module) -> Weights:
    """Weights of a static generator for one to be trained: its own motion layers in place of those made up.

    Learned weights of motion layers, if it has them, become 0: then training begins with the static frames.
    """
    own = {name: torch.zeros_like(value) if name.endswith(f"{MOTION}weight") else value
           for name, value in module.state_dict().items() if MOTION in name}
    return {name: value for name, value in weights.items() if MOTION not in name} | own


def _start(path: Path) -> bytes:
    """The first byte of a file; none if it cannot be read."""
    try:
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
            prefix, _, name = key.partition(".") if type(key) is str else ("", "", "")
            if prefix in PV3D_NAMES:
                parts.setdefault(PV3D_NAMES[prefix], {})[name] = value
        return "PV3D", parts
    if _state(content.get("G_ema")) is not None:
        return "EG3D", {ours: content[name] for name, ours in EG3D_NAMES.items() if content.get(name) is not None}
    return "", {}


def _convert(origin: str, networks: dict[str, Any], path: Path) -> ForeignCheckpoint:
    found = {name: _inert(part) if origin == "PV3D" else _collect(part) for name, part in networks.items()}
    for part in found.values():
        if sum(math.prod(value.shape) * value.dtype.itemsize for value in part.values()) > path.stat().st_size:
            raise _Unfit("its tensors are larger than the file")
    if "G_ema" not in found:
        raise _Unfit("it has no averaged generator")
    shapes = {name: value.shape for name, value in found["G_ema"].items()}
    rendering, options = (RenderingConfig(), {}) if origin == "PV3D" else _eg3d_options(networks["G_ema"])
    generator = _generator_config(shapes, rendering, origin)
    generator = replace(generator, camera_conditioning=not options.get("c_gen_conditioning_zero", False))
    config = _validated(Config(generator, _discriminator_config(found)))
    lacks = (MOTION, TO_RAW) if origin == "EG3D" else ()
    own = _shapes(config, found)
    weights = {name: _fit(_floats(part), own[name], name, lacks) for name, part in found.items()}
    added = _static_parts(config.generator) if origin == "EG3D" else {}
    for name in weights.keys() & {"G", "G_ema"}:
        weights[name] = _folded(weights[name], options) | added
    return ForeignCheckpoint(origin, config, weights, tuple(added))


def _inert(part: dict[str, Any]) -> dict[str, InertTensor]:
    for name, value in part.items():
        if type(value) is not InertTensor:
            raise _Unfit(f"its entry {name} is no tensor")
    return part


def _state(record: Any) -> dict[str, Any] | None:
    """Attributes of a module's record: of a persistent class, or of one of torch's own."""
    if type(record) is not Record:
        return None
    state = record.state
    if record.name == PERSISTENT and len(record.arguments) == 1:
        state = _dictionary(record.arguments[0]).get("state")
    return state if type(state) is dict and type(state.get("_modules")) is dict else None


def _dictionary(value: Any) -> dict[Any, Any]:
    """A dictionary, also of a class of its own (EasyDict); {} for anything else."""
    value = value.entries if type(value) is Record else value
    return value if type(value) is dict else {}


def _collect(record: Record) -> dict[str, InertTensor]:
    """All parameters and buffers under a module's record, by dotted name."""
    found: dict[str, InertTensor] = {}
    waiting, visited = [("", record, 0)], 0
    while waiting:
        prefix, module, depth = waiting.pop()
        state, visited = _state(module), visited + 1
        if state is None or depth > MAX_DEPTH or visited > MAX_MODULES:
            raise _Unfit(f"the module {prefix.rstrip('.') or 'G'} has no state, or modules are nested without end")
        for kind in ("_parameters", "_buffers"):
            entries = _dictionary(state.get(kind))
            found |= _inert({f"{prefix}{name}": value for name, value in entries.items() if value is not None})
        waiting += [(f"{prefix}{name}.", child, depth + 1) for name, child in state["_modules"].items()
                    if child is not None]
    return found


def _eg3d_options(record: Record) -> tuple[RenderingConfig, dict[str, Any]]:
    """Rendering, and all of a generator's rendering options as EG3D names them."""
    state = _state(record)
    arguments = _dictionary(state.get("_init_kwargs"))
    options = _dictionary(state.get("rendering_kwargs") or arguments.get("rendering_kwargs"))
    options = {name: value for name, value in options.items() if type(value) in (bool, int, float, str)}
    for name, value in FIXED.items():
        if options.get(name, value) != value:
            raise _Unfit(f"its {name} is {options[name]!r}, where only {value!r} is known here")
    chosen = {ours: options[name] for name, ours in RENDERING.items() if name in options}
    if type(side := state.get("neural_rendering_resolution")) is int:
        chosen["resolution"] = side
    if not all(math.isfinite(options.get(name, 1)) for name in ("c_scale", "decoder_lr_mul")):
        raise _Unfit("its factors of cameras or of the decoder are not finite")
    default = RenderingConfig()
    for name, value in chosen.items():
        kind = type(getattr(default, name))
        if (type(value) is not kind and not (kind is float and type(value) is int)) or value > MAX_COUNT:
            raise _Unfit(f"its rendering option {name} is {value!r}")
        chosen[name] = kind(value)
    return replace(default, **chosen), options


def _generator_config(shapes: dict[str, tuple], rendering: RenderingConfig, origin: str) -> GeneratorConfig:
    """The configuration whose networks have these shapes, as far as shapes tell; `_fit` sees whether they all do."""
    def size(name: str, axis: int = 0) -> int:
        if len(shapes.get(name, ())) <= axis:
            raise _Unfit(f"it lacks {name}")
        return shapes[name][axis]

    sides = [side for side in (2 ** i for i in range(2, 11)) if f"backbone.synthesis.b{side}.conv1.weight" in shapes]
    channels = {side: size(f"backbone.synthesis.b{side}.conv1.weight") for side in sides}
    fused = [side for side in sides if any(f"b{side}{MOTION}" in name for name in shapes)]
    if not sides or (origin == "PV3D" and (not fused or fused != sides[:len(fused)])):
        raise _Unfit("it has no backbone with motion layers from 4 x 4 up")
    w_dim = size("backbone.mapping.embed.weight")
    if size("backbone.mapping.embed.weight", 1) != CAMERA_DIM:
        raise _Unfit(f"its cameras have {size('backbone.mapping.embed.weight', 1)} numbers, not {CAMERA_DIM}")
    upscaled = "superresolution.block1.conv1.weight" in shapes
    if origin == "EG3D" and not upscaled:
        raise _Unfit("it has no super-resolution")
    first = f"backbone.synthesis.b4{MOTION}"
    return GeneratorConfig(
        z_dim=size("backbone.mapping.fc0.weight", 1) - w_dim, w_dim=w_dim, mapping_layers=_layers(shapes, "backbone."),
        z_motion_dim=size(f"{first}affine.weight", 1) if fused else GeneratorConfig.z_motion_dim,
        plane_resolution=sides[-1], plane_channels=size("backbone.synthesis.b4.torgb.weight") // 3,
        channel_base=max(side * count for side, count in channels.items()), channel_max=max(channels.values()),
        img_resolution=size("superresolution.block1.conv1.noise_const") if upscaled else rendering.resolution,
        sr_channels=tuple(size(f"superresolution.block{i}.conv1.weight") for i in (0, 1)) if upscaled else None,
        motion_blocks=len(fused) or min(GeneratorConfig.motion_blocks, len(sides)),
        motion_generator="modconv" if not fused or f"{first}conv.weight" in shapes else "mlp",
        motion_weight=not fused or f"{first}weight" in shapes,
        rendering=replace(rendering, decoder_hidden=size("decoder.net.0.weight")))


def _layers(shapes: Any, prefix: str = "") -> int:
    count = 0
    while count < MAX_LAYERS and f"{prefix}mapping.fc{count}.weight" in shapes:
        count += 1
    return count


def _discriminator_config(found: dict[str, dict[str, InertTensor]]) -> DiscriminatorConfig:
    """Of the discriminators that there are; those that are not will be fresh."""
    D = found.get("D_img") or found.get("D_vid") or {}
    widths = {side: D[f"b{side}.conv0.weight"].shape[0] for side in (2 ** i for i in range(3, 11))
              if f"b{side}.conv0.weight" in D}
    if not widths:
        return DiscriminatorConfig()
    video = found.get("D_vid", {})
    fromrgb = next((value.shape for name, value in video.items() if name.endswith("fromrgb.weight")), (0, 7))
    return DiscriminatorConfig(
        channel_base=max(side * width for side, width in widths.items()), channel_max=max(widths.values()),
        mapping_layers=_layers(D) or DiscriminatorConfig.mapping_layers, video_dt=fromrgb[1] == 7,
        video_cameras=not video or "mapping.embed.weight" in video)


def _validated(config: Config) -> Config:
    try:
        return validate(config)
    except UserError as error:
        raise _Unfit(str(error).rstrip(".")) from error


def _floats(part: dict[str, InertTensor]) -> Weights:
    """The tensors, read; counters among the buffers are left out."""
    weights = {}
    for name, inert in part.items():
        if inert.dtype.is_floating_point:
            weights[name] = inert.tensor().float()
            if not weights[name].isfinite().all():
                raise _Unfit(f"{name} holds numbers that are not finite")
        elif _leaf(name) in PARAMETERS:
            raise _Unfit(f"{name} holds no floating-point numbers")
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
    return motion | {f"{TO_RAW}weight": torch.eye(3, channels)[:, :, None, None], f"{TO_RAW}bias": torch.zeros(3),
                     f"{TO_RAW}affine.weight": torch.zeros(channels, config.w_dim),
                     f"{TO_RAW}affine.bias": torch.full([channels], math.sqrt(channels))}


def _shapes(config: Config, names: Iterable[str]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Shapes of the networks' entries, found without their memory: who knows what the file makes us build."""
    side = config.generator.img_resolution
    with FakeTensorMode():
        modules = {"G_ema": Generator(config.generator)}
        modules["G"] = modules["G_ema"]
        for name, kind in (("D_img", ImageDiscriminator), ("D_vid", VideoDiscriminator)):
            if name in names:
                modules[name] = kind(side, config.discriminator)
        return {key: {name: tuple(value.shape) for name, value in module.state_dict().items()}
                for key, module in modules.items()}


def _fit(found: Weights, own: dict[str, tuple[int, ...]], network: str, lacks: tuple[str, ...]) -> Weights:
    """The entries of our network but those with a part of `lacks` in their names; _Unfit if others differ.

    Buffers that we do not have are left out; resampling filters, which are constants, may be missing.
    """
    own = {name: shape for name, shape in own.items() if not any(part in name for part in lacks)}
    wrong = [name for name in found.keys() - own.keys() if _leaf(name) in PARAMETERS]
    wrong += [name for name in own if name not in found and _leaf(name) != FILTER]
    wrong += [name for name in own if name in found and tuple(found[name].shape) != own[name]]
    if wrong:
        raise _Unfit(f"{len(wrong)} entries of {network} are not those of our networks, {min(wrong)} among them")
    return {name: found[name] if name in found else setup_filter(RESAMPLE_TAPS) for name in own}


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]
