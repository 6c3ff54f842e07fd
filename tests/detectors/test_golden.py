"""Looks back on the tests of detectors: each golden array was an input or was compared with ours."""

import pytest

from tests.helpers import golden

FOLDER = "tests/detectors/test_"
INPUTS = {
    "i3d": {"video"},
    "arcface": {"frames"},
}
SLOW = {"logits_base_f64"}  # held by a slow test


@pytest.mark.parametrize("file", INPUTS)
def test_every_array_was_compared(file, request):
    ran = {item.nodeid.split(".py")[0] for item in request.session.items}
    if request.config.getoption("keyword") or f"{FOLDER}{file}" not in ran:
        pytest.skip("needs the whole suite")
    held = {array for where, array in golden.HELD if where == f"metrics/{file}"}
    arrays = {name for name in golden.load(f"metrics/{file}") if not name.endswith("_idx")}
    results = arrays - INPUTS[file]
    assert results - SLOW == held - SLOW
