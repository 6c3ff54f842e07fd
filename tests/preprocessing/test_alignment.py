"""Crops follow faces: by closed forms, for any motion of the face, and by the pixels that they show."""

import numpy as np
import pytest

from preprocessing import alignment
from preprocessing.records import LEFT_EYE, MOUTH_CORNERS, RIGHT_EYE

SIDE = 512


def face(seed: int = 0) -> np.ndarray:
    """Return upright landmarks [68, 2] with eyes 1 apart, 1.2 above the mouth."""
    points = np.random.default_rng(seed).normal(size=[68, 2])
    points[RIGHT_EYE] += [-0.5, 0] - points[RIGHT_EYE].mean(axis=0)
    points[LEFT_EYE] += [0.5, 0] - points[LEFT_EYE].mean(axis=0)
    points[list(MOUTH_CORNERS)] = [[-0.4, 1.2], [0.4, 1.2]]
    return points


def moved(points: np.ndarray, scale: float, roll: float, shift: list[float]) -> np.ndarray:
    """Scale, turn (radians) and shift landmarks."""
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return scale * points @ turn.T + shift


def test_the_crop_lies_where_the_formulas_say():
    landmarks = moved(face(), 100.0, 0.0, [300.0, 200.0])
    maps = alignment.align(landmarks[None], SIDE)
    side_in_source = 2 * alignment.MOUTH_SCALE * 120 * alignment.CROP_PART  # 1.8 x 1.2 > 2 x 1
    middle = [300.0, 200.0 + alignment.CROP_MIDDLE * 120]
    np.testing.assert_allclose(alignment.scales(maps), SIDE / side_in_source)
    np.testing.assert_allclose(alignment.apply(maps, np.array([[middle]])), [[[255.5, 255.5]]], atol=1e-9)


def test_a_moving_rolling_scaling_face_stays_in_place():
    motions = [(100.0, 0.0, [300.0, 200.0]), (40.0, 0.8, [90.0, 700.0]), (310.0, -2.5, [0.0, 0.0])]
    landmarks = np.stack([moved(face(), *motion) for motion in motions])
    seen = alignment.apply(alignment.align(landmarks, SIDE), landmarks)
    np.testing.assert_allclose(seen, np.broadcast_to(seen[:1], seen.shape), atol=1e-6)


def test_similarities_compose_and_invert():
    maps = alignment.align(np.stack([face(1) * 30, face(2) * 80 + 7]), SIDE)
    others = alignment.align(np.stack([face(3) * 200, face(4) * 10]), SIDE)
    points = np.random.default_rng(5).normal(size=[2, 9, 2])
    both = alignment.apply(alignment.compose(maps, others), points)
    np.testing.assert_allclose(both, alignment.apply(maps, alignment.apply(others, points)), atol=1e-8)
    np.testing.assert_allclose(alignment.apply(alignment.compose(alignment.invert(maps), maps), points), points)


@pytest.mark.parametrize("scale", [0.15, 0.4, 0.9, 1.0, 2.5])
def test_a_smooth_picture_is_resampled_where_the_map_says(scale):
    """Ramps of grey, whose values say where they were seen."""
    rows, columns = np.mgrid[0:600, 0:800]
    image = np.stack([columns / 3.7, rows / 3.7, np.full_like(rows, 90)], axis=2).round().astype(np.uint8)
    angle = 0.3
    linear = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    to_crop = np.concatenate([linear, (31.5 - linear @ [400.0, 300.0])[:, None]], axis=1)
    crop = alignment.warp(image, to_crop, 64).astype(float)
    grid = np.stack(np.meshgrid(np.arange(64), np.arange(64)), axis=-1).reshape(1, -1, 2)
    places = alignment.apply(alignment.invert(to_crop[None]), grid.astype(float))[0]
    inside = (places > 30).all(axis=1) & (places < [770, 570]).all(axis=1)
    difference = crop.reshape(-1, 3)[inside, :2] - places[inside] / 3.7
    assert np.abs(difference).max() < 1.6  # rounding of source and crop
    assert np.abs(difference.mean(axis=0)).max() < 0.05


def test_shrinking_averages_what_it_does_not_show():
    checks = (np.indices([400, 400]).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = np.repeat(checks[:, :, None], 3, axis=2)
    to_crop = np.array([[0.25, 0.0, 0.0], [0.0, 0.25, 0.0]])
    crop = alignment.warp(image, to_crop, 100)
    assert np.abs(crop[10:-10, 10:-10].astype(float) - 127.5).max() <= 1.5


def test_shares_outside():
    centred = np.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    left = np.array([[[1.0, 0.0, 50.0], [0.0, 1.0, 0.0]]])
    assert alignment.share_outside(centred, 100, 100, 100) == 0
    assert alignment.share_outside(left, 100, 100, 100) == pytest.approx(0.5)
