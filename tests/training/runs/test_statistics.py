"""training.runs.folder: statistics as JSON and TensorBoard's events, whatever a killed process left of them."""

import contextlib
import errno
import json
import resource
import sys
import threading

import pytest

from dnnlib.errors import UserError
from training.runs.folder import RunFolder
from training.runs.progress import Progress


@pytest.fixture
def run(tmp_path) -> RunFolder:
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


def test_statistics_are_json_whatever_happens(run):
    stats = {"loss/g": float("nan"), "loss/d": float("inf"), "x": 1.5}
    run.log(Progress(clips=2000, iteration=5, seconds=1.23456), stats)
    run.log(Progress(clips=4000, iteration=9), {"x": 2.5})

    def no_constant(name):
        raise AssertionError(f"{name} is not JSON")

    lines = (run.path / "stats.jsonl").read_text().splitlines()
    first, second = (json.loads(line, parse_constant=no_constant) for line in lines)
    assert first["kimg"] == 2.0
    assert first["iteration"] == 5
    assert first["seconds"] == 1.235
    assert first["x"] == 1.5
    assert first["loss/g"] is None
    assert first["loss/d"] is None
    assert second["x"] == 2.5
    assert second["timestamp"] >= first["timestamp"]


def test_tensorboard_gets_the_same_and_forgets_what_a_killed_run_wrote(run):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    for clips in ((2000, 4000, 6000), (4000, 8000)):  # goes on from 2000
        with RunFolder(run.path) as start:
            for number in clips:
                start.log(Progress(clips=number), {"loss/g": float(number)})
    events = accumulator(str(run.path)).Reload().Scalars("loss/g")
    assert [(event.step, event.value) for event in events] == [(2000, 2000), (4000, 4000), (8000, 8000)]


def test_tensorboard_is_not_needed(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with run:
        run.log(Progress(), {"x": 1.0})
        run.log(Progress(), {"x": 2.0})
    assert [path.name for path in run.path.iterdir()] == ["stats.jsonl"]


def test_statistics_on_a_full_disk(run, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(UserError, match="No space left to write .*stats.jsonl"):
        run.log(Progress(), {"x": 1.0})


@contextlib.contextmanager
def no_file_above(size: int):
    """Let no file have more than `size` bytes, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_tensorboard_on_a_full_disk(run, monkeypatch):
    """Events take more room than a line of stats.jsonl. The end of a run writes those that wait, and fails likewise."""
    pytest.importorskip("tensorboard")
    monkeypatch.setattr(threading, "excepthook", lambda problem: None)  # its thread prints what it raises
    stats = dict.fromkeys(map(str, range(40)), 1.0)
    with no_file_above(40_000), pytest.raises(UserError, match="No space left to write .*run/events.out.tfevents"):
        for _ in range(40):
            run.log(Progress(clips=2000), stats)
    more = RunFolder(run.path.with_name("more"))
    more.path.mkdir()
    with no_file_above(1000), pytest.raises(UserError, match="No space left to write .*more/events.out.tfevents"), more:
        more.claim()
        more.log(Progress(clips=2000), stats)
    with RunFolder(more.path) as other:
        other.claim()


@pytest.mark.parametrize("junk", [b"\xff\xfe", b"5", b"[]", b'{"kimg": 1}', b'{"iteration": "1"}', b'{"iteration": 1'])
def test_junk_in_the_statistics_goes(run, junk):
    run.log(Progress(clips=2, iteration=1), {})
    good = (run.path / "stats.jsonl").read_bytes()
    run.log(Progress(clips=6, iteration=3), {})
    with open(run.path / "stats.jsonl", "ab") as file:
        file.write(junk)
    run.rewind(2)
    assert (run.path / "stats.jsonl").read_bytes() == good
