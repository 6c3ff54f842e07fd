"""pv3d's cameras: degrees of the functions that take radians."""

import json
import math

import pytest
import torch

import pv3d
from training.cameras import frontal_label, split_label
from training.sampling.camera_paths import camera_path
from training.sampling.options import Orbit


def position(label: torch.Tensor) -> list[float]:
    return split_label(label)[0][:3, 3].tolist()


def angles(label: torch.Tensor) -> tuple[float, float]:
    """Azimuth and elevation of a camera's place, degrees."""
    x, y, z = position(label)
    return math.degrees(math.atan2(x, z)), math.degrees(math.asin(y / math.hypot(x, y, z)))


def test_frontal_is_turned_by_true_degrees():
    assert torch.equal(pv3d.frontal(), frontal_label())
    _, level = angles(frontal_label())
    assert angles(pv3d.frontal(yaw=10, pitch=-4)) == pytest.approx((10, level + 4), abs=1e-3)
    assert angles(pv3d.frontal(yaw=-90, pitch=20)) == pytest.approx((-90, level - 20), abs=1e-3)
    several = pv3d.frontal(yaw=torch.tensor([-20.0, 20.0]))
    assert several.shape == (2, 25) and torch.allclose(several[1], pv3d.frontal(20), atol=1e-6)


def test_orbits_are_those_of_gen_videos():
    assert torch.equal(pv3d.orbit(5), camera_path(torch.empty(0), 0, "orbit", 5))
    assert torch.equal(
        pv3d.orbit(5, yaw=30, pitch=8), camera_path(torch.empty(0), 0, "orbit", 5, Orbit(yaw=30, pitch=8))
    )
    lowest, left = pv3d.orbit(4, yaw=30, pitch=8)[:2]
    assert torch.allclose(lowest, pv3d.frontal(pitch=8), atol=1e-5)
    assert torch.allclose(left, pv3d.frontal(yaw=30), atol=1e-5)


def test_files(tmp_path):
    path = pv3d.orbit(4)
    (tmp_path / "path.json").write_text(json.dumps(path.tolist()))
    assert torch.equal(pv3d.read_cameras(str(tmp_path / "path.json")), path)
    assert pv3d.resample(path, 7).shape == (7, 25)
