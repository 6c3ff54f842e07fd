"""Comparison with the metrics' golden arrays, which have their own tolerances and NaN where there is no value."""

import numpy as np

from tests.helpers import golden


def array(file: str, name: str) -> np.ndarray:
    """An array of `tests/data/golden/metrics/<file>.npz`."""
    return golden.load(f"metrics/{file}")[name]


def hold(file: str, name: str, value, rtol: float = 0, atol: float = 0) -> None:
    """Assert that `value` is golden array `name`, NaN where it is NaN; both tolerances 0: exactly."""
    expected = array(file, name)
    assert np.shape(value) == expected.shape
    golden.HELD.add((f"metrics/{file}", name))
    np.testing.assert_allclose(np.asarray(value), expected, rtol, atol, equal_nan=True, err_msg=f"{file}.npz {name}")
