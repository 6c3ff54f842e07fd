"""dnnlib.files: a file is whole or absent, and the user learns what is wrong with a path."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnnlib.errors import UserError
from dnnlib.files import (
    MAX_JSON_BYTES,
    MAX_SHOWN,
    atomic_path,
    file_checksum,
    parse_json,
    read_file,
    read_json,
    reading,
    remove_unfinished,
    require_file,
    shown,
    with_checksum,
    write_json,
)


def entries(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# --- Atomic files -----------------------------------------------------------------------------------------------------


def test_atomic_path_replaces_and_makes_folders(tmp_path):
    target = tmp_path / "new" / "a.bin"
    for content in (b"one", b"two"):
        with atomic_path(target) as temporary:
            assert temporary.parent == target.parent and temporary.suffix == ".bin"
            temporary.write_bytes(content)
        assert target.read_bytes() == content
    assert entries(target.parent) == ["a.bin"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_atomic_path_keeps_the_old_file_when_interrupted(tmp_path, error):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert target.read_bytes() == b"old"
    assert entries(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_a_user_error(tmp_path, number):
    with pytest.raises(UserError, match="No space left to write .*a.bin"), atomic_path(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"half")
        raise OSError(number, os.strerror(number))
    assert entries(tmp_path) == []


def test_other_os_errors_pass_through(tmp_path):
    with pytest.raises(OSError) as caught, atomic_path(tmp_path / "a.bin"):
        raise OSError(errno.EIO, "input/output error")
    assert caught.value.errno == errno.EIO


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"), atomic_path(tmp_path / "file" / "a.bin"):
        pass


WRITER = """
import sys
from dnnlib.files import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_text('half')
    print(flush=True)
    sys.stdin.read()
"""


def test_a_writer_s_file_is_removed_once_it_was_killed(tmp_path):
    (tmp_path / "whole").write_text("")
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, tmp_path / "a.b.bin"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as writer:
        writer.stdout.readline()
        (unfinished,) = set(tmp_path.iterdir()) - {tmp_path / "whole"}
        os.utime(unfinished, (0, 0))
        remove_unfinished(tmp_path)
        assert unfinished.exists(), "its writer lives"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    remove_unfinished(tmp_path)
    assert entries(tmp_path) == ["whole"]


def test_a_file_of_another_machine_is_removed_after_a_day(tmp_path, monkeypatch):
    """Its process has a number that here none, or this one, has."""
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "elsewhere")
        with atomic_path(tmp_path / "a.bin") as unfinished:
            unfinished.write_text("half")
    unfinished.write_text("half")
    for hours, there in ((0, True), (23, True), (25, False)):
        os.utime(unfinished, (0, time.time() - hours * 3600))
        remove_unfinished(tmp_path)
        assert unfinished.exists() == there, hours


def test_a_process_number_may_come_again(tmp_path):
    """In a container the process that goes on often has the number of the one that was killed."""
    for name in ("a.bin", "a", "two\nlines.pt"):
        with atomic_path(tmp_path / name) as unfinished:
            unfinished.write_text("half")
        unfinished.write_text("half")
    remove_unfinished(tmp_path)
    assert entries(tmp_path) == ["a", "a.bin", "two\nlines.pt"]


def test_only_temporary_files_are_removed(tmp_path):
    machine = "00000000"
    names = [
        ".notes",
        f".a.{machine}-0-00000000.pt",
        f".a.{machine}-9999999999-00000000.pt",
        ".a.1a2b3c4d.pt",
        f"a.{machine}-1-00000000.pt",
        f".a.{machine}-1-00000000.pt.zip",
    ]
    for name in names:
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (0, 0))
    remove_unfinished(tmp_path)
    assert entries(tmp_path) == sorted(names)


# --- JSON -------------------------------------------------------------------------------------------------------------


def test_json_round_trip(tmp_path):
    value = {"name": "Zoë", "list": [1, 2.5, None, True]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert entries(tmp_path) == ["a.json"]


def test_json_that_is_wrong(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_json(tmp_path / "absent.json")
    (tmp_path / "a.json").write_text('{"half": ')
    with pytest.raises(UserError, match="not valid JSON"):
        read_json(tmp_path / "a.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not valid JSON"):
        read_json(tmp_path / "b.json")
    with pytest.raises(ValueError):
        write_json(tmp_path / "c.json", float("nan"))
    assert not (tmp_path / "c.json").exists()


def test_json_that_would_take_memory(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b" " * (MAX_JSON_BYTES - 2) + b"[]")
    assert read_json(path) == []
    path.write_bytes(b" " * (MAX_JSON_BYTES - 1) + b"[]")
    with pytest.raises(UserError, match=f"more than {MAX_JSON_BYTES} bytes"):
        read_json(path)
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(UserError, match="nested too deeply"):
        read_json(path)
    assert parse_json(b'[0,1,{"a":2}]', max_values=5) == [0, 1, {"a": 2}]
    with pytest.raises(ValueError, match="more than 5 values"):
        parse_json(b'[0,1,{"a":2},3]', max_values=5)
    assert parse_json(b"\xef\xbb\xbf{}") == {}


def test_a_value_that_is_named_twice_is_refused():
    assert parse_json(b'{"a": {"b": 1}, "b": [{"b": 2}, {"b": 2}]}') == {"a": {"b": 1}, "b": [{"b": 2}, {"b": 2}]}
    with pytest.raises(ValueError, match="'b' stands 2 times in one object"):
        parse_json(b'{"a": {"b": 1, "c": 0, "b": 1}}')


# --- Files and names of others ----------------------------------------------------------------------------------------


def test_only_ordinary_files_are_files(tmp_path):
    """Without opening them: a pipe would wait for whoever writes to it."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    assert require_file(tmp_path / "link", "video") == tmp_path / "link"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "to the pipe").symlink_to("pipe")
    for path, word in (
        (tmp_path / "pipe", "a pipe"),
        (tmp_path / "to the pipe", "a pipe"),
        ("/dev/zero", "a device"),
        (tmp_path / "loop", "cannot be reached"),
        (tmp_path / "file" / "x", "does not exist"),
        ("a\0b", "does not exist"),
        ("x" * 10_000, "cannot be reached"),
    ):
        with pytest.raises(UserError, match=word):
            require_file(path, "video")


