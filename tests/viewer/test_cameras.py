"""Cameras of the page: those of a drag in closed form, and the angles of any label."""

import math

import pytest
import torch

import pv3d
from training.cameras import FOCAL, FRONTAL_PITCH, LOOK_AT, RADIUS, canonical_label, intrinsics_matrix
from viewer.cameras import Angles, angles_of


@pytest.mark.parametrize("yaw, pitch, zoom", [(0, 0, 1), (20, 5, 1), (-35, -10, 2.5), (170, 40, 0.5)])
def test_a_label_in_closed_form(yaw, pitch, zoom):
    label = Angles(yaw=yaw, pitch=pitch, zoom=zoom).label()
    elevation = math.asin(1 - 2 * FRONTAL_PITCH / math.pi) - math.radians(pitch)
    azimuth = math.radians(yaw)
    flat = RADIUS * math.cos(elevation)
    place = torch.tensor([flat * math.sin(azimuth), RADIUS * math.sin(elevation), flat * math.cos(azimuth)])
    pose = label[:16].view(4, 4)
    assert torch.allclose(pose[:3, 3], place, atol=1e-5)
    forward = torch.nn.functional.normalize(torch.tensor(LOOK_AT) - place, dim=0)
    assert torch.allclose(pose[:3, 2], forward, atol=1e-5)
    assert torch.allclose(pose[:3, :3] @ pose[:3, :3].T, torch.eye(3), atol=1e-5) and pose[1, 1] < 0, "upright"
    wanted = intrinsics_matrix()
    wanted[0, 0] *= zoom
    wanted[1, 1] *= zoom
    assert torch.equal(label[16:].view(3, 3), wanted)


def test_without_zoom_it_is_the_one_of_pv3d():
    assert torch.equal(Angles(yaw=12, pitch=-3).label(), pv3d.frontal(12, -3))


@pytest.mark.parametrize(
    "angles", [Angles(), Angles(yaw=-35, pitch=12, zoom=2.5), Angles(yaw=170, pitch=-60, zoom=0.5)]
)
def test_angles_come_back(angles):
    found = angles_of(angles.label())
    for name, value in vars(angles).items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-3), name


def test_angles_of_any_label():
    level = angles_of(canonical_label())
    assert level.yaw == 0 and level.zoom == pytest.approx(1)
    assert level.pitch == pytest.approx(math.degrees(math.asin(1 - 2 * FRONTAL_PITCH / math.pi)), abs=1e-3)
    at_origin = canonical_label()
    at_origin[11] = 0
    assert angles_of(at_origin).pitch == pytest.approx(level.pitch, abs=1e-3), "no direction: level"
    assert FOCAL == pytest.approx(intrinsics_matrix()[0, 0].item())
