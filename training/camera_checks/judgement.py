"""What is wrong with cameras, of each and of the set, in words for a report or for one line of warning."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from training.camera_checks.conventions import likely_convention
from training.camera_checks.labels import LabelColumn
from training.camera_checks.views import (
    FOCALS,
    MAX_ASPECT,
    MAX_SKEW,
    MIDDLE,
    USUAL,
    has_pose_row,
    is_camera,
    is_rotation,
    matrices,
    radii,
    usable,
    view,
)
from training.config import RenderingConfig

FEW = 5  # faults of a kind that are named one by one
MIN_SET = 6  # cameras whose lines of sight may miss each other by more than chance, or that are a part of their own
BLOCK = 2**16  # cameras judged at a time
PAGE = "docs/troubleshooting.md, Cameras"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A kind of fault: the cameras that have it (int [M], ascending), a sentence, and its numbers [M, K] for each."""

    cameras: np.ndarray
    sentence: str
    numbers: np.ndarray

    def said(self, place: int) -> str:
        """Return the sentence about the camera at this place of `cameras`."""
        return self.sentence.format(*self.numbers[place])


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What is wrong with `total` cameras, and the convention they are likely in, with the cure ("" for ours)."""

    total: int
    faults: list[Fault]
    convention: str

    def warning(self, where: object) -> str | None:
        """Return one line about the cameras of `where`; None if nothing is wrong."""
        if not self.faults and not self.convention:
            return None
        wrong = len(np.unique(np.concatenate([fault.cameras for fault in self.faults]))) if self.faults else self.total
        what = self.faults[0].said(0) if self.faults else "as a set they do not face the head"
        cure = f"likely {self.convention}" if self.convention else f"see {PAGE}"
        return f"{wrong} of {self.total} cameras of {where} look wrong, {what}: {cure}."


def judge(cameras: np.ndarray, rendering: RenderingConfig = USUAL) -> Judgement:
    """Judge labels [N, 25] of finite numbers for this rendering, each for itself and as a set."""
    kinds: dict[str, list[Fault]] = {}
    for start in range(0, len(cameras), BLOCK):
        for fault in _faults(cameras[start : start + BLOCK], start, radii(rendering)):
            kinds.setdefault(fault.sentence, []).append(fault)
    faults = [_together(parts) for parts in kinds.values() if any(len(part.cameras) for part in parts)]
    wrong = np.zeros(len(cameras), dtype=bool)
    for fault in faults:
        wrong[fault.cameras] = True
    convention = likely_convention(cameras) if wrong.any() or len(cameras) >= MIN_SET else ""
    if not convention and MIN_SET <= wrong.sum() < len(cameras):
        convention = likely_convention(cameras[wrong])  # of a part that came from elsewhere
    return Judgement(total=len(cameras), faults=faults, convention=convention)


def _together(parts: list[Fault]) -> Fault:
    return Fault(
        cameras=np.concatenate([part.cameras for part in parts]),
        sentence=parts[0].sentence,
        numbers=np.concatenate([part.numbers for part in parts]),
    )


def _faults(cameras: np.ndarray, start: int, distances: tuple[float, float]) -> Iterator[Fault]:
    """Yield all kinds of faults of labels [N, 25], counted from `start`; of poses first."""
    pose, intrinsics = matrices(cameras)

    def fault(sentence: str, which: np.ndarray, *numbers: np.ndarray) -> Fault:
        columns = np.stack([which, *numbers], axis=1)[which, 1:]
        return Fault(cameras=np.flatnonzero(which) + start, sentence=sentence, numbers=columns)

    turns, has_row = is_rotation(pose), has_pose_row(pose)
    yield fault("camera matrix is not a rotation", ~turns)
    yield fault("last row of the camera matrix is not 0 0 0 1", ~has_row)
    distance = np.linalg.norm(pose[:, :3, 3], axis=1)
    low, high = distances
    far = (distance < low) | (distance > high)
    yield fault(f"camera is {{:.3f}} from the origin, not {low:.4g} to {high:.4g}", far, distance)

    seen, is_pose = view(pose, usable(intrinsics)), turns & has_row
    yield fault("the head is behind the camera", is_pose & ~seen.is_ahead)
    outside = is_pose & seen.is_ahead & ~seen.is_inside
    yield fault("the head is outside of the picture, at ({:.2f}, {:.2f}) of its sides", outside, *seen.place.T)
    yield fault("the picture's up is not the world's (+y)", is_pose & ~seen.is_upright)

    sound = is_camera(intrinsics)
    yield fault("intrinsics are not those of a camera", ~sound)
    fx, fy = intrinsics[:, 0, 0], intrinsics[:, 1, 1]
    least, greatest = np.minimum(fx, fy), np.maximum(fx, fy)
    low, high = FOCALS
    odd = sound & ((least < low) | (greatest > high))
    yield fault(f"focal lengths are {{:.4g}} and {{:.4g}} sides of the picture, not {low} to {high}", odd, fx, fy)
    uneven = sound & (greatest > MAX_ASPECT * least)
    yield fault("focal lengths {:.4g} and {:.4g} differ, but pixels are square", uneven, fx, fy)
    skew = intrinsics[:, 0, 1]
    yield fault("skew is {:.4g}, but pixels are square", sound & (abs(skew) > MAX_SKEW * fx), skew)
    centre = intrinsics[:, :2, 2]
    is_central = (abs(centre - 0.5) <= MIDDLE) | (abs(seen.place - 0.5) <= MIDDLE)
    is_central &= (centre >= 0) & (centre <= 1)
    off = sound & ~is_central.all(axis=1)
    yield fault("principal point ({:.3g}, {:.3g}) is not near the middle of the picture (0.5, 0.5)", off, *centre.T)


# --- A report ---------------------------------------------------------------------------------------------------------


def named_faults(labels: Iterable[tuple[str, object]]) -> Iterator[tuple[str, str]]:
    """Yield (name, what is wrong) of named labels, which may be anything; one line if many share a fault."""
    column = LabelColumn()
    for name, label in labels:
        column.add(name, label)
    yield from column_faults(column)


def column_faults(column: LabelColumn) -> Iterator[tuple[str, str]]:
    """Yield what `named_faults` does of the labels that were added to a column."""
    cameras = column.cameras()
    for sentence, which in column.broken.items():
        yield from _lines(which, [sentence] * len(which))
    judgement = judge(cameras)
    for fault in judgement.faults:
        which = [column.names[camera] for camera in fault.cameras]
        yield from _lines(which, [fault.said(place) for place in range(min(len(which), FEW))])
    if judgement.convention:
        yield "cameras", f"as a set they are likely {judgement.convention}"


def _lines(names: list[str], said: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each of a few names with what is said of it, or the first of many with their number."""
    if len(names) > FEW:
        yield names[0], f"{said[0]} ({len(names)} cameras have this fault)"
    else:
        yield from zip(names, said, strict=True)
