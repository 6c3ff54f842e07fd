"""Files of feature statistics: ours, and the reference implementation's, read without running what is in them."""

import io
import json
import os
import pickle
import pickletools
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dnnlib.errors import UserError
from dnnlib.files import atomic_path, require_file
from metrics.frechet import FeatureMoments

FORMAT = "pv3d-feature-statistics"
VERSION = 1
MAX_PICKLE_BYTES = 2 ** 28               # of a reference file; the official one has 1.3 MB
PICKLE_KEYS = frozenset({"num_items", "num_features", "raw_mean", "raw_cov"})


@dataclass(frozen=True)
class Source:
    """What features were computed from, and how: statistics of different detectors or protocols cannot be compared."""
    detector: str            # name, such as i3d or random
    checksum: str            # of the detector's weights
    protocol: str            # name, such as fvd5k_16f
    dataset: str             # fingerprint


@dataclass(frozen=True)
class Statistics:
    """Moments of a set of features, and the features [N, D] themselves where they were kept."""
    source: Source
    moments: FeatureMoments
    features: torch.Tensor | None = None


def save_statistics(path: str | os.PathLike, statistics: Statistics) -> None:
    """Write an npz file of plain arrays, atomically. Raises UserError: no space, no permission."""
    moments = statistics.moments
    header = {"format": FORMAT, "version": VERSION, "source": asdict(statistics.source)}
    arrays = {"header": np.array(json.dumps(header)), "num": np.array(moments.num, np.int64),
              "total": moments.total.numpy(), "outer": moments.outer.numpy()}
    if statistics.features is not None:
        arrays["features"] = statistics.features.detach().cpu().numpy()
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def load_statistics(path: str | os.PathLike, detector: str, checksum: str, protocol: str,
                    dataset: str | None = None) -> Statistics:
    """Read what `save_statistics` wrote.

    Args:
        detector, checksum, protocol: what the statistics will be compared with.
        dataset: fingerprint that they must have; None: any (it is in the result's source).

    Raises:
        UserError: the file is missing, damaged, not ours, of another version, detector, protocol or data set.
    """
    path = require_file(path, "statistics file")
    arrays = _read_arrays(path)
    source = _read_source(path, arrays)
    wanted = Source(detector, checksum, protocol, source.dataset if dataset is None else dataset)
    for field, needed in asdict(wanted).items():
        found = getattr(source, field)
        if found != needed:
            raise UserError(f"The statistics {path} have the {field} {found}, but {needed} is needed: give another "
                            "file, or have it made again.")
    try:
        moments = _moments(int(arrays["num"]), arrays["total"], arrays["outer"])
        features = torch.from_numpy(arrays["features"]) if "features" in arrays else None
        if features is not None and (features.shape != (moments.num, moments.dimension)
                                     or not torch.isfinite(features).all()):
            raise ValueError("features do not fit")
    except (KeyError, ValueError, TypeError) as error:
        raise _damaged(path) from error
    return Statistics(source, moments, features)


def read_reference_pickle(path: str | os.PathLike) -> FeatureMoments:
    """Read the reference implementation's statistics: a pickled dictionary of numbers and float64 arrays.

    `raw_mean` is the sum of the features and `raw_cov` the sum of their outer products, despite their names. Nothing in
    the file is run: the three names that it needs of numpy stand for the plain classes below, all others are refused.

    Raises:
        UserError: the file is missing, cut short, or holds anything else.
    """
    path = require_file(path, "statistics file")
    if path.stat().st_size > MAX_PICKLE_BYTES:
        raise UserError(f"{path} is far too large for statistics of features: give another file.")
    try:
        data = path.read_bytes()
        _check_memo(data)
        return _moments_of_reference(_Unpickler(io.BytesIO(data)).load())
    except _Forbidden as error:
        raise UserError(f"{path} is not opened, since its pickle asks for {error}, which statistics of features do not "
                        "need: give the file from the official repository.") from error
    # A pickle can call the plain classes with anything, so nearly anything may be raised.
    except (pickle.UnpicklingError, EOFError, LookupError, ValueError, TypeError, AttributeError, MemoryError,
            OverflowError, RecursionError) as error:
        raise UserError(f"{path} does not hold statistics of features as the reference implementation writes them "
                        f"({error}): give such a file, or one that this software wrote.") from error
    except OSError as error:
        raise UserError(f"Cannot read the statistics {path} ({error.strerror}): check the file and its permissions."
                        ) from error


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as file:
            if file.read(2) != b"PK":
                raise UserError(f"{path} is no statistics file of this software: give one that it wrote.")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, NotImplementedError) as error:
        raise _damaged(path) from error
    except OSError as error:
        raise UserError(f"Cannot read the statistics {path} ({error.strerror}): check the file and its permissions."
                        ) from error


