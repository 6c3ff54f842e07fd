"""What is inside a checkpoint of whatever origin, in lines."""

import os
from pathlib import Path
from typing import Any

from dnnlib.files import require_file
from torch_utils.checkpoint import MAX_GROWTH, VERSION, reading_checkpoint
from torch_utils.pickles.report import as_text, report
from training.checkpoints import safetensors
from training.checkpoints.foreign import EG3D, PV3D, describe_record, pv3d_counter
from training.checkpoints.opener import open_checkpoint

TITLES = {PV3D: "PV3D checkpoint", EG3D: "EG3D pickle"}


def inspection(path: str | os.PathLike) -> list[str]:
    """Return lines for header, options, every tensor and totals; nothing in the file is run.

    Args:
        path: a snapshot, a training state, a safetensors export, a checkpoint of the official PV3D or a pickle of EG3D.

    Raises:
        UserError: the file is missing, none of these, or damaged.
    """
    path = require_file(path, "checkpoint")
    with reading_checkpoint(path):
        title, content = _content(path)
        size = path.stat().st_size
        return [f"{path}: {title}, {size:,} bytes", *report(content, MAX_GROWTH * size, describe_record)]


def _content(path: Path) -> tuple[str, dict[str, Any]]:
    """Return what a file is, and what it holds."""
    if path.suffix == safetensors.SUFFIX:
        return "safetensors", safetensors.read_safetensors(path)
    opened = open_checkpoint(path)
    if opened.origin is None:
        return f"{as_text(opened.kind)}, checkpoint version {VERSION}", opened.content
    title = TITLES[opened.origin]
    clips, counter = pv3d_counter(opened.content) if opened.origin == PV3D else (0, None)
    return f"{title} of {clips / 1000:.9g} kimg ({counter})" if counter else title, opened.content
