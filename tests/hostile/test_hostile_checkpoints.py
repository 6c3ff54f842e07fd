"""Hostile checkpoints: no command that takes one runs what is in it, hangs, eats memory, prints a traceback, or writes.

The corpus is opened in a process of its own (`open_checkpoints`), since a file that wins would end or swell this one.
"""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile import (
    hostile_containers,
    hostile_contents,
    hostile_detectors,
    hostile_pickles,
    hostile_safetensors,
    hostile_statistics,
)
from tests.hostile.open_checkpoints import EVERY, SECONDS, SNAPSHOT, detector, read_in
from tests.hostile.pickle_makers import MARK, pickled

ROOT = Path(__file__).parents[2]
MOST_GROWN = 300  # MiB
COMMANDS = sorted({command.__name__ for command in (*EVERY, *SNAPSHOT, detector, read_in)})
INERT = ("torch.load", "torch storage bytes")  # calls that torch itself has become too careful for


@pytest.fixture(scope="module")
def outcomes(heads, tmp_path_factory) -> list[dict]:
    """What came of each case and command (see `open_checkpoints`); if the process died, the last is where it did."""
    root = tmp_path_factory.mktemp("hostile")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PV3D_CACHE_DIR": str(root)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.open_checkpoints", str(root), str(heads)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (found[-1:], done.stderr[-3000:])
    return found


def fault(outcome: dict) -> str | None:
    """Return what is wrong with the end of a command, if anything is."""
    lines = [line for line in outcome["said"].splitlines() if line.strip()]
    if outcome["trace"] or "Traceback" in outcome["said"]:
        return "a traceback, or too long"
    if outcome["ran"]:
        return "something was run"
    if outcome["grown"] > MOST_GROWN or outcome["seconds"] > SECONDS:
        return "too much memory or time"
    if not all(line.isprintable() for line in lines):
        return "commands to the terminal"
    if outcome["status"] == 0:
        return None if outcome["sound"] or outcome["may_end_well"] else "no refusal"
    if outcome["sound"]:
        return "a refusal"
    if outcome["status"] != 2 or len(lines) != 1 or not lines[0].startswith("Error: "):
        return "no single sentence"
    return "files left behind" if outcome["left"] else None


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_ends_well_or_with_a_sentence(command, outcomes):
    ended = [outcome for outcome in outcomes if outcome["command"] == command]
    faults = {outcome["name"]: (fault(outcome), outcome) for outcome in ended if fault(outcome)}
    assert ended and faults == {}


def test_the_corpus_is_large_and_has_sound_files(outcomes):
    names = {outcome["name"] for outcome in outcomes}
    assert len(names) > 400
    assert {outcome["name"] for outcome in outcomes if outcome["sound"]} == {
        f"{kind}: good" for kind in ("snapshot", "safetensors", "statistics", "reference", "state", "script")
    }


def test_no_name_is_used_twice(snapshot):
    cases = [
        *hostile_pickles.CASES,
        *hostile_containers.CASES,
        *hostile_contents.cases(snapshot),
        *hostile_safetensors.cases(snapshot),
        *hostile_statistics.CASES,
        *hostile_detectors.CASES,
    ]
    names = [case.name for case in cases]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("name, call, expected", [row for row in hostile_pickles.CALLS if row[0] not in INERT])
def test_the_calls_are_attacks(tmp_path, name, call, expected):
    """What pickle itself makes of the calls."""
    mark = tmp_path / MARK
    try:
        pickle.loads(pickled(call(mark)))
    except Exception as error:  # behind the call
        print(name, error)
    for _ in range(500):  # the one that starts a process
        if mark.exists():
            break
        os.sched_yield()
    assert mark.exists()
