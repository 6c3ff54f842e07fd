"""The multi-view protocol's golden cameras, rays, times and pairs, against ours."""

import numpy as np
import pytest
import torch

from metrics import multiview
from metrics.video_sources import scored_times
from tests.helpers.golden_metrics import array, hold
from training.cameras import canonical_label, frontal_label
from training.checkpoints.opener import load_generator
from training.rendering.rays import camera_rays

CLOSE = 2e-6


def test_cameras():
    canonical = canonical_label()
    side = frontal_label(np.deg2rad(30.0))
    for file in ("multiview", "warping"):
        hold(file, "canonical_camera", canonical)
        hold(file, "side_camera", side, atol=CLOSE)
    expected = [array("multiview", "canonical_camera"), array("multiview", "side_camera")]
    np.testing.assert_allclose(multiview.protocol_cameras(), expected, atol=CLOSE)


def test_cameras_of_angles():
    degrees = array("multiview", "yaw_pitch_deg")
    yaw, pitch = torch.from_numpy(np.deg2rad(degrees)).T
    hold("multiview", "cameras", frontal_label(yaw, pitch), atol=CLOSE)


@pytest.mark.parametrize("name", ["canonical", "side"])
def test_rays(name):
    camera = torch.from_numpy(array("multiview", f"{name}_camera"))[None]
    origins, directions = camera_rays(camera, 4)
    hold("multiview", f"ray_origins_{name}_4", origins[0], atol=CLOSE)
    hold("multiview", f"ray_dirs_{name}_4", directions[0], atol=CLOSE)
    corners = array("multiview", f"ray_dirs_{name}_64_corner_idx")
    _, directions = camera_rays(camera, 64)
    hold("multiview", f"ray_dirs_{name}_64_corner", directions[0, corners], atol=CLOSE)


def test_times_views_and_pairs(snapshot):
    hold("multiview", "timesteps", scored_times(load_generator(snapshot)), atol=CLOSE)
    hold("multiview", "view_is_side", multiview.CAMERA_OF_VIEW)
    hold("multiview", "view_time_slot", multiview.TIME_OF_VIEW)
    hold("multiview", "pairs_cd_we", multiview.PAIRS_GEOMETRY)
    hold("multiview", "pairs_id", multiview.PAIRS_IDENTITY)
