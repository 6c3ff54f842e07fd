"""Reference vectors in `tests/data/golden`: load them and compare with the tolerance stored for each array.

Metrics, with a = ours, b = golden: `max` is max|a-b| / max|b|, `l2` is ||a-b|| / ||b||, `abs` is max|a-b| (for what is
zero), `rms` is max|a-b| over the rms of the whole gradient that the entries were picked from.
"""

import functools
import json
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / 'data' / 'golden'
_UNLISTED = {'metric': 'max', 'tolerance': 1e-5}       # the d2_dy arrays: the tolerance of their family


@functools.cache
def load(name: str):
    """All arrays of `<name>.npz`, a read-only mapping; they are decompressed when first asked for."""
    return np.load(FOLDER / f'{name.removesuffix(".npz")}.npz')


def config(name: str, case: str) -> dict:
    """The settings of a case: the JSON stored as `<case>_cfg`."""
    return json.loads(str(load(name)[f'{case}_cfg']))


def cases(name: str, prefix: str, suffix: str = '_cfg') -> list[str]:
    """Names of the cases that begin with `prefix`: arrays `<case><suffix>` without the suffix, sorted."""
    return sorted(key.removesuffix(suffix) for key in load(name) if key.startswith(prefix) and key.endswith(suffix))


def tensor(name: str, array: str, dtype: torch.dtype | None = None) -> torch.Tensor:
    """One array as a CPU tensor, in `dtype` if given."""
    return torch.from_numpy(np.array(load(name)[array])).to(dtype)


def seeded(seed, shape) -> torch.Tensor:
    """Input made by the seed rule: normal numbers, float32."""
    return torch.from_numpy(np.random.RandomState(int(seed)).standard_normal(tuple(shape)).astype(np.float32))


def error(ours, golden, metric: str, rms: float | None = None) -> float:
    """Distance of two arrays in one of the four metrics; `rms` is the scale that metric 'rms' divides by."""
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(golden, dtype=np.float64)
    difference = np.abs(a - b)
    if metric == 'l2':
        return float(np.linalg.norm(difference) / np.linalg.norm(b))
    scale = {'max': np.abs(b).max(), 'abs': 1.0, 'rms': rms}[metric]
    return float(difference.max() / max(scale, np.finfo(np.float64).tiny))


def check(name: str, array: str, value, rms: float | None = None, tolerance: float | None = None) -> None:
    """Assert that `value` (tensor or array) equals golden `array` of `<name>.npz` within its stored tolerance.

    `rms` is needed by gradient samples: the norm of the whole gradient / sqrt(its number of elements). `tolerance`
    replaces the stored one (for computations in float64 or in reduced precision).
    """
    name = name.removesuffix('.npz')
    if isinstance(value, torch.Tensor):
        value = value.detach().double().cpu().numpy()
    golden = load(name)[array]
    entry = _tolerances()[f'{name}.npz'].get(array, _UNLISTED)
    assert np.shape(value) == golden.shape, f'{name}.npz {array}: shape {np.shape(value)}, golden {golden.shape}'
    found, allowed = error(value, golden, entry['metric'], rms), tolerance or entry['tolerance']
    assert found <= allowed, f'{name}.npz {array}: {entry["metric"]} error {found:.2e} above {allowed:.0e}'


@functools.cache
def _tolerances() -> dict:
    return json.loads((FOLDER / 'tolerances.json').read_text())
