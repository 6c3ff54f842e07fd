"""The networks as a set, and the snapshots that hold them.

A snapshot (`network-snapshot-<kimg>.pkl`) holds plain values and tensors only: the configuration, the weights of G,
G_ema and both discriminators, a bank of camera sequences of the training set, and how far training was.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from dnnlib.errors import UserError
from torch_utils import checkpoint, distributed
from training.cameras import CAMERA_DIM
from training.checkpoints.foreign import read_foreign, with_fresh_motion
from training.checkpoints.shapes import Shapes, misfit, network_shapes, shapes_of
from training.config import Config, from_dict, to_dict, validate
from training.networks.discriminators import ImageDiscriminator, VideoDiscriminator
from training.networks.generator import Generator

NAMES = ("G", "G_ema", "D_img", "D_vid")
PARTS = ("config", "weights", "camera_bank", "progress")
MAX_CAMERA = 1e4  # greatest number of a camera label; ours are below 10
MAX_KIMG = 1e9  # greatest number of the progress


@dataclass
class Networks:
    """Everything that learns, and the averaged generator that is shown."""

    G: Generator
    G_ema: Generator
    D_img: ImageDiscriminator | None
    D_vid: VideoDiscriminator | None

    def items(self) -> list[tuple[str, torch.nn.Module]]:
        """(name, module) of those that exist."""
        return [(name, getattr(self, name)) for name in NAMES if getattr(self, name) is not None]

    def discriminators(self) -> list[torch.nn.Module]:
        """Those that exist."""
        return [D for D in (self.D_img, self.D_vid) if D is not None]


@dataclass
class Snapshot:
    """A generator for inference and what came with it."""

    G: Generator
    config: Config
    camera_bank: torch.Tensor  # [M, T, 25] real camera sequences
    progress: dict[str, Any]  # kimg, ...


def build_networks(config: Config, seed: int, device: torch.device) -> Networks:
    """Freshly initialised networks; the same for the same seed on every process and device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        G = Generator(config.generator)
        size, options = config.generator.img_resolution, config.discriminator
        D_img = ImageDiscriminator(size, options) if options.image else None
        D_vid = VideoDiscriminator(size, options) if options.video else None
    networks = Networks(G, copy.deepcopy(G).eval(), D_img, D_vid)
    for _, module in networks.items():
        module.to(device).requires_grad_(False)
    return networks


def set_precision(networks: Networks, dtype: torch.dtype | None) -> None:
    """Data type of the super-resolution and of the discriminators' highest resolutions (None: float32)."""
    for _, module in networks.items():
        module.precision = dtype


def save_snapshot(
    path: Path, config: Config, networks: Networks, camera_bank: torch.Tensor, progress: dict[str, Any]
) -> None:
    """Writes a snapshot atomically."""
    weights = {name: dict(module.state_dict()) for name, module in networks.items()}
    checkpoint.save(
        path,
        {"config": to_dict(config), "weights": weights, "camera_bank": camera_bank.cpu(), "progress": progress},
        "snapshot",
    )


def load_generator(path: Path | str, device: torch.device | str = "cpu") -> Snapshot:
    """The averaged generator of a snapshot, or of a PV3D or EG3D checkpoint, in evaluation mode.

    Nothing in the file is run, and networks are made only for a file that has weights for them.

    Raises:
        UserError: no such file, not a snapshot, of another version, or with weights that do not fit its configuration.
    """
    payload = _payload(path)
    config = config_of(payload, path)
    weights = _weights(payload, "G_ema", network_shapes(config, ["G_ema"])["G_ema"], path)
    G = Generator(config.generator).requires_grad_(False).eval()
    G.load_state_dict(weights)
    return Snapshot(G.to(device), config, payload["camera_bank"], payload["progress"])


