"""The one way into checkpoints: says whose a file is, and makes a snapshot or a generator of it."""

from pathlib import Path

import torch

from dnnlib.errors import UserError
from torch_utils import checkpoint
from training.checkpoints.foreign import read_foreign
from training.checkpoints.shapes import network_shapes
from training.checkpoints.snapshots import Snapshot, StoredSnapshot, set_sampling_precision
from training.networks.generator import Generator


def open_snapshot(path: Path | str) -> StoredSnapshot:
    """Read a snapshot, or a checkpoint of the official PV3D or of EG3D as if it were one.

    Nothing in the file is run.

    Raises:
        UserError: no such file, not a snapshot, damaged, of another version.
    """
    try:
        return StoredSnapshot.of(checkpoint.load(path, "snapshot"), path)
    except UserError:
        foreign = read_foreign(path)
        if foreign is None:
            raise
    return foreign.snapshot(Path(path))


def load_generator(path: Path | str, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Snapshot:
    """Load the averaged generator of a snapshot, or of a PV3D or EG3D checkpoint, in evaluation mode.

    Networks are made only for a file that has weights for them.

    Args:
        dtype: of the super-resolution, and where it is bfloat16 of the backbone's convolutions; None: float32.

    Raises:
        UserError: as for `open_snapshot`, or the weights do not fit the configuration.
    """
    found = open_snapshot(path)
    weights = found.weights_of("G_ema", network_shapes(found.config, ["G_ema"])["G_ema"])
    G = Generator(found.config.generator).requires_grad_(False).eval()
    G.load_state_dict(weights)
    set_sampling_precision(G, dtype)
    return Snapshot(G.to(device), found.config, found.camera_bank, found.progress, found.notes)
