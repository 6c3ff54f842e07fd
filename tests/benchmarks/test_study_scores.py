"""benchmarks/study_scores.py: the numbers of calc_metrics.py, found once, of the snapshot that was trained."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import calc_metrics
from benchmarks import study_scores
from benchmarks.study_rows import ROOT
from benchmarks.study_runs import SCORING_CODE
from benchmarks.study_scores import Scoring, Trained, score_missing, scores_file
from dnnlib.errors import UserError
from dnnlib.files import file_checksum
from metrics import per_video

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


def test_other_code_reads_nothing_that_the_one_before_found_of_videos(trained, scoring, monkeypatch):
    computed = []
    compute = per_video._compute_piece

    def watched(*given):
        computed.append(1)
        return compute(*given)

    monkeypatch.setattr(per_video, "_compute_piece", watched)
    score_missing(trained, scoring)
    once = len(computed)
    scores_file(trained).unlink()
    score_missing(trained, scoring)
    assert len(computed) == once > 0
    score_missing(trained, replace(scoring, code="another scorer"))
    assert len(computed) == 2 * once


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


def test_all_code_that_scores_is_in_its_fingerprint():
    script = "import sys, benchmarks.study_scores; print(*(getattr(m, '__file__', '') for m in sys.modules.values()))"
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    own = {ROOT / part for part in ("benchmarks", *SCORING_CODE)}
    files = [Path(name) for name in found.split() if name.startswith(str(ROOT)) and "/." not in name]
    assert len(files) > 50
    assert not [file for file in files if not own & {file, *file.parents}]
