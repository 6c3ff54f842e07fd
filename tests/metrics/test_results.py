"""Results: valid JSON whatever the numbers, a table to read, lines appended."""

import json

import pytest

from dnnlib.errors import UserError
from metrics.results import Result, append_json, table

RESULT = Result(
    metric="cd",
    value=0.5,
    standard_error=None,
    samples=3,
    seconds=1.5,
    protocol={"pairs": 4},
    source={"source": "folder"},
    details={"reference": float("nan")},
    warnings=("2 videos in place of 3.",),
)


def test_json_is_valid_and_whole():
    line = json.loads(RESULT.json())
    assert (line["metric"], line["value"], line["standard_error"], line["samples"]) == ("cd", 0.5, None, 3)
    assert line["details"] == {"reference": None} and line["warnings"] == ["2 videos in place of 3."]
    assert {"seconds", "protocol", "source", "dataset", "detector", "detector_checksum", "skipped"} <= set(line)


def test_table_aligns_and_shows_other_definitions():
    lines = table(
        [
            RESULT,
            Result(
                metric="fvd",
                value=12.345678,
                standard_error=0.25,
                samples=512,
                seconds=9.0,
                protocol={},
                source={},
                detector="i3d",
            ),
        ]
    ).splitlines()
    assert [line.split()[0] for line in lines] == ["metric", "cd", "reference", "fvd"]
    assert lines[3].split() == ["fvd", "12.3457", "0.25", "512", "i3d"] and "unknown" in lines[2]
    assert len({line.index(word) for line, word in zip(lines[:1] + lines[3:], ("detector", "i3d"), strict=True)}) == 1


def test_lines_are_appended(tmp_path):
    path = tmp_path / "new" / "metrics.jsonl"
    append_json(path, [RESULT])
    append_json(path, [RESULT, RESULT])
    assert [json.loads(line)["metric"] for line in path.read_text().splitlines()] == ["cd"] * 3
    with path.open("a") as file:
        file.write('{"metric": "cd", "val')  # by a process that was killed
    append_json(path, [RESULT], file="a.pkl")
    assert json.loads(path.read_text().splitlines()[4])["file"] == "a.pkl"
    with pytest.raises(UserError, match="Cannot write"):
        append_json(path / "under-a-file", [RESULT])
