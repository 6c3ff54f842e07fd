"""The page of a study says what was found, as plain text; the command goes on where it was, whatever was killed."""

import html
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import study, study_page, study_runs
from benchmarks.study_costs import Cost
from benchmarks.study_page import Findings, RowResult, RunResult
from benchmarks.study_rows import ROOT, ROWS, Row
from benchmarks.study_runs import Run, Study
from benchmarks.study_scores import Score
from dnnlib.files import read_json
from tests.benchmarks.test_study import Commands, Scorer
from training.data.dataset import ClipDataset

METRICS = ["fvd4_16f", "diversity4"]
TINY = "--cbase=128 --cmax=8 --d-cbase=128 --d-cmax=8 --workers=0"

# --- The page ---------------------------------------------------------------------------------------------------------


def run(seed: int, fvd: float, diversity: float = 20, instrument: str | None = "i3d", failure: str | None = None):
    """Return a run of two snapshots, of which the first has twice the FVD."""
    curve = []
    for kimg, value in ((1.0, 2 * fvd), (2.0, fvd)):
        scores = {"fvd4_16f": Score(value=value, target=None, instrument=instrument)}
        curve.append((kimg, scores | {"diversity4": Score(value=diversity, target=30.0, instrument=None)}))
    return RunResult(seed=seed, curve=curve, seconds_per_kimg=70 + 2 * seed, failure=failure)


def findings(rows: Sequence[RowResult]) -> Findings:
    return Findings(rows=list(rows), metrics=METRICS, settings={"kimg": 2.0}, command="python x --rows <a>")


@pytest.fixture
def made_up(tmp_path) -> Findings:
    """PV3D, a better row that has its video, and one with a foul name that failed."""
    film = tmp_path / "grid.mp4"
    film.write_bytes(b"film")
    failed = RunResult(seed=0, failure="train.py ended with status 1: <script>alert(1)</script>")
    return findings(
        [
            RowResult(row=ROWS["pv3d"], runs=[run(0, 10), run(1, 12)], cost=Cost(parameters=1_321_000, flops=4.57e8)),
            RowResult(row=ROWS["no-video"], runs=[run(0, 5, 29), run(1, 6, 29)], film=film),
            RowResult(row=Row(name="a<b>|c", options=("--desc=<i>",)), runs=[failed]),
        ]
    )


def test_the_table_has_means_spreads_marks_and_the_papers_numbers(made_up):
    header, lines = study_page.main_table(made_up)
    assert header == ["row", "seeds", *METRICS, "paper: FVD, CD, WE", *study_page.COSTS, "options", "what"]
    first, second, third, real = lines
    assert first[:8] == ["pv3d", "2", "11 ± 1.4", "20 ± 0", "29.1, 1.34, 9.76", "71", "1.32", "0.457"]
    assert second[1:5] == ["2", "5.5 ± 0.71, best", "29 ± 0, best", "145.9, 3.89, 11.82"]
    assert third == ["a<b>|c", "0", "", "", "", "", "", "", "--desc=<i>", ""]
    assert real == ["true heads", "", "", "30", "", "", "", "", "", ""]


def test_a_worse_row_is_marked_and_a_lacking_number_is_counted():
    lacking = [run(0, 20), run(1, math.nan)]
    rows = [RowResult(row=ROWS["pv3d"], runs=[run(0, 10), run(1, 12)]), RowResult(row=ROWS["no-video"], runs=lacking)]
    _, lines = study_page.main_table(findings(rows))
    assert lines[1][2] == "20, 1 of 2 seeds, worse"


def test_orders_stand_beside_the_papers(made_up):
    _, lines = study_page.order_table(made_up)
    assert lines == [["fvd4_16f", "pv3d, no-video", "no-video, pv3d", "1", "0"]]
    assert study_page.order_table(findings(made_up.rows[1:]))[1] == [], "one row has no order"