def _read_source(path: Path, arrays: dict[str, np.ndarray]) -> Source:
    try:
        header = json.loads(str(arrays["header"]))
        if header["format"] != FORMAT:
            raise ValueError("another format")
        version = header["version"]
        if version == VERSION:
            return Source(**header["source"])
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path} is no statistics file of this software: give one that it wrote.") from error
    raise UserError(f"The statistics {path} have version {version}, but this code reads version {VERSION}: have them "
                    "made again, or use the release that wrote them.")


def _damaged(path: Path) -> UserError:
    return UserError(f"The statistics {path} are damaged or were cut short: delete the file and have it made again.")


def _moments(num: int, total: np.ndarray, outer: np.ndarray) -> FeatureMoments:
    """Moments of sums [D] and [D, D]; ValueError unless they are float64, finite and can belong together."""
    if total.ndim != 1 or outer.shape != 2 * total.shape or total.dtype != np.float64 or outer.dtype != np.float64:
        raise ValueError(f"sums of shapes {total.shape} and {outer.shape}")
    if num < 1 or not (np.isfinite(total).all() and np.isfinite(outer).all()):
        raise ValueError("numbers that are not finite, or no items")
    squares, mean = np.diagonal(outer), total / num
    if not np.allclose(outer, outer.T, rtol=1e-9, atol=1e-9 * np.abs(squares).max()):
        raise ValueError("outer products that are not symmetric")
    if (np.sqrt(np.maximum(squares, 0) / num) < np.abs(mean) * (1 - 1e-9)).any() or (squares < 0).any():
        raise ValueError("negative variances")
    moments = FeatureMoments(len(total))
    moments.count.fill_(num)
    moments.total.copy_(torch.from_numpy(total))
    moments.outer.copy_(torch.from_numpy(outer))
    return moments


def _moments_of_reference(content: Any) -> FeatureMoments:
    if type(content) is not dict or not PICKLE_KEYS <= content.keys():
        raise ValueError(f"not a dictionary with {', '.join(sorted(PICKLE_KEYS))}")
    num, dimension = content["num_items"], content["num_features"]
    if type(num) is not int or type(dimension) is not int:
        raise ValueError("counts that are not whole numbers")
    total, outer = (_array(content[key], key) for key in ("raw_mean", "raw_cov"))
    if total.shape != (dimension,):
        raise ValueError(f"raw_mean of shape {total.shape}, not ({dimension},)")
    return _moments(num, total, outer)


def _array(value: Any, name: str) -> np.ndarray:
    if type(value) is not _PickledArray or value.content is None:
        raise ValueError(f"no array as {name}")
    return value.content


def _check_memo(data: bytes) -> None:
    """Refuse room for more remembered objects than the pickle can hold: unpickling would take it without asking."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument >= len(data):
            raise _Forbidden("an unreasonable amount of memory")


class _Forbidden(Exception):
    """A pickle asks for something other than arrays."""


class _NdarrayName:
    """What `numpy.ndarray` becomes: a name to pass on, of which nothing can be made."""
    __slots__ = ()

    def __new__(cls, *arguments):
        raise _Forbidden("a bare array")


class _PickledDtype:
    """What `numpy.dtype` becomes: 8-byte floats, little-endian or big-endian."""
    __slots__ = ("code", "order")

    def __init__(self, code: Any, *flags):
        if code not in ("f8", "<f8", ">f8"):
            raise _Forbidden(f"numbers of the type {code!r}")
        self.code, self.order = "f8", code[0] if len(code) == 3 else "<"

    def __setstate__(self, state: tuple):
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", ">"):
            raise _Forbidden("an unusual type of numbers")
        self.order = state[1]


class _PickledArray:
    """What `numpy.core.multiarray._reconstruct` becomes: an empty array that its state fills."""
    __slots__ = ("content",)

    def __init__(self, *arguments):
        self.content = None

    def __setstate__(self, state: tuple):
        _, shape, dtype, fortran_order, data = state
        if type(dtype) is not _PickledDtype or type(data) is not bytes or type(shape) is not tuple:
            raise _Forbidden("an unusual array")
        flat = np.frombuffer(data, dtype.order + dtype.code).astype(np.float64)
        self.content = flat.reshape(shape, order="F" if fortran_order is True else "C")


class _Unpickler(pickle.Unpickler):
    """Knows three names, under both spellings of numpy's inner package, and gives stand-ins for them."""

    STAND_INS = {("numpy.core.multiarray", "_reconstruct"): _PickledArray,
                 ("numpy._core.multiarray", "_reconstruct"): _PickledArray,
                 ("numpy", "ndarray"): _NdarrayName, ("numpy", "dtype"): _PickledDtype}

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in self.STAND_INS:
            raise _Forbidden(f"{module}.{name}")
        return self.STAND_INS[module, name]
