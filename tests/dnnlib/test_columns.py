"""dnnlib.columns: what is written comes back as a map of the file, and what is damaged is said to be."""

import mmap

import numpy as np
import pytest

from dnnlib.columns import Columns, Texts, as_columns, read_columns, write_columns

TEXTS = ["a", "", "Zoë", "\0 zero", "\ud800"]


@pytest.fixture
def path(tmp_path):
    arrays = {
        "cameras": np.arange(50, dtype=np.float32).reshape(2, 25),
        "flags": np.array([True, False, True]),
        "empty": np.empty([0, 3], np.int64),
        **as_columns("names", Texts.of(TEXTS)),
    }
    write_columns(tmp_path / "columns", Columns(arrays, {"notes": ["é"]}))
    return tmp_path / "columns"


@pytest.mark.parametrize("verified", [True, False])
def test_columns_come_back_as_a_map_that_nothing_can_write_to(path, verified):
    columns = read_columns(path, verified=verified)
    assert columns["cameras"].tolist() == np.arange(50).reshape(2, 25).tolist()
    assert (columns["flags"].dtype, columns["flags"].tolist()) == (bool, [True, False, True])
    assert columns["empty"].shape == (0, 3)
    assert columns.about == {"notes": ["é"]}
    texts = columns.texts("names")
    assert [texts.text(number) for number in range(len(texts))] == TEXTS
    assert texts.raw(1, 3) == "\0Zoë\0".encode()
    base = columns["cameras"]
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base.obj if isinstance(base, memoryview) else base, mmap.mmap)
    with pytest.raises(ValueError, match="read-only"):
        columns["cameras"][0] = 1


def test_every_damaged_byte_of_head_and_columns_is_found(path):
    whole = path.read_bytes()
    columns = read_columns(path)
    body = len(whole) - max(array.nbytes for array in columns.arrays.values())
    assert body > 0
    unused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            read_columns(path)
            unused += 1
        except ValueError:
            pass
    assert unused < 64 * (len(columns.arrays) + 1), "only what fills up the space between columns"


@pytest.mark.parametrize("length", [0, 5, 30, 200, -1])
def test_files_cut_short_are_damaged(path, length):
    path.write_bytes(path.read_bytes()[:length])
    for verified in (True, False):
        with pytest.raises(ValueError, match="damaged columns"):
            read_columns(path, verified=verified)


def test_a_missing_file_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_columns(tmp_path / "absent")
