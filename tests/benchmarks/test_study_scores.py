"""benchmarks/study_scores.py: the numbers of calc_metrics.py, found once, of the snapshot that was trained."""

import json
import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner

import calc_metrics
from benchmarks import study_scores
from benchmarks.study_scores import Scoring, Trained, score_missing, scores_file
from dnnlib.errors import UserError
from dnnlib.files import file_checksum

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def trained(snapshot, tmp_path) -> Trained:
    """A snapshot in a folder of its own."""
    path = tmp_path / snapshot.name
    shutil.copyfile(snapshot, path)
    return Trained(kimg=2.0, path=path, sha256=file_checksum(path))


@pytest.fixture
def scoring(heads, tmp_path) -> Scoring:
    return Scoring(
        data=heads,
        fingerprint="of heads",
        metrics=("we2",),
        detector="random",
        folder=None,
        cache=tmp_path / "cache",
        code="scorer",
        threads=1,
    )


def test_scores_are_those_of_the_metrics_command(trained, scoring, heads, tmp_path):
    score_missing(trained, scoring)
    given = [f"--network={trained.path}", f"--data={heads}", "--metrics=we2", "--detector=random", "--no-cache"]
    result = CliRunner().invoke(calc_metrics.main, [*given, f"--out={tmp_path / 'scores.jsonl'}", "--device=cpu"])
    assert result.exit_code == 0, result.output
    line = json.loads((tmp_path / "scores.jsonl").read_text())
    assert scoring.scores(trained)["we2"].value == line["value"] > 0


def test_what_is_scored_is_not_scored_again(trained, scoring, monkeypatch):
    asked = []
    evaluate = study_scores.evaluate

    def watched(requests, *others):
        asked.append([request.metric for request in requests])
        return evaluate(requests, *others)

    monkeypatch.setattr(study_scores, "evaluate", watched)
    score_missing(trained, scoring)
    score_missing(trained, scoring)
    score_missing(trained, replace(scoring, metrics=("we2", "cd2")))
    score_missing(trained, replace(scoring, code="another scorer"))
    assert asked == [["we2"], ["cd2"], ["we2"]]


def test_a_line_that_was_cut_short_does_not_count(trained, scoring):
    score_missing(trained, scoring)
    text = scores_file(trained).read_text()
    scores_file(trained).write_text(text[: len(text) // 2])
    assert scoring.missing(trained) == ["we2"]
    score_missing(trained, scoring)
    assert scoring.missing(trained) == []


def test_a_snapshot_that_was_replaced_is_refused(trained, scoring):
    with pytest.raises(UserError, match="has changed since it was trained"):
        score_missing(replace(trained, sha256="0" * 64), scoring)


def test_what_real_heads_have_comes_from_the_details():
    line = {"value": 3.0, "details": {"floor": 2.0, "procedural": None}, "detector_checksum": "ab"}
    assert study_scores._score(line) == study_scores.Score(value=3.0, target=2.0, instrument="ab")
    assert study_scores._score({"value": 3.0, "details": {"floor": 2.0, "procedural": 0.5}}).target == 0.5
    assert study_scores._score({"value": 3.0, "details": {}}).target is None
