"""The networks as a set, their optimisers, and the snapshots that hold them.

A snapshot (`network-snapshot-<kimg>.pkl`) holds plain values and tensors only: the configuration, the weights of G,
G_ema and both discriminators, a bank of camera sequences of the training set, how far training was, and the greatest
time that it showed (`max_time`; older ones lack it).
"""

import copy
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dnnlib.errors import UserError
from dnnlib.options import from_dict, to_dict
from torch_utils import checkpoint
from training.cameras import CAMERA_DIM
from training.checkpoints.fresh_motion import Weights, with_fresh_motion, with_fresh_styles
from training.checkpoints.shapes import Shapes, misfit, network_shapes, shapes_of
from training.config import MAX_KIMG, Config, validate
from training.networks.discriminators import ImageDiscriminator, VideoDiscriminator
from training.networks.generator import Generator
from training.networks.judges import image_discriminator, video_discriminator
from training.networks.patch_discriminators import ClipPatches, PairPatches, PatchDiscriminator

NAMES = ("G", "G_ema", "D_img", "D_vid")
PARTS = ("config", "weights", "camera_bank", "progress")
MAX_CAMERA = 1e4  # greatest number of a camera label; ours are below 10


# --- Networks ---------------------------------------------------------------------------------------------------------


@dataclass
class Networks:
    """Everything that learns, and the averaged generator that is shown."""

    G: Generator
    G_ema: Generator
    D_img: ImageDiscriminator | PairPatches | None
    D_vid: VideoDiscriminator | ClipPatches | None

    def items(self) -> list[tuple[str, Any]]:
        """Return (name, module) of the networks that there are."""
        return [(name, getattr(self, name)) for name in NAMES if getattr(self, name) is not None]

    def discriminators(self) -> list[torch.nn.Module]:
        """Return the discriminators that there are."""
        return [D for D in (self.D_img, self.D_vid) if D is not None]

    def trained(self, names: Collection[str]) -> list[torch.nn.Module]:
        """Return what training changes of some networks: all of each, but of a generator that is moved."""
        return [getattr(module, "trained", module) for name, module in self.items() if name in names]

    def parameters(self, names: Collection[str]) -> list[torch.nn.Parameter]:
        """Return all parameters of some networks that training changes."""
        return [parameter for module in self.trained(names) for parameter in module.parameters()]