def test_a_file_is_read_up_to_a_bound(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_file(tmp_path / "a", "list", 5) == b"12345"
    with pytest.raises(ValueError, match="more than 4 bytes"):
        read_file(tmp_path / "a", "list", 4)


def test_what_strangers_wrote_is_shown_on_one_line():
    assert shown("Zoë 1.png") == "Zoë 1.png"
    assert shown("a\nb\x1b[2J\ud800'\"") == "a\\nb\\x1b[2J\\ud800'\""
    assert shown("x" * MAX_SHOWN) == "x" * MAX_SHOWN
    assert shown("x" * (MAX_SHOWN + 1)) == "x" * (MAX_SHOWN - 3) + "..."


def test_require_file(tmp_path):
    with pytest.raises(UserError, match="snapshot .* is a folder"):
        require_file(tmp_path, "snapshot")
    (tmp_path / "x").write_text("")
    assert require_file(str(tmp_path / "x"), "snapshot") == tmp_path / "x"


@pytest.mark.parametrize(
    "error, sentence",
    [
        (ValueError("two\nlines"), r"^The list a is damaged \(two\\nlines\): copy it again\.$"),
        (EOFError(), r"^The list a is damaged \(EOFError\): copy it again\.$"),
        (OSError(errno.EINVAL, "Invalid argument"), "is damaged .*Invalid argument"),
        (PermissionError(errno.EACCES, "Permission denied"), r"^Cannot read a \(Permission denied\): check the file"),
        (UserError("Its own sentence."), "^Its own sentence.$"),
    ],
)
def test_what_goes_wrong_while_reading_becomes_a_sentence(error, sentence):
    with pytest.raises(UserError, match=sentence):
        with reading("a", "The list a is damaged", "copy it again"):
            raise error


def test_checksum_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_checksum(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "a"
    path.write_text("first")
    assert with_checksum(path, Path.read_text) == ("first", file_checksum(path))
    with pytest.raises(UserError, match=r"/a changed while it was read"):
        with_checksum(path, lambda read: write_json(read, "other"))
