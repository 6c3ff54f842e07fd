"""Results of stages, kept in a work folder: each is there as a whole or not at all, and known by what it was made from.

The result of a stage for an item (a video, a clip) is a folder `<item>/<stage>-<key>`, where the key stands for
everything that went into it: the version of the stage's code, its options, and the keys of the results before it. So a
changed option makes that stage and what follows anew, and nothing else; and what was killed is not there.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnnlib.files import atomic_folder, read_json, storage_errors, write_json

KEY_DIGITS = 16
COST_FILE = "cost.json"


def key_of(*parts: Any) -> str:
    """Return a key for whatever JSON can hold."""
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]


def core_seconds() -> float:
    """Return the time that cores have worked for this process and those that it has waited for, such as ffmpeg."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@dataclass
class Cost:
    """What a stage has taken for an item."""

    frames: int = 0
    seconds: float = 0.0  # of a core


class StageCache:
    """The results of one item below a work folder.

    Args:
        root: the work folder.
        item: a path below it.
    """

    def __init__(self, root: Path, item: str):
        self._item = root / item

    def find(self, stage: str, key: str) -> Path | None:
        """Return the folder of a stage's result; None if it is not there."""
        place = self._place(stage, key)
        return place if place.is_dir() else None

    @contextlib.contextmanager
    def making(self, stage: str, key: str) -> Iterator[tuple[Path, Cost]]:
        """Make a stage's result: the block fills a folder, and says what it took (by default its own time).

        Older results of the stage, and what killed processes have left of them, are removed at the end.
        """
        place = self._place(stage, key)
        cost = Cost()
        started = core_seconds()
        with storage_errors(place):
            place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(place) as folder:
            yield folder, cost
            seconds = cost.seconds or core_seconds() - started
            write_json(folder / COST_FILE, {"frames": cost.frames, "seconds": seconds})
        self._forget(stage, but=place)

    def cost(self, stage: str, key: str) -> Cost:
        """Return what a stage that has been done has taken, in this run or an earlier one."""
        return Cost(**read_json(self._place(stage, key) / COST_FILE))

    def _place(self, stage: str, key: str) -> Path:
        return self._item / f"{stage}-{key}"

    def _forget(self, stage: str, but: Path) -> None:
        for path in [*self._item.glob(f"{stage}-*"), *self._item.glob(f".{stage}-*")]:
            if path != but:
                shutil.rmtree(path, ignore_errors=True)
