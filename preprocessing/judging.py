"""Which clips are good enough, by what is known once a head is fitted: reasons in words, as the report has them."""

import numpy as np

from preprocessing import alignment
from preprocessing.head_cameras import angles
from preprocessing.options import ChoosingOptions
from preprocessing.posing import PosedClip

MAX_CROWDED = 0.1  # part of a clip's frames that may show another face


def fault_of(clip: PosedClip, side: int, options: ChoosingOptions) -> str | None:
    """Return why a clip is left out; None if nothing speaks against it.

    Args:
        side: of its crops in pixels.
    """
    if not np.isfinite(clip.cameras).all() or not np.isfinite(clip.to_crop).all():
        return "cameras doubtful: no head fits the landmarks"
    size = side / float(np.max(alignment.scales(clip.to_crop)))
    yaw, pitch, _ = np.abs(angles(clip.poses)).max(axis=0)
    outside = float(clip.outside.max())
    residual = clip.poses.residual
    crowded = float(clip.crowded.mean())
    findings = [
        (size < options.min_size, f"face too small: a crop of {size:.0f} pixels (--min-size={options.min_size:g})"),
        (crowded > MAX_CROWDED, f"several faces: another one in {crowded:.0%} of the frames"),
        (outside > options.max_outside, f"cut off: {outside:.0%} of a crop (--max-outside={options.max_outside:g})"),
        (yaw > options.max_yaw, f"turned too far: yaw {yaw:.0f} degrees (--max-yaw={options.max_yaw:g})"),
        (pitch > options.max_pitch, f"turned too far: pitch {pitch:.0f} degrees (--max-pitch={options.max_pitch:g})"),
        (
            residual > options.max_residual,
            f"cameras doubtful: residual {residual:.3f} (--max-residual={options.max_residual:g})",
        ),
    ]
    for is_so, reason in findings:
        if is_so:
            return reason
    return None


def fault_of_flip(error: float, options: ChoosingOptions) -> str | None:
    """Return why a clip is left out by its flip test, degrees; None if nothing speaks against it."""
    if error <= options.max_flip_error:
        return None
    return f"cameras doubtful: flip test {error:.1f} degrees (--max-flip-error={options.max_flip_error:g})"
