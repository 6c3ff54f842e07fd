"""What is expected of a hostile file: how the commands that open it end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Case(NamedTuple):
    """A hostile file or folder: `make` writes it into an empty folder and returns its path."""

    name: str
    make: Callable[..., Path]
    expected: Any


# --- Datasets --------------------------------------------------------------------------------------------------------


class DatasetOutcome(NamedTuple):
    """Exit status of `train.py --dry-run` and of `dataset_tool.py check`; whether all frames can be read."""

    opening: int
    check: int
    reads: bool


FINE = DatasetOutcome(0, 0, True)  # harmless, such as files that the index does not list
FLAGGED = DatasetOutcome(0, 1, True)  # training can use it; check names what is odd
BROKEN = DatasetOutcome(0, 1, False)  # a frame cannot be read
LISTED = DatasetOutcome(2, 1, False)  # training refuses it; check names every bad place
REFUSED = DatasetOutcome(2, 2, False)  # training and check refuse it


# --- Sources of datasets ---------------------------------------------------------------------------------------------


class SourceOutcome(NamedTuple):
    """Exit status of `dataset_tool.py convert`; whether the videos can be scored."""

    convert: int
    scored: bool


CONVERTED = SourceOutcome(0, True)
NO_CLIP = SourceOutcome(2, True)  # its cameras, its name or its number of frames are bad; the video is sound
NO_VIDEO = SourceOutcome(2, False)

ANY = None  # after random damage to a dataset or a source: whatever ends with status 0, 1 or 2


# --- Checkpoints -----------------------------------------------------------------------------------------------------


class CheckpointOutcome(NamedTuple):
    """Whether every command must end well; the names of those that may end well. All others must refuse the file."""

    sound: bool
    may_end_well: frozenset[str] = frozenset()


SOUND = CheckpointOutcome(True)
UNREADABLE = CheckpointOutcome(False)
SHOWN = CheckpointOutcome(False, frozenset({"inspect"}))  # `inspect` may show what can be shown
KEPT = CheckpointOutcome(False, frozenset({"inspect", "export"}))  # `export` copies weights without looking at them
TRAINED_FROM = CheckpointOutcome(False, frozenset({"inspect", "export", "init"}))  # the weights alone are taken
IMPORTED = CheckpointOutcome(False, frozenset({"inspect", "read_in"}))  # what is odd may be left out
MAY_BE_SOUND = CheckpointOutcome(False, frozenset({"inspect", "gen", "compact", "export"}))  # random damage
