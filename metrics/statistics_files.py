"""Files of feature statistics: ours, and the reference implementation's, read without running what is in them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dnnlib.errors import UserError
from dnnlib.files import atomic_path, parse_json, reading, require_file, shown
from metrics.arrays import read_arrays
from metrics.frechet import FeatureMoments
from torch_utils.pickles import reader
from torch_utils.pickles.machine import Record
from torch_utils.pickles.reader import is_finite

FORMAT = "pv3d-feature-statistics"
VERSION = 2  # 1: possibly of features that were kept of other files of the same names and sizes
MAX_PICKLE_BYTES = 2**28  # of a reference file; the official one has 1.3 MB
RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")  # numpy 1, numpy 2
PICKLE_KEYS = frozenset({"num_items", "num_features", "raw_mean", "raw_cov"})


@dataclass(frozen=True)
class Source:
    """What features were computed from, and how: statistics of different detectors or protocols cannot be compared."""

    detector: str  # name, such as i3d or random
    checksum: str  # of the detector's weights
    protocol: str  # name, such as fvd5k_16f
    dataset: str  # fingerprint


@dataclass(frozen=True)
class Statistics:
    """Moments of a set of features, and the features [N, D] themselves where they were kept."""

    source: Source
    moments: FeatureMoments
    features: torch.Tensor | None = None


def save_statistics(path: Path, statistics: Statistics) -> None:
    """Write an npz file of plain arrays, atomically. Raises UserError: no space, no permission."""
    moments = statistics.moments
    header = {"format": FORMAT, "version": VERSION, "source": asdict(statistics.source)}
    arrays: dict[str, Any] = {
        "header": np.array(json.dumps(header)),
        "num": np.array(moments.num, np.int64),
        "total": moments.total.numpy(),
        "outer": moments.outer.numpy(),
    }
    if statistics.features is not None:
        arrays["features"] = statistics.features.detach().cpu().numpy()
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def load_statistics(
    path: Path,
    detector: str,
    checksum: str,
    protocol: str,
) -> Statistics:
    """Read what `save_statistics` wrote.

    Args:
        detector, checksum, protocol: what the statistics will be compared with; any dataset will do.

    Raises:
        UserError: the file is missing, damaged, not ours, of another version, detector or protocol.
    """
    path = require_file(path, "statistics file")
    with reading(
        path,
        f"The statistics {path} are damaged or were cut short",
        "delete the file and have it made again",
    ):
        _require_zip(path)
        arrays = read_arrays(path)
        source = _read_source(path, arrays)
        moments = _moments(_number(arrays["num"]), arrays["total"], arrays["outer"])
        features = _features(arrays["features"], moments) if "features" in arrays else None
    wanted = {"detector": detector, "checksum": checksum, "protocol": protocol}
    for field, needed in wanted.items():
        found = getattr(source, field)
        if found != needed:
            raise UserError(
                f"The statistics {path} have the {field} {shown(found)}, but {needed} is needed: give "
                "another file, or have it made again."
            )
    return Statistics(source, moments, features)


def require_free(path: Path, source: Source) -> None:
    """Raise a UserError if there is a file at `path` that is no statistics of this source: it would be lost."""
    if not path.exists():
        return
    try:
        is_same = load_statistics(path, source.detector, source.checksum, source.protocol).source == source
    except UserError:
        is_same = False
    if not is_same:
        raise UserError(
            f"{path} is there, and holds other statistics or none that can be read: choose another file, or remove it."
        )


def read_reference_pickle(path: Path) -> FeatureMoments:
    """Read the reference implementation's statistics: a pickled dictionary of numbers and float64 arrays.

    `raw_mean` is the sum of the features and `raw_cov` the sum of their outer products, despite their names. Nothing in
    the file is run: what it says of numpy's arrays is read as a record (`torch_utils.pickles.reader`).

    Raises:
        UserError: the file is missing, cut short, or holds anything else.
    """
    path = require_file(path, "statistics file")
    if path.stat().st_size > MAX_PICKLE_BYTES:
        raise UserError(f"{path} is far too large for statistics of features: give another file.")
    with reading(
        path,
        f"{path} does not hold statistics of features as the reference implementation writes them",
        "give such a file, or one that this software wrote",
    ):
        return _moments_of_reference(reader.read(path))


# --- Our files --------------------------------------------------------------------------------------------------------


def _require_zip(path: Path) -> None:
    with open(path, "rb") as file:
        start = file.read(2)
    if start != b"PK":
        raise _not_ours(path)


def _not_ours(path: Path) -> UserError:
    return UserError(f"{path} is no statistics file of this software: give one that it wrote.")


def _read_source(path: Path, arrays: dict[str, np.ndarray]) -> Source:
    """Return what a header says. UserError if there is none of ours, or it is of another version."""
    try:
        header = parse_json(str(arrays["header"]).encode())
        if header["format"] != FORMAT:
            raise ValueError("another format")
        version = header["version"]
        source = header["source"]
        if version == VERSION:
            if not all(type(value) is str for value in source.values()):
                raise ValueError("a source that is no text")
            return Source(**source)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise _not_ours(path) from error
    raise UserError(
        f"The statistics {path} have version {shown(repr(version))}, but this code reads version "
        f"{VERSION}: have them made again, or use the release that wrote them."
    )


def _number(array: np.ndarray) -> int:
    if array.shape != () or array.dtype.kind != "i":
        raise ValueError("a count that is no whole number")
    return int(array)


def _features(array: np.ndarray, moments: FeatureMoments) -> torch.Tensor:
    """Return features [N, D]. ValueError unless they are floating-point, finite and of the moments' shape."""
    features = torch.from_numpy(array)
    if features.shape != (moments.num, moments.dimension) or not features.is_floating_point():
        raise ValueError("features do not fit")
    if not is_finite(features):
        raise ValueError("features that are not finite")
    return features


