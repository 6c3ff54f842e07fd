"""Metrics at every snapshot of a run: lines appended, the best snapshot kept, the same numbers as on the file."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

import calc_metrics
from dnnlib.errors import UserError
from metrics import in_training
from metrics.in_training import SnapshotScores
from metrics.options import EvaluationOptions
from metrics.protocols import parse_requests
from metrics.results import Result
from training.checkpoints.opener import load_generator
from training.data.dataset import ClipDataset

pytestmark = pytest.mark.usefixtures("one_thread")


def scripted(monkeypatch, values):
    """Every evaluation gives the next value for each metric."""
    steps = iter(values)

    def evaluate(requests, subject, setting):
        value = next(steps)
        return [
            Result(
                metric=request.metric, value=value, standard_error=None, samples=1, seconds=0.0, protocol={}, source={}
            )
            for request in requests
        ]

    monkeypatch.setattr(in_training, "evaluate", evaluate)


@pytest.mark.parametrize("metrics, best", [("cd2,id-dlib2", 1), ("id-dlib2,cd2", 2), ("motion2,we2", 1)])
def test_the_best_snapshot_is_kept(snapshot, tmp_path, monkeypatch, metrics, best):
    values = [3.0, 1.0, 4.0, float("nan"), 2.0]
    scripted(monkeypatch, values)
    shown = load_generator(snapshot)
    for index in range(len(values)):
        scores = SnapshotScores(parse_requests(metrics), EvaluationOptions(), tmp_path, shown)  # as after resuming
        path = tmp_path / f"network-snapshot-{index}.pkl"
        path.write_text(str(index))
        scores(shown, path)
    assert (tmp_path / "best-snapshot.pkl").read_text() == str(best)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 10 and lines[0]["file"] == "network-snapshot-0.pkl" and lines[0]["kimg"] == 2.0


def score(folder, shown, number, kimg):
    """Of a start that goes on with `shown`, and comes to snapshot `number` at `kimg`."""
    scores = SnapshotScores(parse_requests("cd2,we2"), EvaluationOptions(), folder, shown)
    path = folder / f"network-snapshot-{number}.pkl"
    path.write_text(f"{number} at {kimg}")
    scores(replace(shown, progress={"kimg": kimg}), path)


def scored(folder):
    return [line["file"][-5] for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())]


def test_a_line_that_was_cut_short_stops_no_later_snapshot(snapshot, tmp_path, monkeypatch):
    scripted(monkeypatch, [3.0, 1.0, 2.0])
    shown = load_generator(snapshot)
    scores = SnapshotScores(parse_requests("cd2,we2"), EvaluationOptions(), tmp_path, shown)
    junk = ('{"metric": "cd2", "va', "5\n", '{"metric": "cd2", "value": "0"}\n', '{"metric": "cd2", "value": 0}\n')
    for number, text in enumerate(junk[:3]):
        path = tmp_path / f"network-snapshot-{number}.pkl"
        path.write_text(str(number))
        scores(shown, path)
        with (tmp_path / "metrics.jsonl").open("a") as file:
            file.write(text + junk[3] * (number == 2))
    assert (tmp_path / "best-snapshot.pkl").read_text() == "1"
    SnapshotScores(parse_requests("cd2,we2"), EvaluationOptions(), tmp_path, shown)
    assert scored(tmp_path) == ["0", "0", "1", "1", "2", "2"]


def test_a_run_that_goes_on_from_an_earlier_state_scores_no_snapshot_twice(snapshot, tmp_path, monkeypatch):
    scripted(monkeypatch, [3.0, 2.0, 1.0, 2.5, 4.0])
    shown = load_generator(snapshot)
    start = shown.progress["kimg"]
    for number, steps in enumerate((0.0, 0.1, 0.2)):
        score(tmp_path, replace(shown, progress={"kimg": start + steps}), number, start + steps)
    assert scored(tmp_path) == list("001122") and (tmp_path / "best-snapshot.pkl").read_text()[0] == "2"
    SnapshotScores(
        parse_requests("cd2,we2"), EvaluationOptions(), tmp_path, replace(shown, progress={"kimg": start + 0.1})
    )
    assert scored(tmp_path) == list("0011") and (tmp_path / "best-snapshot.pkl").read_text()[0] == "1"
    score(tmp_path, shown, 1, start + 0.15)
    assert scored(tmp_path) == list("0011")
    assert (tmp_path / "best-snapshot.pkl").read_text() == f"1 at {start + 0.15}", "of the new one"
    shown.progress["kimg"] = start + 0.15
    score(tmp_path, shown, 1, start + 0.15)  # its file was deleted, so it is made again
    assert scored(tmp_path) == list("0011") and (tmp_path / "best-snapshot.pkl").read_text()[0] == "0"


def test_nothing_is_best_by_motion(snapshot, tmp_path, monkeypatch):
    scripted(monkeypatch, [1.0])
    shown = load_generator(snapshot)
    SnapshotScores(parse_requests("motion2"), EvaluationOptions(), tmp_path, shown)(shown, tmp_path / "missing.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_numbers_are_those_of_the_command_on_the_file(snapshot, heads, tmp_path):
    shown = load_generator(snapshot)
    setting = EvaluationOptions(dataset=ClipDataset(heads), detector_weights="random")
    SnapshotScores(parse_requests("we2,fvd2_9f"), setting, tmp_path, shown)(shown, snapshot)
    here = {line["metric"]: line["value"] for line in map(json.loads, (tmp_path / "metrics.jsonl").open())}
    done = CliRunner().invoke(
        calc_metrics.main,
        [
            "--metrics=we2,fvd2_9f",
            f"--network={snapshot}",
            f"--data={heads}",
            "--detector=random",
            "--no-cache",
            "--device=cpu",
        ],
        catch_exceptions=False,
    )
    there = {
        line["metric"]: line["value"]
        for line in (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    }
    assert here == there


def test_what_is_missing_is_told_before_training(snapshot, tmp_path):
    with pytest.raises(UserError, match="--data"):
        SnapshotScores(
            parse_requests("fvd2_9f"), EvaluationOptions(detector_weights="random"), tmp_path, load_generator(snapshot)
        )
