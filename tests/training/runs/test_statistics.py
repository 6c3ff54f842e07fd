"""training.runs.folder: statistics as JSON and TensorBoard's events, whatever a killed process left of them."""

import contextlib
import errno
import json
import resource
import sys
import time

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


def ignored(line: str) -> None:
    raise AssertionError(f"no warning: {line}")


def test_tensorboard_gets_the_same_and_forgets_what_a_killed_run_wrote(run):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    for start, ticks in ((0, (2000, 4000, 6000)), (2000, (4000, 8000))):
        with RunFolder(run.path) as again:
            again.open_writers(Progress(clips=start), ignored)
            for clips in ticks:
                again.log(Progress(clips=clips), {"loss/g": float(clips)})
        time.sleep(1.0)  # files are read by the seconds in their names: a count behind them does not sort
    events = accumulator(str(run.path)).Reload().Scalars("loss/g")
    assert [(event.step, event.value) for event in events] == [(2000, 2000), (4000, 4000), (8000, 8000)]


def test_a_run_without_tensorboard_says_nothing(run, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with run:
        run.open_writers(Progress(), ignored)
        run.log(Progress(), {"x": 1.0})
        run.log(Progress(), {"x": 2.0})
    assert [path.name for path in run.path.iterdir()] == ["stats.jsonl"]


class Broken:
    """In place of TensorBoard: fails at its import."""

    def __init__(self, error: BaseException):
        self.error = error

    def __getattr__(self, name: str):
        raise self.error


OLD_PROTOBUF = TypeError(
    "Descriptors cannot be created directly.\nDowngrade the protobuf package."
)  # in generated code


@pytest.mark.parametrize(
    "error, said",
    [
        (OLD_PROTOBUF, "TypeError: Descriptors cannot be created directly. Downgrade the protobuf package."),
        (SystemExit("This CPU is not supported."), "SystemExit: This CPU is not supported."),
    ],
)
def test_a_broken_tensorboard_is_one_warning_before_training(run, monkeypatch, error, said):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", Broken(error))
    warnings: list[str] = []
    with run:
        run.open_writers(Progress(), warnings.append)
        assert warnings == [
            f"TensorBoard's events are no longer written to {run.path} ({said}); stats.jsonl holds the same."
        ]
        run.log(Progress(), {"x": 1.0})
    assert len(warnings) == 1 and (run.path / "stats.jsonl").exists()


def test_a_name_that_tensorboard_cannot_write_is_one_warning(tmp_path):
    """Such as any with an umlaut in an ASCII locale, where Python keeps its bytes as surrogates."""
    pytest.importorskip("tensorboard")
    run = RunFolder(tmp_path / "r\udcc3\udcbcn")
    run.path.mkdir()
    warnings: list[str] = []
    with run:
        run.open_writers(Progress(), warnings.append)
        run.log(Progress(), {"x": 1.0})
    assert len(warnings) == 1 and "UnicodeEncodeError" in warnings[0]


def test_a_run_that_wrote_nothing_but_options_and_events_goes(run):
    pytest.importorskip("tensorboard")
    with run:
        (run.path / "training_options.json").write_text("{}")
        run.open_writers(Progress(), ignored)
    assert not run.path.exists()


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


@pytest.mark.parametrize("most", [40_000, 1000])
def test_tensorboard_on_a_full_disk_is_one_warning(run, capfd, most):
    """Events take more room than a line of stats.jsonl. The end of a run writes those that wait, and fails likewise."""
    pytest.importorskip("tensorboard")
    stats = dict.fromkeys(map(str, range(40)), 1.0)
    warnings: list[str] = []
    with no_file_above(most), run:
        run.open_writers(Progress(), warnings.append)
        for _ in range(most // 1000):
            run.log(Progress(clips=2000), stats)
    assert len(warnings) == 1 and "File too large" in warnings[0]
    assert len((run.path / "stats.jsonl").read_text().splitlines()) == most // 1000
    assert "Traceback" not in capfd.readouterr().err, "nor by TensorBoard's thread"


@pytest.mark.parametrize("junk", [b"\xff\xfe", b"5", b"[]", b'{"kimg": 1}', b'{"iteration": "1"}', b'{"iteration": 1'])
def test_junk_in_the_statistics_goes(run, junk):
    run.log(Progress(clips=2, iteration=1), {})
    good = (run.path / "stats.jsonl").read_bytes()
    run.log(Progress(clips=6, iteration=3), {})
    with open(run.path / "stats.jsonl", "ab") as file:
        file.write(junk)
    run.rewind(2)
    assert (run.path / "stats.jsonl").read_bytes() == good
