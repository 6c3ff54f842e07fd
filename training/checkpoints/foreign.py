"""Checkpoints of the official PV3D and of EG3D, read as inert records, as snapshots.

PV3D: a torch file {model: weights of generator.*, generator_ema.*, img_discriminator.*, vid_discriminator.*,
num_samples, num_updates}.
EG3D: a pickle {G, D, G_ema} of persistent-class records, of which the state is read and the source text is not.

Our networks have the names of both. The configuration comes from the weights' shapes and, for what shapes do not say,
from an EG3D record's keyword arguments. An EG3D pickle becomes a snapshot of the method `eg3d`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dnnlib.errors import UserError
from dnnlib.files import shown
from dnnlib.options import override
from torch_utils.ops.upfirdn2d import setup_filter
from torch_utils.pickles.machine import InertTensor, Malformed, Record
from torch_utils.pickles.reader import is_finite, read_tensors
from torch_utils.pickles.report import as_text, uncalled
from training.cameras import frontal_label
from training.checkpoints.foreign_config import (
    Unfit,
    dictionary,
    discriminator_config,
    eg3d_options,
    eg3d_rendering,
    generator_config,
    validated,
)
from training.checkpoints.fresh_motion import Weights
from training.checkpoints.shapes import Shapes, network_shapes, shapes_of
from training.checkpoints.snapshots import StoredSnapshot
from training.config import MAX_KIMG, Config, RenderingConfig
from training.methods import METHODS
from training.networks.layers import RESAMPLE_TAPS

PV3D = "PV3D"
EG3D = "EG3D"
PV3D_NAMES = {"generator": "G", "generator_ema": "G_ema", "img_discriminator": "D_img", "vid_discriminator": "D_vid"}
PV3D_COUNTERS = ("num_samples", "num_updates")
EG3D_GENERATORS = ("G", "G_ema")
WRAPPER = "module."  # what DistributedDataParallel puts in front of names
PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"  # EG3D's classes, which bring their source text
PARAMETERS = ("weight", "bias", "const", "noise_strength")  # all others are buffers
FILTER = "resample_filter"
MAX_MODULES = 10_000  # of a network; EG3D's have about 150
MAX_ENTRIES = 40_000  # tensors of a network
MAX_NAME = 100  # characters of a module's or a tensor's own name
MAX_DEPTH = 32  # of modules inside modules
BANK_YAW = 0.3  # radians to both sides that the cameras of a foreign checkpoint spread over
BANK_CLIPS = 15
BANK_FRAMES = 16


def origin_of(content: Any) -> str:
    """Return whose checkpoint this is the content of, PV3D or EG3D. Raises Malformed if it is of neither."""
    if type(content) is dict:
        if type(content.get("G_ema")) is Record:
            return EG3D
        model = content.get("model")
        if type(model) is dict and any(type(value) is InertTensor for value in model.values()):
            return PV3D
    raise Malformed("it lacks the header of one, and is of neither PV3D nor EG3D")


def as_snapshot(content: dict[str, Any], origin: str, path: Path) -> StoredSnapshot:
    """Return a foreign checkpoint as a snapshot with float32 weights. The cameras are made up: still, near the front.

    Args:
        content: of the file, as `reader.read` returned it.
        origin: as of `origin_of`.

    Raises:
        UserError: its networks are other than ours. One of `dnnlib.files.FAULTS`: the file is damaged.
    """
    try:
        if origin == PV3D:
            return _pv3d_snapshot(content, path)
        return _eg3d_snapshot(content, path)
    except Unfit as error:
        raise UserError(
            f"The {origin} checkpoint {path} does not fit: {error}; give a checkpoint of the published networks."
        ) from error


def _snapshot(
    path: Path,
    config: Config,
    weights: dict[str, Weights],
    clips: float = 0,
    counter: str | None = None,
    **details: Any,
) -> StoredSnapshot:
    yaws = torch.linspace(-BANK_YAW, BANK_YAW, BANK_CLIPS)
    return StoredSnapshot(
        path=path,
        config=config,
        weights=weights,
        camera_bank=frontal_label(yaws).unsqueeze(1).repeat(1, BANK_FRAMES, 1),
        progress={"kimg": clips / 1000},
        counter=counter,
        **details,
    )


# --- PV3D -------------------------------------------------------------------------------------------------------------


def _pv3d_snapshot(content: dict[str, Any], path: Path) -> StoredSnapshot:
    networks: dict[str, dict[str, Any]] = {}
    for key, value in content["model"].items():
        if type(key) is not str:
            continue
        prefix, _, name = key.removeprefix(WRAPPER).partition(".")
        if prefix in PV3D_NAMES:
            networks.setdefault(PV3D_NAMES[prefix], {})[name.removeprefix(WRAPPER)] = value
    if "G_ema" not in networks:
        raise Unfit("it has no averaged generator")
    found = {name: _read(entries, path) for name, entries in networks.items()}
    shapes = {name: shapes_of(part) for name, part in found.items()}
    generator = generator_config(shapes["G_ema"], RenderingConfig(), static=False)
    config = validated(Config(generator=generator, discriminator=discriminator_config(shapes)))
    own = network_shapes(config, found)
    weights = {name: _fitting(part, own[name], name) for name, part in found.items()}
    clips, counter = pv3d_counter(content)
    return _snapshot(path, config, weights, clips, counter)


def pv3d_counter(content: dict[str, Any]) -> tuple[float, str | None]:
    """Return the clips that a PV3D checkpoint has seen, and where it says so: (0, None) if it does not.

    `num_samples` counts what the schedules of PV3D count: clips, of which each of `num_updates` takes a batch.
    """
    clips, updates = (content.get(name) for name in PV3D_COUNTERS)
    if not isinstance(clips, (int, float)) or not 0 <= clips <= MAX_KIMG * 1000:
        return 0, None
    counter = "num_samples of the checkpoint"
    if isinstance(updates, int) and 0 < updates <= clips:
        counter += f", {clips / updates:.6g} in each of its {updates} updates"
    return clips, counter


# --- EG3D -------------------------------------------------------------------------------------------------------------


def _eg3d_snapshot(content: dict[str, Any], path: Path) -> StoredSnapshot:
    found = {}
    for name in EG3D_GENERATORS:
        if content.get(name) is not None:
            found[name] = _read(_collect(content[name]), path)
    state = _module_state(content["G_ema"]) or {}
    options = eg3d_options(state)
    rendering = eg3d_rendering(options, state.get("neural_rendering_resolution"))
    generator = generator_config(shapes_of(found["G_ema"]), rendering, static=True)
    generator = replace(generator, camera_conditioning=not options.get("c_gen_conditioning_zero", False))
    method = override(Config(), METHODS["eg3d"].over())
    config = validated(replace(method, generator=generator))
    own = network_shapes(config, found)
    weights = {name: _folded(_fitting(part, own[name], name), options) for name, part in found.items()}
    notes: tuple[str, ...] = ()
    if content.get("D") is not None:
        try:
            config, weights["D_img"] = _eg3d_discriminator(content["D"], config, path)
        except Unfit as error:  # sampling does without, and training starts with a fresh one
            notes = (f"The discriminator in {path} is left out, and training would begin with a fresh one ({error}).",)
    return _snapshot(path, config, weights, max_time=0.0, notes=notes)


def _eg3d_discriminator(record: Any, config: Config, path: Path) -> tuple[Config, Weights]:
    """Return the configuration with EG3D's discriminator in it, and the weights of that."""
    found = _read(_collect(record), path)
    options = replace(discriminator_config({"D_img": shapes_of(found)}), video=False)
    config = validated(replace(config, discriminator=options))
    own = network_shapes(config, ["D_img"])
    return config, _fitting(found, own["D_img"], "D_img")


