"""dnnlib.content: checksums are right, read once, and never those of what a file held before."""

import os
import zlib
from pathlib import Path

import pytest

from dnnlib import content
from dnnlib.content import checksums

NAMES = ["a", "b/c", "b/d"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("PV3D_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "content"


@pytest.fixture
def settled(monkeypatch) -> None:
    """Take every file for one that was written long ago."""
    monkeypatch.setattr(content, "RACY_NS", -(10**18))


@pytest.fixture
def opened(monkeypatch) -> list[Path]:
    """Files that are opened for their checksums."""
    paths = []

    def counting_open(path: Path, *arguments: str):
        paths.append(path)
        return open(path, *arguments)

    monkeypatch.setattr(content, "open", counting_open, raising=False)
    return paths


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "data"
    for name in NAMES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    return folder


def expected(folder: Path) -> list[str]:
    return [f"{zlib.crc32((folder / name).read_bytes()):08x}" for name in NAMES]


def test_checksums_are_crc_32(folder, monkeypatch):
    monkeypatch.setattr(content, "PIECE_BYTES", 4)
    assert checksums(folder, NAMES) == expected(folder)
    assert checksums(folder, []) == []


def test_files_are_read_once(folder, settled, opened):
    first = checksums(folder, NAMES)
    assert sorted(opened) == sorted(folder / name for name in NAMES)
    opened.clear()
    assert checksums(folder, NAMES) == first
    assert opened == []
    (folder / "a").write_text("more content of a")
    assert checksums(folder, NAMES) == expected(folder) != first
    assert opened == [folder / "a"]


def test_another_path_to_the_folder_reads_nothing(folder, settled, opened, tmp_path):
    checksums(folder, NAMES)
    opened.clear()
    (tmp_path / "link").symlink_to(folder)
    assert checksums(tmp_path / "link", NAMES) == expected(folder)
    assert opened == []


def rewrite(path: Path) -> None:
    """Write a file in place."""
    with path.open("r+b") as file:
        file.write(b"CONTENT")


def replace(path: Path) -> None:
    """Put another file into its place."""
    other = path.with_name("other")
    other.write_bytes(path.read_bytes().upper())
    os.replace(other, path)


@pytest.mark.parametrize("edit", [rewrite, replace])
def test_an_edit_that_keeps_size_and_time_is_noticed(folder, settled, edit):
    first = checksums(folder, NAMES)
    before = os.stat(folder / "a")
    edit(folder / "a")
    os.utime(folder / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert checksums(folder, NAMES) == expected(folder) != first


def test_what_was_written_just_now_is_read_again(folder, monkeypatch):
    """Where times are coarse, an edit may leave everything but the content as it was."""
    monkeypatch.setattr(content, "file_state", lambda about: "the same")
    first = checksums(folder, NAMES)
    rewrite(folder / "a")
    assert checksums(folder, NAMES) == expected(folder) != first


def test_what_changes_while_it_is_read_is_read_again(folder, settled, monkeypatch, opened):
    read = content._read_crc

    def read_slowly(path: Path) -> bytes:
        crc = read(path)
        os.utime(path, ns=(0, 0))
        return crc

    monkeypatch.setattr(content, "_read_crc", read_slowly)
    checksums(folder, NAMES)
    monkeypatch.setattr(content, "_read_crc", read)
    opened.clear()
    checksums(folder, NAMES)
    assert len(opened) == len(NAMES)


def test_what_cannot_be_read_has_a_text_of_its_own(folder, monkeypatch):
    os.mkfifo(folder / "pipe")
    (folder / "circle").symlink_to("circle")
    (folder / "large").write_bytes(bytes(20))
    monkeypatch.setattr(content, "LARGEST", 19)
    pipe, circle, missing, odd, large = checksums(folder, ["pipe", "circle", "missing", "zero\0byte", "large"])
    assert pipe == "no file"
    assert {circle, missing, odd} == {content.UNREADABLE}
    (folder / "large").write_bytes(bytes(21))
    assert checksums(folder, ["large"]) != [large]


def test_names_of_any_bytes(folder):
    name = os.fsdecode(b"odd \xff\n name")
    (folder / name).write_bytes(b"abc")
    assert checksums(folder, [name]) == ["352441c2"]


# --- The memory -------------------------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES = {
    "flipped": flip,
    "cut": lambda path: os.truncate(path, 30),
    "empty": lambda path: os.truncate(path, 0),
    "foreign": lambda path: path.write_bytes(b"PK\x03\x04" * 99),
    "pipe": make_pipe,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_memory_counts_as_none(folder, cache, settled, opened, damage):
    checksums(folder, NAMES)
    (memory,) = cache.iterdir()
    damage(memory)
    opened.clear()
    assert checksums(folder, NAMES) == expected(folder)
    assert len(opened) == len(NAMES)
    opened.clear()
    checksums(folder, NAMES)
    assert opened == [], "it is whole again"


def test_memories_are_bounded(tmp_path, cache, settled, monkeypatch):
    monkeypatch.setattr(content, "MOST_MEMORIES", 2)
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a").write_text("a")
        checksums(folder, ["a"])
        os.utime(content._memory_file(folder), (number, number))
    kept = {content._memory_file(tmp_path / str(number)) for number in (3, 4)}
    assert set(cache.iterdir()) == kept


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PV3D_CACHE_DIR", str(tmp_path / "file"))
    assert checksums(folder, NAMES) == expected(folder)


def test_what_was_read_before_ctrl_c_is_not_read_again(folder, settled, opened, monkeypatch):
    monkeypatch.setattr(content, "CHUNK", 1)
    update = content.Counter.update

    def interrupt(counter, more=1):
        update(counter, more)
        if counter.n == 2:
            raise KeyboardInterrupt

    def interrupted() -> None:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(content.Counter, "update", interrupt)
            checksums(folder, NAMES)

    interrupted()
    opened.clear()
    checksums(folder, NAMES)
    assert opened == [folder / NAMES[2]]
    interrupted()
    opened.clear()
    checksums(folder, NAMES)
    assert opened == [], "nor what was read earlier"
