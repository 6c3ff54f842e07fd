"""No dataset, picture, video or JSON runs code, hangs, takes memory or ends in a traceback, whatever it says it is.

Every corpus is opened in a process of its own (`open_data`), since a file that wins would end or swell this one.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dnnlib.errors import UserError
from tests.hostile import hostile_data, hostile_indexes, hostile_sources
from tests.hostile.outcomes import DatasetOutcome, SourceOutcome
from training.runs.options import OPTIONS, RunOptions

ROOT = Path(__file__).parents[2]
MOST_MEMORY = 200  # MiB beyond what the process had before a case
MOST_FFMPEG = 700  # MiB of ffmpeg as a whole, or of the process that starts it: 560 with torch 2.4 for CUDA
MOST_SECONDS = 300  # for a whole corpus, on a busy machine
LONGEST_SENTENCE = 1500  # characters
ABOUT_CAMERAS = re.compile(r"Warning: \d+ of \d+ cameras of .* look wrong, [^.]+")
CORPORA = {"datasets": hostile_data.CASES, "sources": hostile_sources.CASES}


class Results(NamedTuple):
    """What is expected of each case, by name; what came of it under every command (see `open_data`)."""

    expected: dict[str, DatasetOutcome | SourceOutcome | None]
    ended: list[dict]

    def faults(self, find: Callable[[dict], Any]) -> dict:
        """Return {(case, command): what `find` returns for its end} where that is anything."""
        found = {(end["name"], end["command"]): find(end) for end in self.ended}
        return {key: fault for key, fault in found.items() if fault}


@pytest.fixture(scope="module", params=CORPORA)
def results(request, tmp_path_factory) -> Results:
    """What came of a corpus."""
    root = tmp_path_factory.mktemp(request.param)
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.open_data", request.param, root],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=MOST_SECONDS,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert os.listdir(root) == []
    expected = {case.name: case.expected for case in CORPORA[request.param]}
    return Results(expected, [json.loads(line) for line in done.stdout.splitlines()])


@pytest.mark.parametrize("kind", CORPORA)
def test_no_name_is_used_twice(kind):
    names = [case.name for case in CORPORA[kind]]
    assert sorted(set(names)) == sorted(names)


def test_the_corpus_is_large_and_wholly_tried(results):
    commands = {end["command"] for end in results.ended}
    assert len(results.expected) >= 80 and len(commands) >= 2
    tried = {(end["name"], end["command"]) for end in results.ended}
    assert tried == {(name, command) for name in results.expected for command in commands}


def expected_status(command: str, outcome: DatasetOutcome | SourceOutcome) -> int:
    """Return the status that a command is expected to end with."""
    if isinstance(outcome, DatasetOutcome):
        read_status = 0 if outcome.reads else 2
        statuses = {"check": outcome.check, "dry_run": outcome.opening, "score": 2, "read": read_status}
    else:
        statuses = {"convert": outcome.convert, "decode": 0 if outcome.scored else 2}
    return statuses[command]


def test_every_case_ends_as_expected(results):
    """Status 2 for what is refused, 1 for what `check` finds, 0 for what is harmless; never a traceback or a hang."""

    def wrong(end: dict) -> tuple | None:
        outcome = results.expected[end["name"]]
        allowed = {0, 1, 2} if outcome is None else {expected_status(end["command"], outcome)}
        if end["trace"] or "Traceback" in end["said"] or end["status"] not in allowed:
            return end["status"], allowed, end["said"], end["trace"]
        return None

    assert results.faults(wrong) == {}


def is_sentence(line: str) -> bool:
    """Whether a line is one printable sentence."""
    return line.isprintable() and line.rstrip(")").endswith(".") and len(line) < LONGEST_SENTENCE


def test_a_refusal_is_one_sentence(results):
    """Every frame that is read and refused has a sentence of its own."""

    def wrong(end: dict) -> object:
        sentences = [line for line in end["said"].splitlines() if line.startswith("Error: ")]
        if end["status"] != 2:
            return sentences
        right_number = len(sentences) == 1 or (sentences and end["command"] == "read")
        return None if right_number and all(map(is_sentence, sentences)) else end["said"]

    assert results.faults(wrong) == {}


def test_findings_are_printable_lines(results):
    def unprintable(end: dict) -> list[str]:
        findings = [line for line in end["said"].splitlines() if line.startswith(("broken: ", "note: "))]
        return [line for line in findings if not line.isprintable()]

    assert results.faults(unprintable) == {}


def test_check_counts_the_problems_and_nothing_else_warns(results):
    def uncounted(end: dict) -> bool:
        return end["command"] == "check" and end["status"] == 1 and "problem" not in end["said"]

    def unexpected(end: dict) -> list[str]:
        """Warnings that are not about cameras."""
        return [line for line in end["said"].splitlines() if "Warning" in line and not ABOUT_CAMERAS.match(line)]

    assert results.faults(uncounted) == {}
    assert results.faults(unexpected) == {}


def test_memory_is_bounded(results):
    assert results.faults(lambda end: end["grown"] > MOST_MEMORY and end["grown"]) == {}
    assert results.faults(lambda end: end["ffmpeg"] > MOST_FFMPEG and end["ffmpeg"]) == {}


def test_nothing_is_changed_left_or_called(results):
    """The input stays as it was, only a conversion that ended well leaves anything, and no server is asked."""

    def left(end: dict) -> list[str] | None:
        converted = end["command"] == "convert" and end["status"] == 0
        expected = ["made"] if converted else []
        return end["left"] if end["left"] != expected else None

    assert results.faults(lambda end: end["changed"]) == {}
    assert results.faults(left) == {}
    assert results.faults(lambda end: end["callers"]) == {}


@pytest.mark.parametrize("content", [pytest.param(row[1], id=row[0]) for row in hostile_indexes.ROWS])
def test_hostile_training_options_are_a_sentence(tmp_path, content):
    (tmp_path / OPTIONS).write_bytes(content())
    with pytest.raises(UserError) as caught:
        RunOptions.load(tmp_path)
    assert str(caught.value).isprintable()
