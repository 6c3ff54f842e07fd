"""numpy's npz files, read within bounds and without pickles: whatever a header says, nothing is made of it first."""

import io
import math
import zipfile
from pathlib import Path

import numpy as np

from dnnlib.files import read_at_most
from torch_utils.pickles import reader

MAX_BYTES = 2**30  # of all arrays of a file together
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz file, of plain numbers or text, by name.

    Raises one of `torch_utils.pickles.reader.FAULTS`, or OSError, where the file is damaged, larger than MAX_BYTES, or
    something else.
    """
    with zipfile.ZipFile(path) as archive:
        members = reader.index(archive)
        if sum(info.file_size for info in members.values()) > MAX_BYTES:
            raise ValueError(f"arrays of more than {MAX_BYTES} bytes")
        return {name.removesuffix(".npy"): _array(_content(archive, info)) for name, info in members.items()}


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.compress_type not in COMPRESSIONS or info.flag_bits & 1:
        raise ValueError("an array that is encrypted, or compressed in another way than numpy does it")
    with archive.open(info) as file:
        return read_at_most(file, info.file_size)


def _array(data: bytes) -> np.ndarray:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in HEADERS:
        raise ValueError("another version of numpy's format")
    shape, fortran_order, dtype = HEADERS[version](stream)
    if dtype.hasobject or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ValueError("an array of objects, or of another size than is described")
    flat = np.frombuffer(data, dtype, offset=stream.tell()).copy()
    return flat.reshape(shape, order="F" if fortran_order else "C")