def test_curves_are_means_over_seeds(made_up):
    x, lines = study_page.curves(made_up, "fvd4_16f")
    assert x == [1, 2] and lines == {"pv3d": [22, 11], "no-video": [11, 5.5], "a<b>|c": [None, None]}


def test_the_page_is_whole_and_everything_on_it_is_text(made_up, tmp_path):
    study_page.write_page(tmp_path / "index.html", made_up)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<script" not in text and "<i>" not in text and "a<b>" not in text and "--rows <a>" not in text
    for part in ("a<b>|c, seed 0", "<script>alert(1)</script>", "--desc=<i>", "5.5 ± 0.71, best", "--rows <a>"):
        assert html.escape(part) in text
    assert len(re.findall("<video", text)) == 1 and len(re.findall("<polyline", text)) == 2 * 3
    assert not re.search(r'(src|href)="(?!data:)', text)


def test_the_data_and_the_markdown_say_the_same(made_up):
    data = json.loads(json.dumps(study_page.as_json(made_up), allow_nan=False))
    second = data["rows"][1]
    assert second["summary"]["fvd4_16f"]["mean"] == 5.5 and second["summary"]["fvd4_16f"]["marks"] == ["best"]
    assert second["paper"] == {"fvd": 145.9, "cd": 3.89, "we": 11.82} and second["runs"][0]["seed"] == 0
    assert data["rows"][2]["summary"]["fvd4_16f"]["mean"] is None
    markdown = study_page.markdown(made_up)
    assert "| 5.5 ± 0.71, best |" in markdown and "| a<b>\\|c |" in markdown
    assert "Failed: a<b>|c, seed 0: train.py ended with status 1" in markdown


def test_doubts_are_told(made_up):
    assert made_up.doubts() == ["Rows have different numbers of finished seeds: 0, 2."]
    other = RowResult(row=ROWS["no-video"], runs=[run(0, 5), run(1, 6, instrument="another")])
    (doubt,) = findings([made_up.rows[0], other]).doubts()
    assert doubt.startswith("fvd4_16f: not all rows were read by the same network")


# --- The command ------------------------------------------------------------------------------------------------------


