"""metrics.in_training: lines appended, the best snapshot kept, the same numbers as on the file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import calc_metrics
from dnnlib.errors import UserError
from metrics import in_training
from metrics.in_training import SnapshotScores
from metrics.options import EvaluationOptions
from metrics.protocols import parse_requests
from metrics.results import Result
from training.checkpoints.opener import load_generator
from training.checkpoints.snapshots import Snapshot
from training.data.dataset import ClipDataset

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def shown(snapshot) -> Snapshot:
    return load_generator(snapshot)


def at(shown: Snapshot, kimg: float) -> Snapshot:
    return replace(shown, progress={"kimg": kimg})


def give_values(monkeypatch, *values: float) -> None:
    """Let every evaluation give the next value for each metric."""
    remaining = iter(values)

    def evaluate(requests, subject, options) -> list[Result]:
        value = next(remaining)
        return [
            Result(
                metric=request.metric,
                value=value,
                standard_error=None,
                samples=1,
                seconds=0.0,
                protocol={},
                source={},
            )
            for request in requests
        ]

    monkeypatch.setattr(in_training, "evaluate", evaluate)


def start(folder: Path, first: Snapshot, metrics: str = "cd2,we2", **options) -> SnapshotScores:
    """Start the scores of a run that goes on with `first`."""
    return SnapshotScores(parse_requests(metrics), EvaluationOptions(**options), folder, first)


def write(folder: Path, number: int, content: str) -> Path:
    path = folder / f"network-snapshot-{number}.pkl"
    path.write_text(content)
    return path


def lines(folder: Path) -> list[dict]:
    text = (folder / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def scored(folder: Path) -> str:
    """Return the number of the snapshot of each line."""
    files = [Path(line["file"]).stem for line in lines(folder)]
    return "".join(name[-1] for name in files)


def best(folder: Path) -> str:
    return (folder / "best-snapshot.pkl").read_text()


@pytest.mark.parametrize(
    "metrics, number",
    [
        ("cd2,id-dlib2", "1"),
        ("id-dlib2,cd2", "2"),
        ("motion2,we2", "1"),
    ],
)
def test_the_best_snapshot_is_kept(shown, tmp_path, monkeypatch, metrics, number):
    give_values(monkeypatch, 3.0, 1.0, 4.0, float("nan"), 2.0)
    for index in range(5):
        scores = start(tmp_path, shown, metrics)  # as after resuming
        scores(shown, write(tmp_path, index, str(index)))
    assert best(tmp_path) == number
    assert scored(tmp_path) == "0011223344"
    assert lines(tmp_path)[0]["file"] == "network-snapshot-0.pkl"
    assert lines(tmp_path)[0]["kimg"] == 2.0


def test_scores_leave_out_the_search_for_convolutions_that_training_makes(shown, tmp_path, monkeypatch):
    searches = []
    monkeypatch.setattr(in_training, "evaluate", lambda *_: searches.append(torch.backends.cudnn.benchmark) or [])
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    start(tmp_path, shown)(shown, write(tmp_path, 1, "one"))
    assert searches == [False]
    assert torch.backends.cudnn.benchmark


def test_scores_are_reported(shown, tmp_path, monkeypatch):
    give_values(monkeypatch, 3.0)
    told: list[dict[str, float]] = []
    requests = parse_requests("cd2,we2")
    SnapshotScores(requests, EvaluationOptions(), tmp_path, shown, told.append)(shown, write(tmp_path, 1, "one"))
    assert told == [{"metrics/cd2": 3.0, "metrics/we2": 3.0}]


def test_nothing_is_best_by_motion(shown, tmp_path, monkeypatch):
    give_values(monkeypatch, 1.0)
    scores = start(tmp_path, shown, "motion2")
    scores(shown, tmp_path / "missing.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


TORN_LINES = (
    '{"metric": "cd2", "va',
    "5\n",
    '{"metric": "cd2", "value": "0"}\n{"metric": "cd2", "value": 0}\n',
)


def test_a_line_that_was_cut_short_stops_no_later_snapshot(shown, tmp_path, monkeypatch):
    give_values(monkeypatch, 3.0, 1.0, 2.0)
    scores = start(tmp_path, shown)
    for number, text in enumerate(TORN_LINES):
        scores(shown, write(tmp_path, number, str(number)))
        with (tmp_path / "metrics.jsonl").open("a") as file:
            file.write(text)
    assert best(tmp_path) == "1"
    start(tmp_path, shown)
    assert scored(tmp_path) == "001122"


def test_a_run_that_goes_on_from_an_earlier_state_scores_no_snapshot_twice(shown, tmp_path, monkeypatch):
    give_values(monkeypatch, 3.0, 2.0, 1.0, 2.5, 4.0)
    for number, kimg in enumerate((2.0, 2.1, 2.2)):
        snapshot = at(shown, kimg)
        scores = start(tmp_path, snapshot)
        scores(snapshot, write(tmp_path, number, f"{number} at {kimg}"))
    assert scored(tmp_path) == "001122"
    assert best(tmp_path) == "2 at 2.2"

    scores = start(tmp_path, at(shown, 2.1))
    assert scored(tmp_path) == "0011"
    assert best(tmp_path) == "1 at 2.1"

    scores = start(tmp_path, at(shown, 2.0))
    scores(at(shown, 2.15), write(tmp_path, 1, "1 at 2.15"))
    assert scored(tmp_path) == "0011"
    assert best(tmp_path) == "1 at 2.15"

    # The file is deleted, so that a run that goes on behind it makes it again: with a score that is worse.
    scores = start(tmp_path, at(shown, 2.15))
    scores(at(shown, 2.15), write(tmp_path, 1, "1 again"))
    assert scored(tmp_path) == "0011"
    assert best(tmp_path) == "0 at 2.0"


def values(texts: list[str]) -> dict[str, float]:
    found = [json.loads(text) for text in texts if text.startswith("{")]
    return {line["metric"]: line["value"] for line in found}


def test_numbers_are_those_of_the_command_on_the_file(shown, snapshot, heads, tmp_path):
    scores = start(
        tmp_path,
        shown,
        "we2,fvd2_9f",
        dataset=ClipDataset(heads),
        detector_weights="random",
    )
    scores(shown, snapshot)
    here = (tmp_path / "metrics.jsonl").read_text()
    command = [
        "--metrics=we2,fvd2_9f",
        f"--network={snapshot}",
        f"--data={heads}",
        "--detector=random",
        "--no-cache",
        "--device=cpu",
    ]
    there = CliRunner().invoke(calc_metrics.main, command, catch_exceptions=False).stdout
    assert values(here.splitlines()) == values(there.splitlines())


def test_what_is_missing_is_named_before_training(shown, tmp_path):
    with pytest.raises(UserError, match="--data"):
        start(tmp_path, shown, "fvd2_9f", detector_weights="random")
