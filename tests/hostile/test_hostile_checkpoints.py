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

from tests.hostile import hostile_pickles
from tests.hostile.open_checkpoints import EVERY, SECONDS, SNAPSHOT, detector, read_in

ROOT = Path(__file__).parents[2]
MOST_GROWN = 300  # MiB
COMMANDS = sorted({command.__name__ for command in (*EVERY, *SNAPSHOT, detector, read_in)})


@pytest.fixture(scope="module")
def outcomes(heads, tmp_path_factory) -> list[dict]:
    """What came of each case and command; the last one tells where the process died, if it did."""
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


def wrong(outcome: dict) -> str | None:
    """What is wrong with the end of a command; None: nothing."""
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
        return None if outcome["bears"] or outcome["name"].endswith(": good") else "no refusal"
    if outcome["name"].endswith(": good"):
        return "a refusal"
    if outcome["status"] != 2 or len(lines) != 1 or not lines[0].startswith("Error: "):
        return "no single sentence"
    return "files left behind" if outcome["left"] else None


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_ends_well_or_with_a_sentence(command, outcomes):
    mine = [outcome for outcome in outcomes if outcome["command"] == command]
    assert mine and {outcome["name"]: (wrong(outcome), outcome) for outcome in mine if wrong(outcome)} == {}


def test_the_corpus_is_large_and_has_sound_files(outcomes):
    names = {outcome["name"] for outcome in outcomes}
    assert len(names) > 400
    assert {name for name in names if name.endswith(": good")} == {
        f"{kind}: good" for kind in ("snapshot", "safetensors", "statistics", "reference", "state", "script")
    }


def test_the_attacks_are_attacks(tmp_path):
    """What pickle itself makes of the calls; torch.load and what rebuilds storages have grown careful themselves."""
    for name, value in hostile_pickles.calls(tmp_path / hostile_pickles.MARK).items():
        data = hostile_pickles.dumped(value)
        if name in ("torch.load", "torch storage bytes"):
            continue
        try:
            pickle.loads(data)
        except Exception as error:  # behind the call
            print(name, error)
        for _ in range(500):  # the one that starts a process
            if (tmp_path / hostile_pickles.MARK).exists():
                break
            os.sched_yield()
        assert (tmp_path / hostile_pickles.MARK).exists(), name
        (tmp_path / hostile_pickles.MARK).unlink()
