"""Offsets of cameras: none, turns about the head, shifts along the camera's axes."""

import math

import torch

from applications.camera_offsets import NUMBERS, beside, moved
from tests.helpers import tiny
from training.cameras import LOOK_AT, frontal_label, split_label


def test_zeros_change_nothing():
    cameras = tiny.labels(0, 4)
    torch.testing.assert_close(moved(cameras, torch.zeros(4, NUMBERS)), cameras)


def test_a_turn_keeps_where_the_head_is_seen():
    """Seen from the camera, the point that it is turned about stays where it is, and so does its distance."""
    cameras = tiny.labels(1, 5)
    turned = moved(cameras, torch.cat([tiny.normal(2, 5, 3) * 0.5, torch.zeros(5, 3)], dim=1))
    pivot = torch.tensor([*LOOK_AT, 1.0])
    places = [torch.linalg.inv(split_label(labels)[0]) @ pivot for labels in (cameras, turned)]
    torch.testing.assert_close(places[0], places[1], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(cameras, turned)


def test_beside_turns_to_the_side_asked_for():
    camera = frontal_label()[None]
    seen = beside(camera, math.pi / 2)
    pose, _ = split_label(seen)
    offset = pose[0, :3, 3] - torch.tensor(LOOK_AT)
    before = split_label(camera)[0][0, :3, 3] - torch.tensor(LOOK_AT)
    torch.testing.assert_close(offset, torch.stack([before[2], before[1], -before[0]]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(beside(beside(camera, 0.3), -0.3), camera, rtol=1e-5, atol=1e-6)


def test_shifts_are_along_the_cameras_axes():
    cameras = tiny.labels(3, 1)
    pose, _ = split_label(cameras)
    for axis in range(3):
        offset = torch.zeros(1, NUMBERS)
        offset[0, 3 + axis] = 0.1
        shifted, _ = split_label(moved(cameras, offset))
        torch.testing.assert_close(shifted[0, :3, 3], pose[0, :3, 3] + 0.1 * pose[0, :3, axis])
        torch.testing.assert_close(shifted[0, :3, :3], pose[0, :3, :3])


def test_gradients_at_no_offset_are_finite():
    offsets = torch.zeros(2, NUMBERS, requires_grad=True)
    moved(tiny.labels(0, 2), offsets).square().sum().backward()
    assert offsets.grad.isfinite().all() and offsets.grad.any()
