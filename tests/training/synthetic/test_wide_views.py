"""Procedural heads from further round, and people to test on: what changes with both, and what does not."""

import math

import numpy as np
import pytest

from training import synthetic
from training.cameras import frontal_label
from training.config import RenderingConfig
from training.data.options import MAX_YAW
from training.data.streams import Stream
from training.synthetic import Expression, rays, render, scene

# Of clip 7, or its seed, as of the first version of this dataset.
FIRST_YAWS = [23.3338, 23.3136, 23.2741]
FIRST_COLOUR = [89.521, 70.126, 69.225]
FIRST_DEPTH = 2.90322
TALKING = Expression(jaw=0.9, smile=0.4, brows=0.5, turn=(0.1, -0.05, 0.04), shift=0.005)


def yaws_of(cameras: np.ndarray) -> np.ndarray:
    """Return on which side cameras [..., 25] stand, degrees."""
    return np.degrees(np.arctan2(cameras[..., 3], cameras[..., 11]))


# --- How far round ----------------------------------------------------------------------------------------------------


def test_what_was_drawn_before_there_was_a_choice_is_drawn_still():
    assert np.allclose(yaws_of(synthetic.random_motion(7, 3).cameras), FIRST_YAWS, atol=1e-3)
    clip = synthetic.render_clip(7, 32, 2)
    assert np.allclose(clip.frames.mean(axis=(0, 2, 3)), FIRST_COLOUR, atol=0.02)
    assert clip.depth.mean() == pytest.approx(FIRST_DEPTH, abs=1e-4)


def test_the_range_moves_cameras_and_nothing_else():
    usual = synthetic.random_motion(7, 30)
    wide = synthetic.random_motion(7, 30, yaw_range=1.0)
    assert usual.expressions == wide.expressions
    assert (np.abs(yaws_of(wide.cameras)) > 1.5 * np.abs(yaws_of(usual.cameras))).all()
    assert np.allclose(usual.cameras[:, 7], wide.cameras[:, 7], atol=1e-6)  # heights


@pytest.mark.parametrize("degrees", [1, 10, 52, MAX_YAW])
def test_cameras_use_their_range(degrees):
    paths = [synthetic.random_motion(seed, 24, yaw_range=math.radians(degrees)).cameras for seed in range(60)]
    yaws = yaws_of(np.stack(paths))
    assert np.abs(yaws).max() <= degrees + 1e-3
    assert yaws.max() > 0.85 * degrees and yaws.min() < -0.85 * degrees
    assert np.abs(np.diff(yaws, axis=1)).max() < 6


@pytest.mark.parametrize("seed", range(4))
def test_heads_from_the_side_lie_in_the_box_and_between_the_depths(seed):
    bounds = RenderingConfig()
    person = synthetic.random_identity(seed)
    for yaw in (-MAX_YAW, -52, 52, MAX_YAW):
        camera = frontal_label(math.radians(yaw), 0.1).numpy()
        _, depth = synthetic.render_frame(person, TALKING, camera, 48)
        assert depth.min() > bounds.near and depth.max() < bounds.far
        eye, directions = render.pixel_rays(camera, *np.divmod(np.arange(48**2), 48)[::-1] / np.float64(48))
        assert np.abs(rays.points_at(eye, directions, depth.ravel())).max() < bounds.box_side / 2 + 0.01


@pytest.mark.parametrize("seed", [0, 4, 11])
def test_views_from_the_side_agree_with_those_beside_them(seed):
    """What one camera sees at its depth, its neighbour 12 degrees on sees there too, or something in front of it."""
    person = synthetic.random_identity(seed)
    looked_at = scene.Scene(person, TALKING)
    middle = (np.arange(48) + 0.5) / 48
    for yaw in (-70, -52, -40, 28, 40, 58):
        first, second = (frontal_label(math.radians(angle), 0.0).numpy() for angle in (yaw, yaw + 12))
        _, depth = synthetic.render_frame(person, TALKING, first, 48)
        eye, directions = render.pixel_rays(first, np.tile(middle, 48), np.repeat(middle, 48))
        points = rays.points_at(eye, directions, depth.ravel())
        other = second[:16].reshape(4, 4)[:3, 3].astype(np.float64)
        way = points - other[:, None]
        length = np.linalg.norm(way, axis=0)
        _, hit = looked_at.look(other, (way / length).astype(np.float32))
        assert np.mean(hit < length + 2e-3) > 0.99  # but for a few rays along outlines
        assert np.mean(np.abs(hit - length) < 2e-3) > 0.8


def test_rays_from_the_side_do_not_slip_through_the_nose(monkeypatch):
    """As many steps as anybody could want change next to nothing: a ray in five frames of 4096, before it was 16."""
    people = [synthetic.random_identity(seed) for seed in range(4)]
    cameras = [frontal_label(math.radians(yaw), 0.0).numpy() for yaw in (-52, -40, 36, 46)]

    def depths() -> np.ndarray:
        seen = [render.render_frame(person, TALKING, camera, 64) for person in people for camera in cameras]
        return np.stack([depth for _, depth in seen])

    usual = depths()
    monkeypatch.setattr(scene, "SIDE_STEPS", 300)
    assert (np.abs(usual - depths()) > 0.01).mean() < 1e-4


# --- People to test on ------------------------------------------------------------------------------------------------


def test_nobody_is_in_both_splits():
    """Of the same seeds and of others; nor are two alike but for colours."""
    (train, _), (test, _) = render.SPLITS["train"], render.SPLITS["test"]
    known = {synthetic.random_identity(seed, train) for seed in range(400)}
    new = {synthetic.random_identity(seed, test) for seed in range(400)}
    assert len(known) == len(new) == 400 and not known & new
    assert not {(one.width, one.jaw) for one in known} & {(one.width, one.jaw) for one in new}
    streams = [stream for both in render.SPLITS.values() for stream in both]
    assert len(set(streams)) == 4 and set(streams) <= set(Stream)


def test_a_clip_is_of_its_split():
    train, test = (synthetic.render_clip(3, 16, 4, split=name) for name in ("train", "test"))
    assert train.identity == synthetic.render_clip(3, 16, 1).identity
    assert train.identity != test.identity
    assert train.motion.expressions != test.motion.expressions
    assert not np.allclose(train.cameras, test.cameras)
