"""What callers give, as the functions below take it: the right shape and type, or a ValueError that names the argument.

Gradients flow through all of it.
"""

import math
from collections.abc import Callable
from typing import Any, TypeGuard

import numpy as np
import torch

from training.cameras import CAMERA_DIM, frontal_label, resample_labels
from training.sampling.options import PAPER_FRAMES

MAX_SEED = 2**63 - 1


def _is_whole(value: object, low: int) -> TypeGuard[int]:
    """Return whether it is a whole number, of Python or of NumPy, and not less than `low`."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= low


def require_count(name: str, value: object) -> int:
    """Return a whole number from 1 on."""
    if not _is_whole(value, 1):
        raise ValueError(f"{name} is {value!r}: give a whole number from 1 on.")
    return int(value)


def require_seed(value: object) -> int:
    """Return a seed."""
    if not _is_whole(value, 0) or value > MAX_SEED:
        raise ValueError(f"seed is {value!r}: give a whole number from 0 to {MAX_SEED}.")
    return int(value)


def require_truncation(psi: object, cutoff: object, rows: int) -> None:
    """Raise a ValueError unless psi is a finite number, and a cutoff None or a whole number of so many rows."""
    if isinstance(psi, bool) or not isinstance(psi, int | float | np.integer | np.floating) or not math.isfinite(psi):
        raise ValueError(f"truncation is {psi!r}: give a finite number; 1 is none.")
    if cutoff is not None and not (_is_whole(cutoff, 0) and cutoff <= rows):
        raise ValueError(
            f"truncation_cutoff is {cutoff!r}: give a whole number from 0 to {rows}, or None for all rows."
        )


def as_floats(name: str, value: Any) -> torch.Tensor:
    """Return numbers as a tensor of float32, with its gradient if it has one."""
    try:
        return torch.as_tensor(value).to(torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} is {type(value).__name__}: give a tensor of numbers.") from error


def as_rows(name: str, value: Any, numbers: int, what: str) -> torch.Tensor:
    """Return [numbers] or [N, numbers] of something.

    Args:
        what: what such a row is, such as "a motion code of this model".
    """
    rows = as_floats(name, value)
    if rows.ndim not in (1, 2) or rows.shape[-1] != numbers or len(rows) == 0:
        raise ValueError(f"{name} has shape {list(rows.shape)}: {what} is [{numbers}], several are [N, {numbers}].")
    return rows


def as_one(name: str, value: Any, numbers: int, what: str) -> torch.Tensor:
    """Return one row [numbers], as of `as_rows`."""
    row = as_floats(name, value)
    if row.shape != (numbers,):
        raise ValueError(f"{name} has shape {list(row.shape)}, but {what} is [{numbers}].")
    return row


def as_cameras(name: str, value: Any) -> torch.Tensor:
    """Return a camera [25] or cameras [N, 25]; None is the frontal one."""
    if value is None:
        return frontal_label()
    labels = as_rows(name, value, CAMERA_DIM, "a camera label")
    if not labels.isfinite().all():
        raise ValueError(f"{name} has numbers that are not finite: a camera label has none.")
    return labels


def as_times(value: Any) -> torch.Tensor:
    """Return a time [] or times [N], all of them from 0 to 1."""
    times = as_floats("t", value)
    if times.ndim > 1 or times.numel() == 0:
        raise ValueError(f"t has shape {list(times.shape)}: give one time, or a list of them.")
    if not ((times >= 0) & (times <= 1)).all():
        raise ValueError("t has times outside of 0 to 1: a clip lasts from 0 to 1.")
    return times


def rows_of(lengths: dict[str, int | None]) -> int:
    """Return how many rows arguments have together: those of the ones that have rows (not None), which must agree."""
    given = {name: length for name, length in lengths.items() if length is not None}
    if len(set(given.values())) > 1:
        said = ", ".join(f"{name} has {length}" for name, length in given.items())
        raise ValueError(f"The numbers of frames differ: {said}.")
    return next(iter(given.values()), 1)


def clip_of(
    cameras: Any, frames: int | None, t: Any, even: Callable[[int], torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the cameras [T, 25] and the times [T] of a clip.

    Args:
        cameras: one, or a path, which is resampled where `frames` is another number; None: the frontal one.
        frames: how many; None: as many as cameras or times, else PAPER_FRAMES.
        t: one time for all frames, or one each; None: those that `even` returns of so many.
    """
    labels = as_cameras("cameras", cameras)
    times = None if t is None else as_times(t)
    if frames is not None:
        require_count("frames", frames)
        if labels.ndim == 2:
            labels = resample_labels(labels, frames)
    lengths = {
        "frames": frames,
        "cameras": len(labels) if labels.ndim == 2 else None,
        "t": len(times) if times is not None and times.ndim == 1 else None,
    }
    has_length = any(length is not None for length in lengths.values())
    count = rows_of(lengths) if has_length else PAPER_FRAMES
    moments = even(count) if times is None else times.expand(count)
    return labels.expand(count, -1), moments
