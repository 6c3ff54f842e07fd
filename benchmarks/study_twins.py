"""Rows that take the weights of others: trained alike and sampled otherwise, or moving a generator that is trained."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dnnlib.errors import UserError
from dnnlib.files import read_json
from dnnlib.options import flags_of, override
from torch_utils import checkpoint
from training.checkpoints.opener import open_snapshot
from training.config import Config

OWN = ("row", "row_options", "commit", "checkout")  # what the records of such runs may have apart


def place_beside(place: Path, name: str) -> Path:
    """Return where the run of another row is, from the same seed as the one whose folder is given."""
    return place.parent.parent / name / place.name


def generator_of(place: Path, moved: str) -> list[str]:
    """Return the option of train.py for a run, in its folder, that moves the last generator of another row, if any.

    UserError if that is not trained yet.
    """
    if not moved:
        return []
    other = place_beside(place, moved)
    if not (other / "trained.json").exists():
        raise UserError(f"It moves the generator of {moved}, which is not trained yet: give that row, and go on then.")
    last = read_json(other / "trained.json")["snapshots"][-1]
    return [f"--generator={other / last['file']}"]


def are_alike(place: Path, other: Path) -> bool:
    """Return whether two runs have records of the same training, but for the options that only sampling reads."""
    records = [read_json(folder / "record.json") for folder in (place, other) if (folder / "record.json").exists()]
    shared = [{name: value for name, value in record.items() if name not in OWN} for record in records]
    return len(shared) == 2 and shared[0] == shared[1]


def sample_otherwise(source: Path, dest: Path, options: Sequence[str]) -> None:
    """Write a snapshot with the weights of another, whose configuration has options of train.py, --flag=text each."""
    keys = {flag: key for key, flag in flags_of(Config).items()}
    changes = {keys[flag]: value for flag, _, value in (option.partition("=") for option in options)}
    snapshot = open_snapshot(source)
    dest.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(dest, replace(snapshot, config=override(snapshot.config, changes)).payload(), "snapshot")
