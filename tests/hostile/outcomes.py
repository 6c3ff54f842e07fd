"""What shall come of a hostile dataset."""

from typing import NamedTuple


class Outcome(NamedTuple):
    """Status of opening the dataset (`train.py --dry-run`), of `dataset_tool.py check`; whether all frames read."""

    opening: int
    check: int
    reads: bool


FINE = Outcome(0, 0, True)  # harmless: some files more, links inside
FLAGGED = Outcome(0, 1, True)  # training could use it, check names what is odd
BROKEN = Outcome(0, 1, False)  # a frame is broken
LISTED = Outcome(2, 1, False)  # does not open; check names all such places
REFUSED = Outcome(2, 2, False)  # no dataset
ANY = None  # random damage: any of these, as long as it is one of them
