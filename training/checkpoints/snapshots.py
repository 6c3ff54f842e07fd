"""The networks as a set, and the snapshots that hold them.

A snapshot (`network-snapshot-<kimg>.pkl`) holds plain values and tensors only: the configuration, the weights of G,
G_ema and both discriminators, a bank of camera sequences of the training set, and how far training was.
"""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dnnlib.errors import UserError
from dnnlib.options import from_dict, to_dict
from torch_utils import checkpoint
from training.cameras import CAMERA_DIM
from training.checkpoints.shapes import Shapes, misfit, network_shapes, shapes_of
from training.config import Config, validate
from training.networks.discriminators import ImageDiscriminator, VideoDiscriminator
from training.networks.generator import Generator

NAMES = ("G", "G_ema", "D_img", "D_vid")
PARTS = ("config", "weights", "camera_bank", "progress")
MOTION = ".motion_time_fuser."  # in the names of motion layers' weights
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
    notes: tuple[str, ...] = ()  # sentences for the user


@dataclass(frozen=True, kw_only=True)
class StoredSnapshot:
    """What a snapshot's file holds. Weights are checked when they are used; everything else is sound."""

    path: Path
    config: Config
    weights: dict[str, Any]  # by network
    camera_bank: torch.Tensor  # [M, T, 25] real camera sequences
    progress: dict[str, Any]  # kimg, ...
    static: bool = False  # the generator knows no motion: its motion layers are made up
    notes: tuple[str, ...] = ()  # sentences for the user

    @classmethod
    def of(cls, payload: dict[str, Any], path: Path | str) -> "StoredSnapshot":
        """The snapshot of a checkpoint's payload. UserError if it is damaged or of another version."""
        payload = parts(payload, path)
        return cls(**payload | {"path": Path(path), "config": config_of(payload, path)})

    def weights_of(self, name: str, shapes: Shapes) -> dict[str, torch.Tensor]:
        """The weights of a network, which must have these shapes, else UserError."""
        return _weights(self.weights, name, shapes, self.path)


def build_networks(config: Config, seed: int, device: torch.device, dtype: torch.dtype | None = None) -> Networks:
    """Freshly initialised networks; the same for the same seed on every process and device.

    Args:
        dtype: of the super-resolution and of the discriminators' highest resolutions; None: float32.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        G = Generator(config.generator)
        size, options = config.generator.img_resolution, config.discriminator
        D_img = ImageDiscriminator(size, options) if options.image else None
        D_vid = VideoDiscriminator(size, options) if options.video else None
    networks = Networks(G, copy.deepcopy(G).eval(), D_img, D_vid)
    for _, module in networks.items():
        module.precision = dtype
        module.to(device).requires_grad_(False)
    return networks


def set_sampling_precision(G: Generator, dtype: torch.dtype | None) -> None:
    """Data type of the super-resolution and, where it is bfloat16, of the backbone's convolutions; None: float32."""
    G.precision = dtype
    G.half_backbone = dtype == torch.bfloat16


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


def init_networks(networks: Networks, snapshot: StoredSnapshot) -> int:
    """Copies the weights of a snapshot into networks of the same shape; returns the clips it had seen.

    A compact snapshot has no G: then G starts from G_ema. Discriminators that the snapshot lacks stay as they are.

    Raises:
        UserError: the snapshot's networks are others; none of these has changed then.
    """
    fitting: list[tuple[torch.nn.Module, dict[str, torch.Tensor]]] = []
    for name, module in networks.items():
        source = "G_ema" if name == "G" and "G" not in snapshot.weights else name
        if source not in snapshot.weights and not name.startswith("G"):
            continue
        found = snapshot
        if snapshot.static and name.startswith("G"):
            found = replace(snapshot, weights={source: with_fresh_motion(snapshot.weights[source], module)})
        fitting.append((module, found.weights_of(source, shapes_of(module))))
    for module, weights in fitting:
        module.load_state_dict(weights)
    return round(snapshot.progress["kimg"] * 1000)


def with_fresh_motion(weights: dict[str, torch.Tensor], module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights of a static generator for one to be trained: its own motion layers in place of those made up.

    Learned weights of motion layers, if it has them, become 0: then training begins with the static frames.
    """
    own = {
        name: torch.zeros_like(value) if name.endswith(f"{MOTION}weight") else value
        for name, value in module.state_dict().items()
        if MOTION in name
    }
    return {name: value for name, value in weights.items() if MOTION not in name} | own


def compact_snapshot(source: Path | str, dest: Path | str) -> None:
    """Writes a snapshot a third the size: without G (G_ema stands in for it), everything in half precision."""
    payload = parts(checkpoint.load(source, "snapshot"), source)
    config = config_of(payload, source)
    names = [name for name in NAMES if name in payload["weights"] or name == "G_ema"]
    half: dict[str, dict[str, torch.Tensor]] = {}
    for name, shapes in network_shapes(config, names).items():
        weights = _weights(payload["weights"], name, shapes, source)
        if name != "G":
            half[name] = {key: value.half() for key, value in weights.items()}
            if misfit(half[name], shapes):
                raise UserError(
                    f"The weights of {name} in {source} are too large for half precision: share the snapshot as it is."
                )
    checkpoint.save(dest, payload | {"weights": half}, "snapshot")


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
        return validate(from_dict(Config, payload["config"]))
    except UserError as error:
        raise UserError(f"The snapshot {path} does not fit this version: {error}") from error


def _weights(found: dict[str, Any], name: str, shapes: Shapes, path: Path | str) -> dict[str, torch.Tensor]:
    """The weights of a network of these shapes."""
    weights = found.get(name)
    if not isinstance(weights, dict):
        raise UserError(f"{path} holds no weights of {name}: give another snapshot.")
    wrong = misfit(weights, shapes)
    if wrong:
        raise UserError(
            f"The weights of {name} in {path} {wrong}; give another snapshot, or the options that it was made with."
        )
    return weights
