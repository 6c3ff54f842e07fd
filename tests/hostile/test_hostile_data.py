"""No dataset, picture, video or JSON runs code, hangs, takes memory or ends in a traceback, whatever it says it is."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dnnlib.errors import UserError
from tests.hostile import hostile_data, hostile_indexes, hostile_sources
from training.runs.folder import OPTIONS, RunOptions

ROOT = Path(__file__).parents[2]
MOST_MEMORY, MOST_FFMPEG = 200, 500  # MiB: beyond what the process had before a case; of ffmpeg as a whole
PATIENCE = 300  # seconds for a whole corpus, on a busy machine
CORPORA = {"datasets": hostile_data.CASES, "sources": hostile_sources.CASES}


@pytest.fixture(scope="module", params=CORPORA)
def results(request, tmp_path_factory) -> tuple[dict, list[dict]]:
    """A corpus, and what every command made of each case of it, opened in a process of its own."""
    root = tmp_path_factory.mktemp(request.param)
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.open_data", request.param, root],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=PATIENCE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert os.listdir(root) == []
    return CORPORA[request.param], [json.loads(line) for line in done.stdout.splitlines()]


def faults(results: tuple[dict, list[dict]], find: Callable[[dict], object]) -> dict:
    """{(case, command): what `find` says of it} where it says anything."""
    return {(one["name"], one["command"]): found for one in results[1] if (found := find(one))}


def sentences(one: dict) -> list[str]:
    return [line for line in one["said"].splitlines() if line.startswith("Error: ")]


def test_the_corpus_is_large_and_wholly_tried(results):
    cases, ended = results
    commands = {one["command"] for one in ended}
    assert len(cases) >= 80 and len(commands) >= 2
    assert {(one["name"], one["command"]) for one in ended} == {(name, way) for name in cases for way in commands}


def test_every_case_ends_as_it_shall(results):
    """Status 2 for what is refused, 1 for what `check` finds, 0 for what is harmless; never a traceback or a hang."""
    wanted = {
        "check": lambda outcome: {outcome.check},
        "dry_run": lambda outcome: {outcome.opening},
        "score": lambda outcome: {2},
        "read": lambda outcome: {0 if outcome.reads else 2},
        "convert": lambda outcome: {outcome.convert},
        "watch": lambda outcome: {0 if outcome.watch else 2},
    }

    def wrong(one: dict) -> object:
        outcome = results[0][one["name"]][0]
        allowed = {0, 1, 2} if outcome is None else wanted[one["command"]](outcome)
        bad = one["trace"] or "Traceback" in one["said"] or one["status"] not in allowed
        return bad and (one["status"], allowed, one["said"], one["trace"])

    assert faults(results, wrong) == {}


def test_who_is_refused_is_told_in_one_sentence(results):
    def wrong(one: dict) -> object:
        said = sentences(one)
        if one["status"] != 2:
            return said
        whole = all(line.isprintable() and line.rstrip(")").endswith(".") and len(line) < 1500 for line in said)
        return not (whole and (len(said) == 1 or one["command"] == "read" and said)) and one["said"]

    assert faults(results, wrong) == {}


def test_findings_are_printable_lines(results):
    def wrong(one: dict) -> object:
        lines = [line for line in one["said"].splitlines() if line.startswith(("broken: ", "note: "))]
        return [line for line in lines if not line.isprintable()] or (
            one["command"] == "check" and one["status"] == 1 and "problem" not in one["said"] and one["said"]
        )

    assert faults(results, wrong) == {}
    assert faults(results, lambda one: "Warning" in one["said"] and one["said"]) == {}


def test_memory_is_bounded(results):
    assert faults(results, lambda one: one["grown"] > MOST_MEMORY and one["grown"]) == {}
    assert faults(results, lambda one: one["ffmpeg"] > MOST_FFMPEG and one["ffmpeg"]) == {}


def test_nothing_is_changed_left_or_called(results):
    """The input stays as it was, only a conversion that ended well leaves anything, and no server is asked."""
    assert faults(results, lambda one: one["changed"]) == {}
    made = {0: ["made"]}
    assert (
        faults(
            results,
            lambda one: (
                one["left"] != (made if one["command"] == "convert" else {}).get(one["status"], []) and one["left"]
            ),
        )
        == {}
    )
    assert faults(results, lambda one: one["callers"]) == {}


@pytest.mark.parametrize("name", hostile_indexes.CASES)
def test_hostile_training_options_are_a_sentence(tmp_path, name):
    (tmp_path / OPTIONS).write_bytes(hostile_indexes.CASES[name][1]())
    with pytest.raises(UserError) as caught:
        RunOptions.load(tmp_path)
    assert str(caught.value).isprintable()
