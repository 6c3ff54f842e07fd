"""The datasets of a study: procedural heads to train on and to score on, few of them, and stills of others."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.study_rows import FEW, STILLS, TEST, TRAIN, Row

FEW_OF = 10  # of so many clips to train on one is among the few
STILLS_SEED = 1  # of dataset_tool.py: other people than those of the clips, whose seed is 0


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset that is there, and the fingerprint of its content."""

    path: Path
    fingerprint: str


def synth_options(name: str, *, clips: int, test_clips: int, frames: int) -> list[str]:
    """Return the options of `dataset_tool.py synth` that make a dataset, but for its place and what all have alike.

    Args:
        clips: of a study's `train`; `few` are the first of them, `stills` as many people, a frame each.
        test_clips: of `test`.
        frames: of a clip.
    """
    lengths = {
        TRAIN: [f"--split={TRAIN}", f"--clips={clips}", f"--frames={frames}"],
        TEST: [f"--split={TEST}", f"--clips={test_clips}", f"--frames={frames}"],
        FEW: [f"--split={TRAIN}", f"--clips={max(clips // FEW_OF, 1)}", f"--frames={frames}"],
        STILLS: [f"--split={TRAIN}", f"--clips={clips}", "--frames=1", f"--seed={STILLS_SEED}"],
    }
    return lengths[name]


def training_options(row: Row, data: Mapping[str, Dataset]) -> list[str]:
    """Return the options of `train.py` that name a row's datasets."""
    flags = ("--data", "--image-data")
    return [f"{flag}={data[name].path}" for flag, name in zip(flags, row.datasets, strict=False)]


def fingerprints(row: Row, data: Mapping[str, Dataset]) -> dict[str, str]:
    """Return what the record of a run says of its datasets."""
    names = ("data", "image_data")
    return {key: data[name].fingerprint for key, name in zip(names, row.datasets, strict=False)}
