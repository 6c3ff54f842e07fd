"""Looks back on the whole suite: some test compared every golden array with ours. And the list of kinks is right."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers import golden, kinks

ROOT = Path(__file__).parents[1]
OPS, NETWORKS = "tests/torch_utils/ops/test_", "tests/training/networks/test_"
RENDERING = "tests/training/rendering/test_"
# Which tests hold which file; the slow ones hold some of the float64 twins.
HOLDERS = {
    "ops": [
        *(f"{OPS}{name}" for name in ("upfirdn2d", "bias_act", "conv2d_resample")),
        *(f"{NETWORKS}{name}" for name in ("layers", "superresolution", "discriminators")),
    ],
    "rendering": [
        f"{OPS}plane_sampling",
        "tests/training/test_cameras",
        *(f"{RENDERING}{name}" for name in ("rays", "sampling", "marching", "renderer")),
        f"{NETWORKS}decoder",
    ],
    "superresolution": [f"{NETWORKS}superresolution"],
    "generator": [f"{NETWORKS}{name}" for name in ("mapping", "motion", "backbone", "generator")],
    "discriminators": [f"{NETWORKS}discriminators"],
    "training_step": ["tests/training/test_training_step"],
    "weights_check": ["tests/training/checkpoints/test_weights"],
}
SLOW = {
    "generator_f64": {"image_stat"},
    "training_step_f64": golden.outputs("training_step_f64"),
    "discriminators_f64": {array for array in golden.outputs("discriminators_f64") if array.startswith("vid_")},
}
NORMAL = {
    file: golden.outputs(file) - SLOW.get(file, set())
    for file in [*HOLDERS, "rendering_f64", "generator_f64", "discriminators_f64"]
}


def check_held(request, file: str, arrays: set[str], slow: bool) -> None:
    """Skip where only a part of the tests was asked for."""
    ran = {
        item.nodeid.split(".py")[0]
        for item in request.session.items
        if (item.get_closest_marker("slow") is not None) == slow
    }
    holders = HOLDERS[file.removesuffix("_f64")]
    if request.config.getoption("keyword") or not (ran >= set(holders) or slow and ran & set(holders)):
        pytest.skip("needs the whole suite")
    assert arrays - {array for held, array in golden.HELD if held == file} == set()


@pytest.mark.parametrize("file", NORMAL)
def test_every_array_was_compared(file, request):
    assert NORMAL[file]
    check_held(request, file, NORMAL[file], slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("file", SLOW)
def test_every_other_array_was_compared(file, request):
    check_held(request, file, SLOW[file], slow=True)


@pytest.mark.parametrize("holder", sorted({holder for holders in HOLDERS.values() for holder in holders}))
def test_holders_are_where_they_are_looked_for(holder):
    """Otherwise the tests above would skip themselves for ever."""
    assert (ROOT / f"{holder}.py").is_file()


def test_every_file_is_looked_at():
    assert {path.stem for path in golden.FOLDER.glob("*.npz")} == NORMAL.keys() | SLOW.keys()


@pytest.mark.slow
def test_the_list_of_kinks_is_what_float64_says():
    listed = np.load(kinks.FILE)
    found = {}
    for case, forward in kinks.forwards():
        found |= kinks.near_zero(case, forward)
    assert found.keys() == set(listed)
    for name, values in found.items():
        assert np.array_equal(listed[name], values), name