# --- Moments of both --------------------------------------------------------------------------------------------------


def _moments(num: int, total: np.ndarray, outer: np.ndarray) -> FeatureMoments:
    """Return moments of sums [D] and [D, D]. ValueError unless they are float64, finite and can belong together."""
    if total.ndim != 1 or outer.shape != 2 * total.shape:
        raise ValueError(f"sums of shapes {total.shape} and {outer.shape}")
    if total.dtype != np.float64 or outer.dtype != np.float64:
        raise ValueError("sums of another type than float64")
    moments = FeatureMoments(len(total))
    moments.count.fill_(num)
    moments.total.copy_(torch.from_numpy(total))
    moments.outer.copy_(torch.from_numpy(outer))
    if num < 1 or not is_finite(moments.total) or not is_finite(moments.outer):
        raise ValueError("numbers that are not finite, or no items")
    squares = np.diagonal(outer)
    tolerance = 1e-9 * np.abs(squares).max()
    if not np.allclose(outer, outer.T, rtol=1e-9, atol=tolerance):
        raise ValueError("outer products that are not symmetric")
    least = np.abs(total / num) * (1 - 1e-9)  # a root mean square is no less than the mean
    if (squares < 0).any() or (np.sqrt(squares / num) < least).any():
        raise ValueError("negative variances")
    return moments


# --- The reference's files --------------------------------------------------------------------------------------------


def _moments_of_reference(content: Any) -> FeatureMoments:
    if type(content) is not dict or not PICKLE_KEYS <= content.keys():
        raise ValueError(f"not a dictionary with {', '.join(sorted(PICKLE_KEYS))}")
    num = content["num_items"]
    dimension = content["num_features"]
    if type(num) is not int or type(dimension) is not int:
        raise ValueError("counts that are not whole numbers")
    total = _array(content["raw_mean"], "raw_mean")
    outer = _array(content["raw_cov"], "raw_cov")
    if total.shape != (dimension,):
        raise ValueError(f"raw_mean of shape {total.shape}, not ({dimension},)")
    return _moments(num, total, outer)


def _array(value: Any, name: str) -> np.ndarray:
    """Return the float64 array of a record of numpy's. ValueError and the like if it is none."""
    if type(value) is not Record or value.name not in RECONSTRUCT or type(value.state) is not tuple:
        raise ValueError(f"no array as {name}")
    _, shape, dtype, fortran_order, data = value.state
    if type(shape) is not tuple or type(data) is not bytes:
        raise ValueError(f"an unusual array as {name}")
    flat = np.frombuffer(data, _dtype(dtype)).astype(np.float64)
    return flat.reshape(shape, order="F" if fortran_order is True else "C")


def _dtype(value: Any) -> str:
    """Return numpy's name of 8-byte floats, little-endian or big-endian."""
    if type(value) is not Record or value.name != "numpy.dtype" or value.arguments[:1] != ("f8",):
        raise ValueError("numbers of another type than float64")
    order = value.state[1] if type(value.state) is tuple else "<"
    if order not in ("<", ">"):
        raise ValueError("numbers in an unusual order")
    return f"{order}f8"
