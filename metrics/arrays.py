"""numpy's npz files, read within bounds and without pickles: whatever a header says, nothing is made of it first."""

import io
import math
import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from dnnlib.files import read_at_most
from torch_utils.pickles.reader import members_by_name

MAX_BYTES = 2**30  # of all arrays of a file together
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an npz file, of plain numbers or text, by name.

    Raises:
        one of `dnnlib.files.FAULTS`, or OSError: the file is damaged, larger than MAX_BYTES, or something else.
    """
    with zipfile.ZipFile(path) as archive:
        members = members_by_name(archive, path.stat().st_size)
        unpacked = sum(info.file_size for info in members.values())
        if unpacked > MAX_BYTES:
            raise ValueError(f"arrays of more than {MAX_BYTES} bytes")
        return {name.removesuffix(".npy"): _array(_content(archive, info)) for name, info in members.items()}


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return the bytes of a member, no more than its header says."""
    encrypted = info.flag_bits & 1
    if info.compress_type not in COMPRESSIONS or encrypted:
        raise ValueError("an array that is encrypted, or compressed in another way than numpy does it")
    with archive.open(info) as file:
        return read_at_most(file, info.file_size)


def _array(data: bytes) -> np.ndarray:
    """Return the array in a npy file's bytes, which can be written to."""
    stream = io.BytesIO(data)
    version = npy.read_magic(stream)
    if version not in HEADERS:
        raise ValueError("another version of numpy's format")
    shape, fortran_order, dtype = HEADERS[version](stream)
    start = stream.tell()
    size = len(data) - start
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError("an array of objects, or of a negative size")
    if math.prod(shape) * dtype.itemsize != size:
        raise ValueError("an array of another size than is described")
    flat = np.frombuffer(data, dtype, offset=start).copy()
    return flat.reshape(shape, order="F" if fortran_order else "C")
