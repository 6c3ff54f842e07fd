"""dnnlib.json_lines: what a killed process cut short spoils no other line."""

import os
import threading
from pathlib import Path

import pytest

from dnnlib import json_lines
from dnnlib.errors import UserError

JUNK = [b'{"a": 1', b"\xff\xfe", b"5", b"[]", b"null", b"", b"[" * 100_000, b"9" * 5000]


def test_lines_are_appended_and_read(tmp_path):
    path = tmp_path / "new" / "a.jsonl"
    json_lines.append(path, ['{"a": 1}'])
    json_lines.append(path, ['{"a": 2}', '{"a": "\N{LINE SEPARATOR}"}'])
    assert path.read_bytes().count(b"\n") == 3
    assert [line["a"] for line in json_lines.read(path)] == [1, 2, "\N{LINE SEPARATOR}"]
    with pytest.raises(UserError, match="Cannot write"):
        json_lines.append(path / "under-a-file", ["{}"])


@pytest.mark.parametrize("content", ["", '{"a": 1}\n{"a"', '{"a": 1}', '{"a'])
def test_lines_may_go_behind_lines(tmp_path, content):
    (tmp_path / "a.jsonl").write_text(content)
    json_lines.require_lines(tmp_path / "a.jsonl")
    json_lines.require_lines(tmp_path / "absent.jsonl")
    json_lines.require_lines(Path("/dev/stdout"))


@pytest.mark.parametrize("content", [b"PK\x03\x04", b'{\n  "a": 1\n}\n', b"[1]\n", b"\x89PNG\r\n\x1a\n"])
def test_lines_spoil_no_other_file(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.zip is there, and holds no lines of JSON: choose another file\."):
        json_lines.require_lines(tmp_path / "a.zip")


@pytest.mark.parametrize("torn", ['{"a": 1', '{"a": 1}'])
def test_a_line_behind_one_that_was_cut_short(tmp_path, torn):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 0}\n' + torn)
    json_lines.append(path, ['{"a": 2}'])
    assert path.read_text() == '{"a": 0}\n' + torn + '\n{"a": 2}\n'


def test_a_pipe_is_written_to(tmp_path):
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()))
    reader.start()
    json_lines.append(pipe, ['{"a": 1}'])
    reader.join(timeout=20)
    assert found == ['{"a": 1}\n']


@pytest.mark.parametrize("junk", JUNK)
def test_junk_counts_as_no_line(tmp_path, junk):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 0}\n' + junk + b'\n{"a": 2}\n')
    assert [line["a"] for line in json_lines.read(path)] == [0, 2]
    assert json_lines.keep(path, lambda line: True)
    assert path.read_bytes() == b'{"a": 0}\n{"a": 2}\n'


def test_what_is_not_wanted_goes(tmp_path):
    path = tmp_path / "a.jsonl"
    assert not json_lines.keep(path, lambda line: True) and not path.exists()
    path.write_text('{"a": 1}\n{"a": 2}\n{"a": 1.5}\n{"b": 1}\n{"a": "1"}\n{"a": true}\n{"a": NaN}\n{"a": null}\n')
    assert json_lines.keep(path, lambda line: json_lines.number(line, "a") < 2)
    assert path.read_text() == '{"a": 1}\n{"a": 1.5}\n'
    before = path.stat().st_ino
    assert not json_lines.keep(path, lambda line: True) and path.stat().st_ino == before, "as it was"