def describe_record(record: Record) -> tuple[str, Any]:
    """Return heading and state of a record for a report: of a persistent class, its name and what it brings."""
    description = _description(record)
    source = description.get("module_src")
    if type(source) is not str:
        return uncalled(record)
    name = as_text(description.get("class_name"))
    return f"class {name}, source text of {len(source):,} characters", _state_of(record)


def _description(record: Record) -> dict[Any, Any]:
    """Return how EG3D describes an object of a persistent class; {} for any other record."""
    if record.name != PERSISTENT or len(record.arguments) != 1:
        return {}
    return dictionary(record.arguments[0])


def _state_of(record: Record) -> Any:
    return _description(record).get("state", record.state)


def _module_state(record: Any) -> dict[str, Any] | None:
    """Return the attributes in a module's record, of a persistent class or of one of torch's; None if it is none."""
    if type(record) is not Record:
        return None
    state = _state_of(record)
    if type(state) is not dict or type(state.get("_modules")) is not dict:
        return None
    return state


def _collect(record: Any) -> dict[str, Any]:
    """Return all parameters and buffers under a module's record, by dotted name."""
    found: dict[str, Any] = {}
    waiting = [("", record, 0)]
    visited = 0
    while waiting:
        prefix, module, depth = waiting.pop()
        visited += 1
        state = _module_state(module)
        if state is None or depth > MAX_DEPTH:
            raise Unfit(f"the module {prefix.rstrip('.') or 'G'} has no state, or modules are nested without end")
        for kind in ("_parameters", "_buffers"):
            entries = _named(state.get(kind), MAX_ENTRIES - len(found))
            found |= {f"{prefix}{name}": value for name, value in entries.items()}
        children = _named(state["_modules"], MAX_MODULES - visited - len(waiting))
        waiting += [(f"{prefix}{name}.", child, depth + 1) for name, child in children.items()]
    return found


