"""Rows that are trained alike and sampled otherwise: the one takes the weights of the other, which are its own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from dnnlib.files import read_json
from dnnlib.options import override
from torch_utils import checkpoint
from training.checkpoints.opener import open_snapshot

OWN = ("row", "row_options", "commit", "checkout")  # what the records of such runs may have apart


def place_beside(place: Path, name: str) -> Path:
    """Return where the run of another row is, from the same seed as the one whose folder is given."""
    return place.parent.parent / name / place.name


def are_alike(place: Path, other: Path) -> bool:
    """Return whether two runs have records of the same training, but for the options that only sampling reads."""
    records = [read_json(folder / "record.json") for folder in (place, other) if (folder / "record.json").exists()]
    shared = [{name: value for name, value in record.items() if name not in OWN} for record in records]
    return len(shared) == 2 and shared[0] == shared[1]


def sample_otherwise(source: Path, dest: Path, changes: dict[str, Any]) -> None:
    """Write a snapshot with the weights of another, and changes to its configuration, by their keys."""
    snapshot = open_snapshot(source)
    dest.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(dest, replace(snapshot, config=override(snapshot.config, changes)).payload(), "snapshot")
