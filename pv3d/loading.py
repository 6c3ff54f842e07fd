"""Where a model comes from: a name, a path or an address."""

import warnings
from pathlib import Path

import torch

from dnnlib.errors import UserError
from dnnlib.files import shown, with_checksum
from pv3d.model import Model
from torch_utils import runtime
from training.checkpoints import addresses, sources
from training.checkpoints.opener import load_generator

PRECISIONS = ("fp32", "bf16", "fp16")  # tf32 is a setting of the whole process


def load(
    source: str | Path, *, sha256: str | None = None, device: str | torch.device = "auto", precision: str = "fp32"
) -> Model:
    """Load a model: one that is shipped ("heads"), a snapshot's path, or its address, which begins with https.

    A snapshot is one, too, as the safetensors file or the folder that `checkpoint_tool.py` exports or publishes.

    Of a run's folder it is the newest snapshot; RUN/best is its best one.

    Also checkpoints of the official PV3D and of EG3D. What is downloaded stays in the cache, under its checksum.

    Args:
        sha256: checksum of the file; an address needs it, of other files it is compared.
        device: auto (a GPU if there is one), cpu, cuda or cuda:<number>.
        precision: fp32, bf16 or fp16, as `--precision` of the commands.

    Raises:
        UserError: no such file, device or precision, a download that fails, another checksum, or no snapshot.
    """
    if precision not in PRECISIONS:
        raise UserError(f"precision={precision!r} is not possible: give one of {', '.join(PRECISIONS)}.")
    chosen = runtime.select_device(device)
    dtype, slow = runtime.compute_dtype(precision, chosen)
    path = _located(source, sha256)
    snapshot, found = with_checksum(path, lambda file: load_generator(file, chosen, dtype))
    if sha256 is not None and found != addresses.require_sha256(sha256):
        raise UserError(f"{path} has the sha256 {found}, not {shown(sha256)}: it is another file.")
    for note in (*snapshot.notes, *((slow,) if slow else ())):
        warnings.warn(note, stacklevel=2)
    return Model(snapshot)


def _located(source: str | Path, sha256: str | None) -> Path:
    """Return the file of a name, a path or an address."""
    if isinstance(source, str) and addresses.is_address(source):
        return addresses.downloaded(source, sha256)
    path = sources.found(source).path
    if isinstance(source, str) and not path.exists():
        raise UserError(
            f"{shown(source)} is neither a shipped model ({', '.join(sources.SHIPPED)}), nor a file or address."
        )
    return path