def _named(value: Any, limit: int) -> dict[str, Any]:
    """Return the entries of a dictionary in a module's state, but None. Unfit if they are more than a network has."""
    entries = {name: entry for name, entry in dictionary(value).items() if entry is not None}
    if len(entries) > limit:
        raise Unfit("it has too many entries, or modules are nested without end")
    for name in entries:
        if type(name) is not str or len(name) > MAX_NAME or not name.isprintable():
            raise Unfit("it has entries without a proper name")
    return entries


def _folded(weights: Weights, options: dict[str, Any]) -> Weights:
    """Multiply weights by the factors that EG3D has outside of them: of the camera, and the decoder's learning rate."""
    folded = dict(weights)
    for name, value in weights.items():
        if name == "backbone.mapping.embed.weight":
            folded[name] = value * float(options.get("c_scale", 1))
        elif name.startswith("decoder."):
            folded[name] = value * float(options.get("decoder_lr_mul", 1))
    return folded


# --- Weights of both --------------------------------------------------------------------------------------------------


def _read(entries: dict[str, Any], path: Path) -> Weights:
    """Read a network's tensors in float32; counters among the buffers are left out."""
    for name, value in entries.items():
        if type(value) is not InertTensor:
            raise Unfit(f"its entry {shown(name)} is no tensor")
    weights = {}
    for name, tensor in read_tensors(entries, path.stat().st_size).items():
        if tensor.is_floating_point():
            weights[name] = tensor.float()
            if not is_finite(weights[name]):
                raise Unfit(f"{shown(name)} holds numbers that are not finite")
        elif _own_name(name) in PARAMETERS:
            raise Unfit(f"{shown(name)} holds no floating-point numbers")
    return weights


def _fitting(found: Weights, own: Shapes, network: str) -> Weights:
    """Return the entries of our network; Unfit if some differ.

    Buffers that we do not have are left out; resampling filters, which are constants, may be missing.
    """
    wrong = [name for name in found.keys() - own.keys() if _own_name(name) in PARAMETERS]
    weights = {}
    for name, shape in own.items():
        if name in found and tuple(found[name].shape) == shape:
            weights[name] = found[name]
        elif name not in found and _own_name(name) == FILTER:
            weights[name] = setup_filter(RESAMPLE_TAPS)
        else:
            wrong.append(name)
    if wrong:
        raise Unfit(f"{len(wrong)} entries of {network} are not those of our networks, {shown(min(wrong))} among them")
    return weights


def _own_name(name: str) -> str:
    """Return a tensor's name in its module."""
    return name.rpartition(".")[2]
