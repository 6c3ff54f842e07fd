"""The one way into a checkpoint: its file is read once, said to be ours, PV3D's or EG3D's, and made into a snapshot.

The training loop does not import this module, and so knows none of the formats of others: it is given snapshots.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from dnnlib.files import require_file
from torch_utils.checkpoint import reading_checkpoint, require_kind, unwrap
from torch_utils.pickles import reader
from torch_utils.runtime import select_device
from training.checkpoints import foreign
from training.checkpoints.safetensors import is_safetensors, read_payload
from training.checkpoints.shapes import network_shapes
from training.checkpoints.snapshots import Snapshot, StoredSnapshot
from training.config import DiscriminatorConfig
from training.networks.discriminators import Discriminator, ImageDiscriminator, VideoDiscriminator
from training.networks.generator import Generator

AnyDiscriminator = TypeVar("AnyDiscriminator", bound=Discriminator)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A checkpoint's file that was read.

    Args:
        origin: "PV3D" or "EG3D"; None: ours.
        kind: what it holds; of others, always "snapshot".
        content: of ours, the payload of plain values and tensors; of others, what `reader.read` returns.
    """

    path: Path
    origin: str | None
    kind: str
    content: dict[str, Any]


def open_checkpoint(path: str | os.PathLike) -> Opened:
    """Read a checkpoint of ours, also as safetensors, of the official PV3D or of EG3D. Nothing in the file is run.

    Raises:
        UserError: no such file, damaged, of another version, or none of these.
    """
    path = require_file(path, "checkpoint")
    with reading_checkpoint(path):
        if is_safetensors(path):
            return Opened(path=path, origin=None, kind="snapshot", content=read_payload(path))
        content = reader.read(path)
        ours = unwrap(content, path)
        if ours is not None:
            kind, payload = ours
            return Opened(path=path, origin=None, kind=kind, content=payload)
        return Opened(path=path, origin=foreign.origin_of(content), kind="snapshot", content=content)


def open_snapshot(path: str | os.PathLike) -> StoredSnapshot:
    """Read a snapshot, or a checkpoint of the official PV3D or of EG3D as if it were one.

    Raises:
        UserError: as for `open_checkpoint`, or it is a training state, or of networks other than ours.
    """
    opened = open_checkpoint(path)
    require_kind(opened.kind, "snapshot", opened.path)
    if opened.origin is None:
        return StoredSnapshot.of(opened.content, opened.path)
    with reading_checkpoint(opened.path):
        return foreign.as_snapshot(opened.content, opened.origin, opened.path)


def load_generator(
    path: str | os.PathLike, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> Snapshot:
    """Load the averaged generator of a snapshot, or of a PV3D or EG3D checkpoint, in evaluation mode.

    Networks are made only for a file that has weights for them.

    Args:
        device: as of `select_device`.
        dtype: of the super-resolution and, if it is bfloat16, of the backbone's convolutions; None: float32.

    Raises:
        UserError: as for `open_snapshot`, the weights do not fit the configuration, or there is no such device.
    """
    device = select_device(device)
    stored = open_snapshot(path)
    shapes = network_shapes(stored.config, ["G_ema"])
    weights = stored.weights_of("G_ema", shapes["G_ema"])
    G = Generator(stored.config.generator).requires_grad_(False).eval()
    G.load_state_dict(weights)
    G.precision = dtype
    G.max_time = stored.max_time
    return Snapshot(
        G=G.to(device),
        config=stored.config,
        camera_bank=stored.camera_bank,
        progress=stored.progress,
        notes=stored.notes,
    )


@dataclass(frozen=True, kw_only=True)
class Discriminators:
    """The discriminators of a snapshot, in evaluation mode; None where it holds none of whole frames."""

    D_img: ImageDiscriminator | None
    D_vid: VideoDiscriminator | None


def load_discriminators(path: str | os.PathLike, device: torch.device | str = "cpu") -> Discriminators:
    """Load the discriminators of a snapshot, or of a PV3D or EG3D checkpoint, without gradients, in float32.

    Args:
        device: as of `select_device`.

    Raises:
        UserError: as for `load_generator`.
    """
    device = select_device(device)
    stored = open_snapshot(path)
    return Discriminators(
        D_img=_discriminator(stored, "D_img", ImageDiscriminator, device),
        D_vid=_discriminator(stored, "D_vid", VideoDiscriminator, device),
    )


def _discriminator(
    stored: StoredSnapshot,
    name: str,
    build: Callable[[int, DiscriminatorConfig], AnyDiscriminator],
    device: torch.device,
) -> AnyDiscriminator | None:
    """Return one discriminator by its name; None if the snapshot holds none such."""
    config = stored.config
    if name not in stored.weights or config.discriminator.judges == "patches":
        return None
    shapes = network_shapes(config, [name])
    weights = stored.weights_of(name, shapes[name])
    D = build(config.generator.img_resolution, config.discriminator)
    D.load_state_dict(weights)
    return D.requires_grad_(False).eval().to(device)
