"""metrics.arrays: what numpy writes comes back; what it never writes is refused before memory is spent on it."""

import io
import zipfile

import numpy as np
import pytest

from dnnlib.files import FAULTS
from metrics.arrays import MAX_BYTES, read_arrays

ARRAYS = {
    "a": np.arange(6.0).reshape(2, 3),
    "turned": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "text": np.array(["one", "three"]),
    "none": np.zeros([0, 4]),
    "number": np.array(7),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    found = read_arrays(tmp_path / "a.npz")
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
        found[name][...] = found[name]  # can be written to


def npy(shape=(2,), dtype="<f8", data=bytes(16)) -> bytes:
    """An array file whose header says what it likes."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue() + data


@pytest.mark.parametrize(
    "content",
    [
        npy((2**60,)),
        npy((3,)),
        npy((1,)),
        npy((-2,)),
        npy(dtype="|O"),
        b"",
        b"\x93NUMPY",
        npy()[:-20],
        npy().replace(b"\x93NUMPY\x01", b"\x93NUMPY\x09"),
        npy().replace(b"'shape'", b"'shake'"),
    ],
)
def test_headers_that_lie(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(FAULTS):
        read_arrays(tmp_path / "a.npz")


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for index in range(3):
            archive.writestr(f"{index}.npy", bytes(MAX_BYTES // 2 // 1024))
    monkeypatch.setattr("metrics.arrays.MAX_BYTES", MAX_BYTES // 1024)
    with pytest.raises(ValueError, match="more than"):
        read_arrays(tmp_path / "a.npz")
