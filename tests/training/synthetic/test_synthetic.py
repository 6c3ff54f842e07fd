"""training.synthetic: exact cameras and depth, determinism, and people who differ and talk."""

import dataclasses

import numpy as np
import pytest
import torch

from training import synthetic
from training.cameras import RADIUS, frontal_label, mirror_label, split_label
from training.config import RenderingConfig
from training.rendering.rays import camera_rays
from training.synthetic import Expression, anatomy, identity, motion, render, scene

VIEWS = [frontal_label(0.0, 0.0).numpy(), frontal_label(-0.4, 0.1).numpy(), frontal_label(0.42, -0.15).numpy()]
TALKING = Expression(jaw=0.8, smile=0.4, brows=0.5, turn=(0.1, -0.05, 0.04), shift=0.005)


def distances(camera: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit directions [3, M] and distances [M] from a camera to points [3, M]."""
    offset = points - camera[:16].reshape(4, 4)[:3, 3:]
    length = np.linalg.norm(offset, axis=0)
    return (offset / length).astype(np.float32), length


def surface(camera: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """World points [3, R * R] of a depth map, through the renderer's own rays."""
    origins, directions = camera_rays(torch.from_numpy(camera)[None], len(depth))
    return (origins[0] + directions[0] * torch.from_numpy(depth).reshape(-1, 1)).numpy().T


def project(camera: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Image positions [2, ...] (0 to 1, right and down) of world points [3, ...], from the label's definition alone."""
    pose, intrinsics = (m.double().numpy() for m in split_label(torch.from_numpy(camera)))
    inverse = np.linalg.inv(pose)
    image = np.tensordot(intrinsics, (np.tensordot(inverse[:3, :3], points, 1).T + inverse[:3, 3]).T, 1)
    return image[:2] / image[2]


def test_clips_are_pure_functions_of_their_seed():
    first, again, other = (synthetic.render_clip(seed, 32, 3) for seed in (5, 5, 6))
    for name in ("frames", "cameras", "depth"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))
    assert first.frames.shape == (3, 3, 32, 32) and first.frames.dtype == np.uint8
    assert first.cameras.shape == (3, 25) and first.depth.shape == (3, 32, 32)
    assert first.cameras.dtype == first.depth.dtype == np.float32


def test_identity_and_motion_have_seeds_of_their_own():
    person, moves = synthetic.random_identity(1), synthetic.random_motion(2, 4)
    clip = synthetic.render_motion(person, moves, 32)
    assert clip.identity == person and np.array_equal(clip.cameras, moves.cameras)
    seeds = synthetic.clip_seeds(9)
    assert np.array_equal(
        synthetic.render_clip(9, 32, 2).frames,
        synthetic.render_motion(synthetic.random_identity(seeds[0]), synthetic.random_motion(seeds[1], 2), 32).frames,
    )


def test_pixel_rays_are_the_renderers_rays():
    for camera in VIEWS:
        rows, columns = np.divmod(np.arange(16**2), 16)
        eye, directions = render.pixel_rays(camera, (columns + 0.5) / 16, (rows + 0.5) / 16)
        origins, expected = camera_rays(torch.from_numpy(camera)[None], 16)
        assert np.allclose(eye, origins[0, 0].numpy(), atol=1e-6)
        assert np.allclose(directions.T, expected[0].numpy(), atol=1e-6)


@pytest.mark.parametrize("camera", VIEWS)
def test_a_known_point_is_where_the_camera_says(camera):
    """The middle of each pupil, known from the head's shape and pose, is dark and at its true distance."""
    resolution = 256
    person = dataclasses.replace(synthetic.random_identity(3), hair_style="short", iris=(0.3, 0.6, 0.9), eye_tilt=0.0)
    scene_pose = anatomy.head_pose(TALKING)
    rgb, depth = synthetic.render_frame(person, TALKING, camera, resolution)
    for side, centre in zip((-1, 1), anatomy.eye_centres(person), strict=True):
        aim = np.array([0.12 * side, 0, np.sqrt(1 - 0.12**2)])
        head_point = np.array(centre) + anatomy.EYE_RADIUS * person.eye_size * aim
        point = scene_pose[0] @ head_point + scene_pose[1]
        u, v = project(camera, point)
        row, column = int(v * resolution), int(u * resolution)
        assert rgb[:, row, column].max() < 80
        assert depth[row, column] == pytest.approx(distances(camera, point[:, None])[1][0], abs=2e-3)


@pytest.mark.parametrize("seed", [0, 4, 11])
def test_views_agree_on_the_surface(seed):
    """What one camera sees at its depth, another that faces it sees there too, or something in front; never beyond."""
    person = synthetic.random_identity(seed)
    looked_at = scene.Scene(person, TALKING)
    for first in VIEWS:
        _, depth = synthetic.render_frame(person, TALKING, first, 48)
        points = surface(first, depth)
        for second in VIEWS:
            framed = np.abs(project(second, points) - 0.5).max(axis=0) < 0.5
            directions, length = distances(second, points[:, framed])
            _, hit = looked_at.look(second[:16].reshape(4, 4)[:3, 3].astype(np.float64), directions)
            assert np.mean(hit < length + 2e-3) > 0.99  # but for a few rays along outlines
            assert np.mean(np.abs(hit - length) < 2e-3) > 0.5  # up to 48 degrees apart, much is hidden


@pytest.mark.parametrize("seed", range(6))
def test_everything_lies_in_the_box_and_between_the_depths(seed):
    bounds = RenderingConfig()
    clip = synthetic.render_clip(seed, 32, 8, fps=4)
    assert clip.depth.min() > bounds.near and clip.depth.max() < bounds.far
    for camera, depth in zip(clip.cameras, clip.depth, strict=True):
        assert np.abs(surface(camera, depth)).max() < bounds.box_side / 2


def test_cameras_stay_in_their_ranges_and_turn_smoothly():
    paths = np.stack([synthetic.random_motion(seed, 50).cameras for seed in range(40)])
    position = paths[:, :, [3, 7, 11]]
    yaw = np.arctan2(position[..., 0], position[..., 2])
    assert np.allclose(np.linalg.norm(position, axis=-1), RADIUS, atol=1e-5)
    assert np.abs(yaw).max() <= motion.YAW_RANGE + 1e-3
    assert yaw.max() > 0.35 and yaw.min() < -0.35
    assert 0.02 < np.ptp(yaw, axis=1).mean() and np.abs(np.diff(yaw, axis=1)).max() < 0.1


def test_the_mouth_moves_and_nothing_else_does():
    person, camera = dataclasses.replace(synthetic.random_identity(3), beard="none"), VIEWS[0]
    shut, shut_depth = synthetic.render_frame(person, Expression(), camera, 128)
    wide, wide_depth = synthetic.render_frame(person, Expression(jaw=1.0), camera, 128)
    mouth = anatomy.mouth_of(person, Expression(jaw=1.0))
    u, v = project(camera, np.array([0, mouth.y - 0.5 * mouth.drop, mouth.front]) + anatomy.PLACE)
    row, column = int(v * 128), int(u * 128)
    change = np.abs(wide.astype(int) - shut).max(axis=0)
    assert change[row - 3 : row + 4, column - 5 : column + 6].mean() > 60
    assert (wide_depth - shut_depth)[row, column] > 0.01  # one looks inside
    assert change[: row - 25].mean() < 0.3 and (change[: row - 25] > 10).mean() < 0.005
    for still in (Expression(lids=0.0), Expression(brows=1.0), Expression(gaze=(0.4, 0.0)), Expression(smile=1.0)):
        assert np.abs(synthetic.render_frame(person, still, camera, 128)[0].astype(int) - shut).max() > 60


def test_people_talk_and_blink():
    moves = [synthetic.random_motion(seed, 50).expressions for seed in range(20)]
    jaws = np.array([[e.jaw for e in clip] for clip in moves])
    lids = np.array([[e.lids for e in clip] for clip in moves])
    assert (np.ptp(jaws, axis=1) > 0.3).all() and jaws.min() >= 0 and jaws.max() <= 1
    openings = ((jaws[:, 1:-1] > jaws[:, :-2]) & (jaws[:, 1:-1] >= jaws[:, 2:]) & (jaws[:, 1:-1] > 0.2)).sum(axis=1)
    assert openings.min() >= 2  # syllables in two seconds
    assert (lids.min(axis=1) < 0.2).mean() > 0.5


def test_people_differ():
    frames = np.stack(
        [synthetic.render_frame(synthetic.random_identity(seed), Expression(), VIEWS[0], 32)[0] for seed in range(10)]
    ).astype(float)
    apart = np.abs(frames[:, None] - frames[None]).mean(axis=(2, 3, 4))
    assert apart[~np.eye(10, dtype=bool)].min() > 10


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("hair_style", identity.HAIR_STYLES),
        ("clothes", identity.CLOTHES),
        ("wall_style", identity.WALLS),
        ("beard", identity.BEARDS),
    ],
)
def test_every_option_shows(option, choices):
    person = dataclasses.replace(synthetic.random_identity(7), hair_style="short", hair=(0.5, 0.3, 0.1))
    pictures = [
        synthetic.render_frame(dataclasses.replace(person, **{option: choice}), TALKING, VIEWS[1], 48)
        for choice in choices
    ]
    assert all(np.isfinite(depth).all() for _, depth in pictures)
    assert len({rgb.tobytes() for rgb, _ in pictures}) == len(choices)


def test_resolutions_show_the_same_picture():
    person = synthetic.random_identity(1)
    small, large = (synthetic.render_frame(person, TALKING, VIEWS[1], size)[0] for size in (64, 128))
    blocks = large.reshape(3, 64, 2, 64, 2).mean(axis=(2, 4))
    assert np.abs(blocks - small).mean() < 4


def test_mirrored_cameras_see_a_mirrored_head():
    """A bald face with symmetrical light, seen from the mirrored camera, is the mirrored picture."""
    person = dataclasses.replace(
        synthetic.random_identity(2), hair_style="bald", wall_style="plain", light=(0.0, 0.6, 0.8)
    )
    camera = frontal_label(0.3, 0.0)
    one, depth = synthetic.render_frame(person, Expression(), camera.numpy(), 48)
    two, mirrored = synthetic.render_frame(person, Expression(), mirror_label(camera).numpy(), 48)
    assert np.median(np.abs(depth - mirrored[:, ::-1])) < 1e-4
    assert np.abs(one.astype(int) - two[:, :, ::-1]).mean() < 3
