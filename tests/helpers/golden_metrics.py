"""Comparison with the metrics' golden arrays, which have their own tolerances and NaN where there is no value."""

import numpy as np
from numpy.testing import assert_allclose

from tests.helpers import golden


def array(file: str, name: str) -> np.ndarray:
    """Return an array of `tests/data/golden/metrics/<file>.npz`."""
    return golden.load(f"metrics/{file}")[name]


def hold(file: str, name: str, value, rtol: float = 0, atol: float = 0) -> None:
    """Assert that `value` is golden array `name`, NaN where it is NaN; both tolerances 0: exactly."""
    expected = array(file, name)
    assert np.shape(value) == expected.shape
    held = (f"metrics/{file}", name)
    golden.HELD.add(held)
    ours = np.asarray(value)
    label = f"{file}.npz {name}"
    assert_allclose(ours, expected, rtol, atol, err_msg=label)