def build_networks(config: Config, seed: int, device: torch.device, dtype: torch.dtype | None = None) -> Networks:
    """Build freshly initialised networks; the same for the same seed on every process and device.

    Args:
        dtype: `precision` of generator and discriminators; None: float32.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        G = Generator(config.generator)
        D_img = image_discriminator(config) if config.discriminator.image else None
        D_vid = video_discriminator(config) if config.discriminator.video else None
    networks = Networks(G, copy.deepcopy(G).eval(), D_img, D_vid)
    for _, module in networks.items():
        module.precision = dtype
        module.to(device).requires_grad_(False)
        for parameter in module.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=weight_layout(device))
    return networks


def weight_layout(device: torch.device) -> torch.memory_format:
    """Return how the weights of convolutions lie in memory while they are trained.

    A GPU's convolutions of channels-last images would lay others out anew in every pass.
    """
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


def build_optimizers(networks: Networks, config: Config) -> dict[str, torch.optim.Adam]:
    """Return Adam for each network by its name, corrected for lazy regularisation.

    A network gets a step for its loss in every iteration and one more in each `interval` for its regularisation, so
    learning rate and betas are rescaled by interval / (interval + 1); without an interval they stay.
    """
    options = config.training
    optimizers = {}
    for name, _ in networks.items():
        if name == "G_ema":
            continue
        if name == "G":
            rate = options.glr
            interval = options.g_reg_interval
        else:
            rate = options.dlr
            interval = options.d_reg_interval
        ratio = 1.0 if interval is None else interval / (interval + 1)
        first, second = options.betas
        optimizers[name] = torch.optim.Adam(
            networks.parameters([name]),
            lr=rate * ratio,
            betas=(first**ratio, second**ratio),
            eps=options.eps,
            fused=True,
        )
    return optimizers


# --- Snapshots --------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Snapshot:
    """A generator for inference and what came with it."""

    G: Generator
    config: Config
    camera_bank: torch.Tensor  # [M, T, 25] real camera sequences
    progress: dict[str, Any]  # kimg, ...
    notes: tuple[str, ...] = ()  # sentences for the user


@dataclass(frozen=True, kw_only=True)
class StoredSnapshot:
    """The content of a snapshot's file. Weights are checked when they are used; everything else is sound."""

    path: Path
    config: Config
    weights: dict[str, Any]  # by network: of G_ema at least
    camera_bank: torch.Tensor  # [M, T, 25] real camera sequences
    progress: dict[str, Any]  # kimg, ...
    max_time: float = 1.0  # greatest time that the generator was trained at
    notes: tuple[str, ...] = ()  # sentences for the user
    counter: str | None = "kimg of the snapshot"  # what its progress is read from; None: nothing says it

    @classmethod
    def of(cls, payload: dict[str, Any], path: Path | str) -> "StoredSnapshot":
        """Return the snapshot of a checkpoint's payload. UserError if it is damaged or of another version."""
        flaw = _flaw(payload)
        if flaw:
            raise UserError(f"{path} is a damaged snapshot: {flaw}; copy it again, or give another one.")
        parts = {name: payload[name] for name in PARTS}
        parts["max_time"] = payload.get("max_time", cls.max_time)
        try:
            parts["config"] = validate(from_dict(Config, payload["config"]))
        except UserError as error:
            raise UserError(f"The snapshot {path} does not fit this version: {error}") from error
        return cls(path=Path(path), **parts)

    @property
    def stream_kimg(self) -> float:
        """How far training went in the random streams of its seed, at most, whatever --init-kimg made of its kimg."""
        return self.progress.get("stream_kimg", self.progress["kimg"])

    @property
    def is_static(self) -> bool:
        """Whether the generator knows no motion."""
        return self.config.generator.is_static

    def payload(self) -> dict[str, Any]:
        """Return what a checkpoint holds of the snapshot."""
        parts = {name: getattr(self, name) for name in PARTS}
        return parts | {"config": to_dict(self.config), "max_time": self.max_time}

    def weights_of(self, name: str, shapes: Shapes) -> Weights:
        """Return the weights of a network. UserError unless they have these shapes, and are finite."""
        return _fitting(self.weights.get(name), name, shapes, self.path)


def _flaw(payload: dict[str, Any]) -> str | None:
    """Return what is wrong with the parts of a snapshot, whose weights are checked when they are used."""
    missing = [name for name in PARTS if name not in payload]
    if missing:
        return f"it lacks {', '.join(missing)}"
    weights = payload["weights"]
    if not isinstance(weights, dict) or not weights.keys() <= set(NAMES):
        return f"its weights are not those of {', '.join(NAMES)}"
    if "G_ema" not in weights:
        return "it holds no weights of G_ema"
    if not is_time(payload.get("max_time", 1.0)):
        return "its max_time is no number from 0 to 1"
    return _flaw_of_bank(payload["camera_bank"]) or _flaw_of_progress(payload["progress"])


def is_time(value: Any) -> bool:
    """Return whether a value is a moment of a clip."""
    return type(value) is float and 0 <= value <= 1


def _flaw_of_bank(bank: Any) -> str | None:
    if not isinstance(bank, torch.Tensor) or bank.ndim != 3 or bank.shape[1] < 1 or bank.shape[2] != CAMERA_DIM:
        return f"its camera_bank has not the shape [clips, frames, {CAMERA_DIM}]"
    if bank.dtype != torch.float32 or not (bank.abs() <= MAX_CAMERA).all():
        return "its camera_bank holds numbers that no camera has"
    return None


def _flaw_of_progress(progress: Any) -> str | None:
    if not isinstance(progress, dict):
        return "its progress is not made of numbers"
    for value in progress.values():
        if type(value) not in (int, float) or not abs(value) <= MAX_KIMG:
            return "its progress is not made of numbers"
    if progress.get("kimg", -1) < 0:
        return "its progress lacks the kimg"
    if progress.get("stream_kimg", 0) < 0:
        return "its stream_kimg is negative"
    return None


