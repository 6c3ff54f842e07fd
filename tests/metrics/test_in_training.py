"""Metrics at every snapshot of a run: lines appended, the best snapshot kept, the same numbers as on the file."""

import json

import pytest
from click.testing import CliRunner

import calc_metrics
from dnnlib.errors import UserError
from metrics import in_training
from metrics.in_training import SnapshotScores
from metrics.protocols import parse_requests
from metrics.results import Result
from metrics.setting import Setting
from training.dataset import ClipDataset
from training.snapshots import load_generator

pytestmark = pytest.mark.usefixtures("one_thread")


def scripted(monkeypatch, values):
    """Every evaluation gives the next value for each metric."""
    steps = iter(values)

    def evaluate(requests, subject, setting):
        value = next(steps)
        return [Result(request.metric, value, None, 1, 0.0, {}, {}) for request in requests]
    monkeypatch.setattr(in_training, "evaluate", evaluate)


@pytest.mark.parametrize("metrics, best", [("cd2,id-dlib2", 1), ("id-dlib2,cd2", 2), ("motion2,we2", 1)])
def test_the_best_snapshot_is_kept(snapshot, tmp_path, monkeypatch, metrics, best):
    values = [3.0, 1.0, 4.0, float("nan"), 2.0]
    scripted(monkeypatch, values)
    shown = load_generator(snapshot)
    for index in range(len(values)):
        scores = SnapshotScores(parse_requests(metrics), Setting(), tmp_path, shown)     # as after resuming
        path = tmp_path / f"network-snapshot-{index}.pkl"
        path.write_text(str(index))
        scores(shown, path)
    assert (tmp_path / "best-snapshot.pkl").read_text() == str(best)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 10 and lines[0]["file"] == "network-snapshot-0.pkl" and lines[0]["kimg"] == 2.0


def test_nothing_is_best_by_motion(snapshot, tmp_path, monkeypatch):
    scripted(monkeypatch, [1.0])
    shown = load_generator(snapshot)
    SnapshotScores(parse_requests("motion2"), Setting(), tmp_path, shown)(shown, tmp_path / "missing.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_numbers_are_those_of_the_command_on_the_file(snapshot, heads, tmp_path):
    shown = load_generator(snapshot)
    setting = Setting(ClipDataset(heads), weights="random")
    SnapshotScores(parse_requests("we2,fvd2_9f"), setting, tmp_path, shown)(shown, snapshot)
    here = {line["metric"]: line["value"] for line in map(json.loads, (tmp_path / "metrics.jsonl").open())}
    done = CliRunner().invoke(calc_metrics.main, [
        "--metrics=we2,fvd2_9f", f"--network={snapshot}", f"--data={heads}", "--detector=random", "--no-cache",
        "--device=cpu"], catch_exceptions=False)
    there = {line["metric"]: line["value"] for line in (json.loads(line) for line in done.stdout.splitlines()
                                                        if line.startswith("{"))}
    assert here == there


def test_what_is_missing_is_told_before_training(snapshot, tmp_path):
    with pytest.raises(UserError, match="--data"):
        SnapshotScores(parse_requests("fvd2_9f"), Setting(weights="random"), tmp_path, load_generator(snapshot))
