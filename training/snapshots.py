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

from dnnlib import cli
from dnnlib.errors import UserError
from torch_utils import checkpoint
from training.config import Config, from_dict, to_dict, validate
from training.foreign import read_foreign, with_fresh_motion
from training.networks.discriminators import ImageDiscriminator, VideoDiscriminator
from training.networks.generator import Generator

NAMES = ("G", "G_ema", "D_img", "D_vid")


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
    camera_bank: torch.Tensor        # [M, T, 25] real camera sequences
    progress: dict[str, Any]         # kimg, ...


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


def save_snapshot(path: Path, config: Config, networks: Networks, camera_bank: torch.Tensor,
                  progress: dict[str, Any]) -> None:
    """Writes a snapshot atomically."""
    weights = {name: dict(module.state_dict()) for name, module in networks.items()}
    checkpoint.save(path, {"config": to_dict(config), "weights": weights, "camera_bank": camera_bank.cpu(),
                           "progress": progress}, "snapshot")


def load_generator(path: Path | str, device: torch.device | str = "cpu") -> Snapshot:
    """The averaged generator of a snapshot, or of a PV3D or EG3D checkpoint, in evaluation mode.

    Raises:
        UserError: no such file, not a snapshot, of another version, or with weights that do not fit its configuration.
    """
    payload = _payload(path)
    config = _config(payload, path)
    G = Generator(config.generator).requires_grad_(False).eval()
    _load(G, payload["weights"].get("G_ema"), "G_ema", path)
    return Snapshot(G.to(device), config, payload["camera_bank"], payload["progress"])


def init_networks(networks: Networks, path: Path | str) -> int:
    """Copies the weights of a snapshot into networks of the same shape; returns the clips it had seen.

    A compact snapshot has no G: then G starts from G_ema. Discriminators that the snapshot lacks stay as they are.
    """
    payload = _payload(path)
    _config(payload, path)
    weights = payload["weights"]
    for name, module in networks.items():
        source = weights.get(name, weights.get("G_ema") if name == "G" else None)
        if payload.get("static") and name.startswith("G"):
            source = with_fresh_motion(source, module)
        if source is not None or name.startswith("G"):
            _load(module, source, name, path)
    return round(payload["progress"]["kimg"] * 1000)


def compact_snapshot(source: Path | str, dest: Path | str) -> None:
    """Writes a snapshot a third the size: without G (G_ema stands in for it), everything in half precision."""
    payload = checkpoint.load(source, "snapshot")
    _config(payload, source)
    payload["weights"] = {name: {key: value.half() for key, value in weights.items()}
                          for name, weights in payload["weights"].items() if name != "G"}
    checkpoint.save(dest, payload, "snapshot")


def _payload(path: Path | str) -> dict[str, Any]:
    """What a snapshot holds, or a checkpoint of other software (`training.foreign`) as if it were one."""
    foreign = read_foreign(path)
    return checkpoint.load(path, "snapshot") if foreign is None else foreign.payload()


def _config(payload: dict[str, Any], path: Path | str) -> Config:
    missing = {"config", "weights", "camera_bank", "progress"} - set(payload)
    if missing:
        raise UserError(f"{path} is a damaged snapshot: it lacks {', '.join(sorted(missing))}.")
    try:
        return validate(from_dict(payload["config"]))
    except UserError as error:
        raise UserError(f"The snapshot {path} does not fit this version: {error}") from error


def _load(module: torch.nn.Module, weights: dict[str, torch.Tensor] | None, name: str, path: Path | str) -> None:
    own = module.state_dict()
    if not isinstance(weights, dict):
        raise UserError(f"{path} holds no weights of {name}.")
    wrong = sorted(set(own) ^ set(weights)) or [k for k in own if own[k].shape != weights[k].shape]
    if wrong:
        raise UserError(f"The weights of {name} in {path} do not fit this configuration: {len(wrong)} entries differ, "
                        f"{wrong[0]} among them; train with the options that the snapshot was made with.")
    module.load_state_dict(weights)


@cli.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("dest", type=click.Path(path_type=Path))
def main(source: Path, dest: Path):
    """Write snapshot SOURCE to DEST a third the size, fit to be shared: in half precision, without G."""
    compact_snapshot(source, dest)


if __name__ == "__main__":
    main()