def init_networks(networks: Networks, path: Path | str) -> int:
    """Copies the weights of a snapshot into networks of the same shape; returns the clips it had seen.

    A compact snapshot has no G: then G starts from G_ema. Discriminators that the snapshot lacks stay as they are.

    Raises:
        UserError: as for `load_generator`, or the networks are others; none of them has changed then.
    """
    payload = _payload(path)
    config_of(payload, path)
    found = payload["weights"]
    fitting: list[tuple[torch.nn.Module, dict[str, torch.Tensor]]] = []
    for name, module in networks.items():
        source = "G_ema" if name == "G" and "G" not in found else name
        if source not in found and not name.startswith("G"):
            continue
        if payload.get("static") and name.startswith("G"):
            found = found | {source: with_fresh_motion(found[source], module)}
        fitting.append((module, _weights({"weights": found}, source, shapes_of(module), path)))
    for module, weights in fitting:
        module.load_state_dict(weights)
    return round(payload["progress"]["kimg"] * 1000)


def compact_snapshot(source: Path | str, dest: Path | str) -> None:
    """Writes a snapshot a third the size: without G (G_ema stands in for it), everything in half precision."""
    payload = parts(checkpoint.load(source, "snapshot"), source)
    config = config_of(payload, source)
    names = [name for name in NAMES if name in payload["weights"] or name == "G_ema"]
    half: dict[str, dict[str, torch.Tensor]] = {}
    for name, shapes in network_shapes(config, names).items():
        weights = _weights(payload, name, shapes, source)
        if name != "G":
            half[name] = {key: value.half() for key, value in weights.items()}
            if misfit(half[name], shapes):
                raise UserError(
                    f"The weights of {name} in {source} are too large for half precision: share the snapshot as it is."
                )
    checkpoint.save(dest, payload | {"weights": half}, "snapshot")


def _payload(path: Path | str) -> dict[str, Any]:
    """What a snapshot holds, or a checkpoint of other software (`training.checkpoints.foreign`) as if it were one."""
    try:
        return parts(checkpoint.load(path, "snapshot"), path)
    except UserError:
        foreign = read_foreign(path)
        if foreign is None:
            raise
    if foreign.left_out and distributed.is_main():
        click.echo(
            f"The discriminator in {path} is left out, and training would begin with a fresh one ({foreign.left_out}).",
            err=True,
        )
    return foreign.payload()


def parts(payload: dict[str, Any], path: Path | str) -> dict[str, Any]:
    """The four parts of a snapshot, each of the right form; weights are looked at when they are used."""

    def damaged(what: str) -> UserError:
        return UserError(f"{path} is a damaged snapshot: {what}; copy it again, or give another one.")

    missing = [name for name in PARTS if name not in payload]
    if missing:
        raise damaged(f"it lacks {', '.join(missing)}")
    weights, bank, progress = (payload[name] for name in ("weights", "camera_bank", "progress"))
    if not isinstance(weights, dict) or not weights.keys() <= set(NAMES):
        raise damaged(f"its weights are not those of {', '.join(NAMES)}")
    if "G_ema" not in weights:
        raise damaged("it holds no weights of G_ema")
    if not isinstance(bank, torch.Tensor) or bank.ndim != 3 or bank.shape[1] < 1 or bank.shape[2] != CAMERA_DIM:
        raise damaged(f"its camera_bank has not the shape [clips, frames, {CAMERA_DIM}]")
    if bank.dtype != torch.float32 or not (bank.abs() <= MAX_CAMERA).all():
        raise damaged("its camera_bank holds numbers that no camera has")
    if not isinstance(progress, dict) or not all(
        type(value) in (int, float) and abs(value) <= MAX_KIMG for value in progress.values()
    ):
        raise damaged("its progress is not made of numbers")
    if progress.get("kimg", -1) < 0:
        raise damaged("its progress does not tell the kimg")
    return {name: payload[name] for name in PARTS}


def config_of(payload: dict[str, Any], path: Path | str) -> Config:
    """The valid configuration of a snapshot."""
    try:
        return validate(from_dict(payload["config"]))
    except UserError as error:
        raise UserError(f"The snapshot {path} does not fit this version: {error}") from error


def _weights(payload: dict[str, Any], name: str, shapes: Shapes, path: Path | str) -> dict[str, torch.Tensor]:
    """The weights of a network of these shapes."""
    weights = payload["weights"].get(name)
    if not isinstance(weights, dict):
        raise UserError(f"{path} holds no weights of {name}: give another snapshot.")
    wrong = misfit(weights, shapes)
    if wrong:
        raise UserError(
            f"The weights of {name} in {path} {wrong}; give another snapshot, or the options that it was made with."
        )
    return weights
