"""The multi-view protocol's golden cameras, rays, times and pairs, against ours."""

import numpy as np
import pytest
import torch

from metrics import multiview
from tests.helpers.golden_metrics import array, hold
from training.cameras import canonical_label, frontal_label
from training.rendering.rays import camera_rays

CLOSE = {"atol": 2e-6}


def test_cameras():
    hold("multiview", "canonical_camera", canonical_label())
    hold("multiview", "side_camera", frontal_label(np.deg2rad(30.0)), **CLOSE)
    yaw, pitch = torch.from_numpy(np.deg2rad(array("multiview", "yaw_pitch_deg"))).T
    hold("multiview", "cameras", frontal_label(yaw, pitch), **CLOSE)
    np.testing.assert_allclose(
        multiview.protocol_cameras(),
        [array("multiview", "canonical_camera"), array("multiview", "side_camera")],
        atol=2e-6,
    )
    hold("warping", "canonical_camera", canonical_label())
    hold("warping", "side_camera", frontal_label(np.deg2rad(30.0)), **CLOSE)


@pytest.mark.parametrize("name", ["canonical", "side"])
def test_rays(name):
    camera = torch.from_numpy(array("multiview", f"{name}_camera"))[None]
    origins, directions = camera_rays(camera, 4)
    hold("multiview", f"ray_origins_{name}_4", origins[0], **CLOSE)
    hold("multiview", f"ray_dirs_{name}_4", directions[0], **CLOSE)
    corners = array("multiview", f"ray_dirs_{name}_64_corner_idx")
    hold("multiview", f"ray_dirs_{name}_64_corner", camera_rays(camera, 64)[1][0, corners], **CLOSE)


def test_times_views_and_pairs():
    hold("multiview", "timesteps", multiview.TIMES, **CLOSE)
    hold("multiview", "view_is_side", multiview.CAMERA_OF_VIEW)
    hold("multiview", "view_time_slot", multiview.TIME_OF_VIEW)
    hold("multiview", "pairs_cd_we", multiview.PAIRS_GEOMETRY)
    hold("multiview", "pairs_id", multiview.PAIRS_IDENTITY)
