"""metrics.results: valid JSON whatever the numbers, a table to read, lines appended."""

import json

import pytest

from dnnlib.errors import UserError
from metrics.results import Result, append_json, table

CHAMFER = Result(
    metric="cd",
    value=0.5,
    standard_error=None,
    samples=3,
    seconds=1.5,
    protocol={"pairs": 4},
    source={"source": "folder"},
    details={"reference": float("nan"), "unmeasured": None},
    warnings=("2 videos in place of 3.",),
)
FRECHET = Result(
    metric="fvd",
    value=12.345678,
    standard_error=0.25,
    samples=512,
    seconds=9.0,
    protocol={},
    source={},
    detector="i3d",
)


def test_json_is_valid_and_whole():
    line = json.loads(CHAMFER.json())
    assert line == {
        "metric": "cd",
        "value": 0.5,
        "standard_error": None,
        "samples": 3,
        "seconds": 1.5,
        "protocol": {"pairs": 4},
        "source": {"source": "folder"},
        "dataset": None,
        "detector": None,
        "detector_checksum": None,
        "skipped": 0,
        "details": {"reference": None, "unmeasured": None},
        "warnings": ["2 videos in place of 3."],
    }


def test_table_aligns_and_shows_other_definitions():
    lines = table([CHAMFER, FRECHET]).splitlines()
    assert lines == [
        "metric          value    +-  videos  detector",
        "cd                0.5             3",
        "  reference   unknown",
        "  unmeasured  unknown",
        "fvd           12.3457  0.25     512  i3d",
    ]


def test_lines_are_appended(tmp_path):
    path = tmp_path / "new" / "metrics.jsonl"
    append_json(path, [CHAMFER])
    append_json(path, [CHAMFER, FRECHET])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["metric"] for line in lines] == ["cd", "cd", "fvd"]


def test_a_line_that_was_cut_short_is_ended(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"metric": "cd", "val')  # by a process that was killed
    append_json(path, [CHAMFER], file="a.pkl")
    last = path.read_text().splitlines()[1]
    assert json.loads(last)["file"] == "a.pkl"


def test_a_file_that_cannot_be_written(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UserError, match="Cannot write"):
        append_json(file / "under-a-file", [CHAMFER])
