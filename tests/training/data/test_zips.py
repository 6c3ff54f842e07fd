"""training.data.zips and zip_writer: Python's own zipfile reads and writes the same."""

import io
import os
import zipfile
import zlib

import numpy as np
import pytest

from dnnlib.progress import Counter
from training.data import zip_writer
from training.data.zip_writer import ZipWriter
from training.data.zips import Members, find_directory, read_directory

RNG = np.random.default_rng(0)
CONTENTS = {
    "a/0.png": b"first",
    "empty": b"",
    "a/é.png": b"accent",
    "noise": RNG.bytes(3 * 2**20 + 5),
    "zeros": bytes(5 * 2**20 + 1),
    "text": b"0123456789" * 300_000,
}
MOST = 2**26


class Opened:
    """A zip as columns."""

    def __init__(self, path):
        self.file = os.open(path, os.O_RDONLY)
        self.directory = find_directory(self.file)
        with Counter(None, unit="file", silent=True) as counter:
            self.members = Members(read_directory(self.file, self.directory, counter))

    def read(self, name: str, most: int = MOST) -> bytes:
        return b"".join(self.members.pieces(self.file, self.members.find(name), most))


@pytest.fixture
def opened():
    found = []

    def open_zip(path) -> Opened:
        found.append(Opened(path))
        return found[-1]

    yield open_zip
    for one in found:
        os.close(one.file)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_read_as_zipfile_wrote_them(tmp_path, opened, method):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.mkdir("folder")
        for name, data in CONTENTS.items():
            archive.writestr(name, data)
    found = opened(tmp_path / "a.zip")
    assert list(found.members.names()) == ["folder/", *CONTENTS]
    for name, data in CONTENTS.items():
        assert found.read(name) == data, name
        if data:
            with pytest.raises(ValueError, match="more than"):
                found.read(name, len(data) - 1)
    numbers = found.members.numbers([*CONTENTS, "absent"])
    assert found.members.sizes(numbers).tolist() == [*map(len, CONTENTS.values()), -1]
    crcs = [f"{zlib.crc32(data):08x}" for data in CONTENTS.values()]
    assert found.members.checksums(numbers) == [*crcs, "unreadable"]
    with pytest.raises(KeyError):
        found.read("folder")


def written(path) -> None:
    with open(path, "wb") as file, ZipWriter(file, path.parent) as writer:
        for name, data in CONTENTS.items():
            if name == "text":
                writer.put_file(name, io.BytesIO(data))
            else:
                writer.put(name, data)


@pytest.mark.parametrize("limit", [None, 4, 2**20])
def test_zipfile_reads_what_is_written(tmp_path, opened, monkeypatch, limit):
    """Also with the 64-bit numbers of large ones; any number may be there, not only a large one."""
    if limit is not None:
        monkeypatch.setattr(zip_writer, "MANY", 2)
        monkeypatch.setattr(zip_writer, "is_large", lambda number: number >= limit)
    written(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == CONTENTS
        assert all(item.compress_type == zipfile.ZIP_STORED for item in archive.infolist())
    found = opened(tmp_path / "a.zip")
    assert {name: found.read(name) for name in found.members.names()} == CONTENTS


def test_equal_contents_are_equal_files(tmp_path):
    for name in ("a.zip", "b.zip"):
        written(tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_more_members_than_the_old_format_counts(tmp_path, opened):
    path = tmp_path / "many.zip"
    with open(path, "wb") as file, ZipWriter(file, tmp_path) as writer:
        for number in range(70_000):
            writer.put(f"{number}", b"%d" % number)
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == 70_000
    found = opened(path)
    assert len(found.members) == found.directory.members == 70_000
    assert found.read("69999") == b"69999"
    assert found.members.repeated() is None