def _fitting(weights: Any, name: str, shapes: Shapes, path: Path) -> Weights:
    """Return the weights of a network if they are of these shapes, else raise a UserError."""
    if not isinstance(weights, dict):
        raise UserError(f"{path} holds no weights of {name}: give another snapshot.")
    wrong = misfit(weights, shapes)
    if wrong:
        raise UserError(
            f"The weights of {name} in {path} {wrong}; give another snapshot, or the options that it was made with."
        )
    return weights


# --- Writing and starting from them -----------------------------------------------------------------------------------


def save_snapshot(
    path: Path, config: Config, networks: Networks, camera_bank: torch.Tensor, progress: dict[str, Any]
) -> None:
    """Write a snapshot atomically."""
    snapshot = StoredSnapshot(
        path=path,
        config=config,
        weights={name: dict(module.state_dict()) for name, module in networks.items()},
        camera_bank=camera_bank,
        progress=progress,
        max_time=networks.G_ema.max_time,
    )
    checkpoint.save(path, snapshot.payload(), "snapshot")


def compact_snapshot(source: Path | str, dest: Path | str) -> None:
    """Write a snapshot a third the size: without G (G_ema stands in for it), everything in half precision."""
    snapshot = StoredSnapshot.of(checkpoint.load(source, "snapshot"), source)
    names = [name for name in NAMES if name in snapshot.weights]
    half = {}
    for name, shapes in network_shapes(snapshot.config, names).items():
        weights = snapshot.weights_of(name, shapes)
        if name == "G":
            continue
        half[name] = {key: value.half() for key, value in weights.items()}
        if misfit(half[name], shapes):
            raise UserError(
                f"The weights of {name} in {source} are too large for half precision: share the snapshot as it is."
            )
    checkpoint.save(dest, replace(snapshot, weights=half).payload(), "snapshot")


def init_networks(networks: Networks, snapshot: StoredSnapshot, fresh_motion: bool = False) -> int:
    """Copy the weights of a snapshot into networks of the same shape, and return the clips that it had seen.

    A compact snapshot has no G: then G starts from G_ema. Discriminators that the snapshot lacks stay as they are. A
    static generator is the beginning of one of any method. Where motion moves its latents, no clips count.

    Args:
        fresh_motion: motion begins anew (`with_fresh_styles`), as it does in any case if the snapshot is static.

    Raises:
        UserError: the snapshot's networks are others; none of these has changed then.
    """
    own = networks.G.config.motion
    theirs = snapshot.config.generator.motion
    is_moved = own == "chain" and snapshot.is_static  # then the generator stays as it is shown
    same_judges = isinstance(networks.D_img, PatchDiscriminator) == (snapshot.config.discriminator.judges == "patches")
    if fresh_motion and own != "layers":
        raise UserError("--fresh-motion is not possible: this model has no motion layers.")
    if own != theirs and not snapshot.is_static:
        raise UserError(
            f"{snapshot.path} is of --method={snapshot.config.method}, which moves in another way: give a snapshot of "
            "this method, or of eg3d."
        )
    fitting = []
    for name, module in networks.items():
        source = "G_ema" if name == "G" and (is_moved or "G" not in snapshot.weights) else name
        if source not in snapshot.weights or not (same_judges or isinstance(module, Generator)):
            continue
        weights = snapshot.weights[source]
        if snapshot.is_static and isinstance(module, Generator):
            weights = with_fresh_motion(weights, module)
        weights = _fitting(weights, source, shapes_of(module.state_dict()), snapshot.path)
        if fresh_motion and not snapshot.is_static and isinstance(module, Generator):
            weights = with_fresh_styles(weights, module)
        fitting.append((module, weights))
    for module, weights in fitting:
        module.load_state_dict(weights)
    return 0 if is_moved else round(snapshot.progress["kimg"] * 1000)
