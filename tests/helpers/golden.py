"""Reference vectors in `tests/data/golden`: load them and compare with the tolerance stored for each array.

Files `<name>_f64` hold the same arrays computed in float64; ours in float64 must agree to `FLOAT64_TOLERANCE`.
Metrics, with a = ours, b = golden: `max` is max|a-b| / max|b|, `l2` is ||a-b|| / ||b||, `abs` is max|a-b| (for what is
zero), `rms` is max|a-b| over the rms of the whole gradient that the entries were picked from.
"""

import functools
import json
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parents[1] / "data" / "golden"
FLOAT64_TOLERANCE = 1e-9  # for all metrics
HELD: set[tuple[str, str]] = set()  # (file, array) of every comparison made so far
_UNLISTED = {"metric": "max", "tolerance": 1e-5}  # the d2_dy arrays: the tolerance of their family


@functools.cache
def load(name: str):
    """Return all arrays of `<name>.npz`, a read-only mapping; they are decompressed when first asked for."""
    return np.load(FOLDER / f"{name.removesuffix('.npz')}.npz")


def config(name: str, case: str) -> dict:
    """Return the settings of a case: the JSON stored as `<case>_cfg`."""
    return json.loads(str(load(name)[f"{case}_cfg"]))


def cases(name: str, prefix: str, suffix: str = "_cfg") -> list[str]:
    """Return the names of the cases that begin with `prefix`: arrays `<case><suffix>` without the suffix, sorted."""
    return sorted(key.removesuffix(suffix) for key in load(name) if key.startswith(prefix) and key.endswith(suffix))


def tensor(name: str, array: str, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return one array as a CPU tensor, in `dtype` if given."""
    return torch.from_numpy(np.array(load(name)[array])).to(dtype)


def seeded(seed, shape) -> torch.Tensor:
    """Return an input made by the seed rule: normal numbers, float32."""
    return torch.from_numpy(np.random.RandomState(int(seed)).standard_normal(tuple(shape)).astype(np.float32))


def stat(x: torch.Tensor) -> torch.Tensor:
    """Return mean and population standard deviation over rows and columns: [..., H, W] -> float64 [..., 2]."""
    flat = x.detach().double().flatten(-2)
    return torch.stack([flat.mean(-1), flat.std(-1, unbiased=False)], dim=-1)


def pictures(seed, count: int, resolution: int) -> torch.Tensor:
    """Return the discriminators' inputs, made by their rule: float32 [count, 3, resolution, resolution] in [-1, 1]."""
    random, f = np.random.RandomState(int(seed)), np.float32
    coarse, middle, fine = (
        random.standard_normal((count, 3, side, side)).astype(f) for side in (8, resolution // 4, resolution)
    )
    coarse, middle = (x.repeat(k, axis=2).repeat(k, axis=3) for x, k in ((coarse, resolution // 8), (middle, 4)))
    return torch.from_numpy(np.clip(f(0.8) * coarse + f(0.4) * middle + f(0.2) * fine, f(-1), f(1)))


def error(ours, golden, metric: str, rms: float | None = None) -> float:
    """Return the distance of two arrays in one of the four metrics; `rms` is the scale that metric 'rms' divides by."""
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(golden, dtype=np.float64)
    difference = np.abs(a - b)
    if metric == "l2":
        return float(np.linalg.norm(difference) / np.linalg.norm(b))
    scale = {"max": np.abs(b).max(), "abs": 1.0, "rms": rms}[metric]
    return float(difference.max() / max(scale, np.finfo(np.float64).tiny))


def check(name: str, array: str, value, rms: float | None = None, tolerance: float | None = None) -> None:
    """Assert that `value` (tensor or array) equals golden `array` of `<name>.npz` within its stored tolerance.

    `rms` is needed by gradient samples: the norm of the whole gradient / sqrt(its number of elements). `tolerance`
    replaces the stored one (for computations in float64 or in reduced precision).
    """
    name = name.removesuffix(".npz")
    if isinstance(value, torch.Tensor):
        value = value.detach().double().cpu().numpy()
    golden = load(name)[array]
    HELD.add((name, array))
    entry = _entry(name, array)
    assert np.shape(value) == golden.shape, f"{name}.npz {array}: shape {np.shape(value)}, golden {golden.shape}"
    found, allowed = error(value, golden, entry["metric"], rms), tolerance or entry["tolerance"]
    assert found <= allowed, f"{name}.npz {array}: {entry['metric']} error {found:.2e} above {allowed:.0e}"


def listed_parameters(name: str, index: str = "index") -> list[str]:
    """Return the parameters whose gradients a file holds: those of the arrays `<index>.<parameter>`."""
    return [key.removeprefix(f"{index}.") for key in load(name.removesuffix("_f64")) if key.startswith(f"{index}.")]


def check_gradients(name: str, prefix: str, gradients: dict[str, torch.Tensor | None], index: str = "index") -> None:
    """Assert norms `<prefix>_norm.<parameter>` and entries `<prefix>_sample.<parameter>` of parameters' gradients.

    The arrays `<index>.<parameter>` hold the entries' flat positions; a gradient may be None where the loss does not
    reach the parameter.
    """
    arrays, positions = load(name), load(name.removesuffix("_f64"))
    for parameter in listed_parameters(name, index):
        gradient = gradients[parameter]
        where = torch.from_numpy(positions[f"{index}.{parameter}"])
        norm = torch.zeros([]) if gradient is None else gradient.double().norm()
        picked = torch.zeros(len(where)) if gradient is None else gradient.flatten()[where]
        check(name, f"{prefix}_norm.{parameter}", norm)
        size = 1 if gradient is None else gradient.numel()
        rms = float(arrays[f"{prefix}_norm.{parameter}"]) / size**0.5
        check(name, f"{prefix}_sample.{parameter}", picked, rms=rms)


def outputs(name: str) -> set[str]:
    """Return the names of the arrays of a file that are results, not inputs."""
    listed = _tolerances().get(f"{name.removesuffix('_f64')}.npz")
    if listed is None:  # weights_check
        return {array for array in load(name) if not array.endswith("_names")}
    return {array for array in load(name) if array in listed or array.endswith("_d2_dy")}


def _entry(name: str, array: str) -> dict:
    """Return metric and tolerance of an array."""
    entry = _tolerances().get(f"{name.removesuffix('_f64')}.npz", {}).get(array, _UNLISTED)
    return {**entry, "tolerance": FLOAT64_TOLERANCE} if name.endswith("_f64") else entry


@functools.cache
def _tolerances() -> dict:
    return json.loads((FOLDER / "tolerances.json").read_text())