class Workers:
    """In place of processes: works on runs here with commands and scores that are made up."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.broken: set[str] = set()

    def __call__(
        self, runs: Sequence[Run], study: Study, devices: Sequence[str], threads: int
    ) -> Iterator[tuple[Run, str | None]]:
        for each in runs:
            self.done.append(str(each))
            commands = Commands(2) if each.row.name in self.broken else Commands()
            yield each, study_runs.work(each, study, call=commands, score=Scorer())


@pytest.fixture
def workers(heads, monkeypatch) -> Workers:
    """The command without its processes and its data."""
    found = Workers()
    monkeypatch.setattr(study, "finished", found)
    monkeypatch.setattr(study, "make_data", lambda outdir, settings, name: heads)
    return found


def command(place: Path, *more: str):
    """Run the command, of two snapshots."""
    given = [
        f"--outdir={place}",
        "--rows=video",
        "--snapshots=2",
        f"--metrics={','.join(METRICS)}",
        "--jobs=1",
        "--kimg=0.016",
        *more,
    ]
    return CliRunner().invoke(study.main, given)


def test_finished_runs_are_kept_when_rows_and_seeds_are_added(workers, tmp_path):
    result = command(tmp_path, "--seeds=1")
    assert result.exit_code == 0, result.output
    assert workers.done == ["pv3d, seed 0", "no-video, seed 0"]
    assert "0 of 2 runs are done; 2 to go" in result.stderr
    workers.done.clear()
    result = command(tmp_path, "--seeds=2", "--row", "mine", ".", "--gamma=2")
    assert result.exit_code == 0, result.output
    assert workers.done == ["mine, seed 0", "pv3d, seed 1", "no-video, seed 1", "mine, seed 1"]
    assert "2 of 6 runs are done" in result.stderr and "| mine | 2 | 6.5 ± 0.71 |" in result.stdout
    rows = read_json(tmp_path / "study.json")["rows"]
    assert [(row["name"], len(row["runs"])) for row in rows] == [("pv3d", 2), ("no-video", 2), ("mine", 2)]
    workers.done.clear()
    assert command(tmp_path, "--seeds=2").exit_code == 0 and workers.done == []


def test_a_row_that_fails_does_not_stop_the_others(workers, tmp_path):
    workers.broken = {"pv3d"}
    result = command(tmp_path, "--seeds=1")
    assert result.exit_code == 1 and workers.done == ["pv3d, seed 0", "no-video, seed 0"]
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<h2>Failures</h2>" in page and html.escape("Error: <b>too</b> hot") in page
    workers.broken = set()
    workers.done.clear()
    assert command(tmp_path, "--seeds=1").exit_code == 0 and workers.done == ["pv3d, seed 0"]
    assert "Failures" not in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_another_budget_is_refused(workers, tmp_path):
    command(tmp_path, "--seeds=1")
    result = command(tmp_path, "--seeds=1", "--kimg=4")
    assert result.exit_code == 2 and "holds a study of another --kimg (0.016, now 4.0)" in result.stderr


@pytest.mark.slow
def test_a_tiny_study_of_stills_from_data_to_page(tmp_path):
    lengths = ["--kimg=0.016", "--snapshots=1", "--clips=20", "--test-clips=4", "--frames=16", "--seeds=1", "--jobs=1"]
    given = [f"--outdir={tmp_path}", "--rows=images", *lengths, f"--options={TINY}", "--metrics=kvd4_16f,diversity4"]
    done = subprocess.run([sys.executable, "benchmarks/study.py", *given], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.glob("*.zip")} == {"few.zip", "stills.zip", "test.zip"}
    sizes = {path.stem: (ClipDataset(path).num_clips, ClipDataset(path).num_frames) for path in tmp_path.glob("*.zip")}
    assert sizes == {"few": (2, 32), "stills": (20, 20), "test": (4, 64)}
    people = {path.stem: {clip.identity for clip in ClipDataset(path).clips} for path in tmp_path.glob("*.zip")}
    assert not people["few"] & people["stills"] and not people["test"] & (people["few"] | people["stills"])
    rows = read_json(tmp_path / "study.json")["rows"]
    assert [row["name"] for row in rows] == ["few-clips", "few-clips-stills"]
    assert all(summary["count"] == 1 for row in rows for summary in row["summary"].values())
    with_images = []
    for row in rows:
        (stats,) = (tmp_path / "rows" / row["name"]).glob("*/runs/*/stats.jsonl")
        with_images.append("schedule/image_share" in stats.read_text())
    assert with_images == [False, True]


@pytest.mark.slow
def test_a_tiny_study_from_data_to_page(tmp_path):
    """With worker processes, training, scores and videos; what is done takes no second training."""
    lengths = ["--kimg=0.016", "--snapshots=2", "--clips=4", "--test-clips=4", "--frames=16", "--seeds=2", "--jobs=2"]
    rows = ["--rows=video", "--row", "broken", ".", "--gamma=-1", f"--options={TINY}"]
    given = [f"--outdir={tmp_path}", *rows, *lengths, "--metrics=fvd4_16f,we4,diversity4"]
    arguments = [sys.executable, "benchmarks/study.py", *given]
    first = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert first.returncode == 1, first.stderr
    data = read_json(tmp_path / "study.json")
    for row in data["rows"][:2]:
        assert [summary["count"] for summary in row["summary"].values()] == [2, 2, 2]
        assert [kimg for kimg, _ in row["runs"][0]["curve"]] == [0.008, 0.016]
    assert "--gamma=-1.0 is not possible" in data["rows"][2]["runs"][1]["failure"]
    assert (tmp_path / "index.html").read_text(encoding="utf-8").count("<video") == 2
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("rows/*/*/trained.json")}
    again = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 1 and "4 of 6 runs are done; 2 to go" in again.stderr
    assert len(before) == 4 and all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert again.stdout == first.stdout
