"""Looks back on the tests of metrics: each golden array was an input or was compared with ours, or cannot be."""

import pytest

from tests.helpers import golden

FOLDER = "tests/metrics/test_"
HOLDERS = {
    "fvd": ("frechet", "statistics_files"),
    "chamfer": ("chamfer",),
    "warping": ("warping", "resize", "multiview_arrays"),
    "multiview": ("multiview_arrays",),
}
SCENES = ("bumpy", "sphere_plane")
INPUTS = {
    "fvd": {f"{case}_{side}" for case in "abc" for side in ("gen", "real")},
    "chamfer": {"xyz", "opacity"},
    "warping": {"resize_src", *(f"{scene}_{name}" for scene in SCENES for name in ("images", "depth"))},
    "multiview": {"yaw_pitch_deg", *(f"ray_dirs_{camera}_64_corner_idx" for camera in ("canonical", "side"))},
}
# They describe exact scenes, of which the files hold images and depth at 64 x 64 but neither colours nor surfaces. The
# sphere and the wall follow from their depths closely enough to find their depth at 256 x 256, the wavy surface does
# not; which pixels along an outline are seen by both views, and colours between pixels, do not follow from either.
OUT_OF_REACH = {
    "warping": {
        "bumpy_we_fixed_zbuffer_exact_depth",
        *(
            f"{scene}_we_{name}"
            for scene in SCENES
            for name in ("exact_bilinear", "exact_bilinear_count", "analytic_colour")
        ),
    }
}


@pytest.mark.parametrize("file", HOLDERS)
def test_every_array_was_compared(file, request):
    ran = {item.nodeid.split(".py")[0] for item in request.session.items}
    if request.config.getoption("keyword") or not ran >= {FOLDER + name for name in HOLDERS[file]}:
        pytest.skip("needs the whole suite")
    held = {name for where, name in golden.HELD if where == f"metrics/{file}"}
    assert set(golden.load(f"metrics/{file}")) - INPUTS[file] - OUT_OF_REACH.get(file, set()) == held
