"""Cameras follow EG3D's convention, crops put the head where cameras say it is, low-pass takes jitter away."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from preprocessing import alignment
from preprocessing.head_cameras import CENTRES, angles, head_cameras, recrop, smooth_poses
from preprocessing.head_model import head_model
from preprocessing.head_pose import FRONTAL
from preprocessing.records import HeadPoses
from training.cameras import FOCAL, RADIUS, canonical_label, frontal_label, split_label

SIDE = 512


def poses_of(rotations: np.ndarray, translations: np.ndarray) -> HeadPoses:
    return HeadPoses(
        rotations=rotations,
        translations=translations,
        shape=head_model("dlib").shape,
        residuals=np.zeros(len(rotations)),
    )


def some_poses(frames: int = 12) -> HeadPoses:
    """Return poses near the middle of a crop, with turns about all axes."""
    random = np.random.default_rng(3)
    turns = Rotation.from_rotvec(random.normal(size=[frames, 3]) * 0.3).as_matrix()
    shift = random.normal(size=[frames, 3]) * [0.05, 0.05, 0.15]
    return poses_of(FRONTAL @ turns, shift + [0, 0, RADIUS])


def test_a_frontal_head_gives_the_canonical_camera():
    frontal = poses_of(FRONTAL[None], np.array([[0, 0, RADIUS]]))
    np.testing.assert_allclose(head_cameras(frontal)[0], canonical_label().numpy(), atol=1e-6)


def test_a_camera_to_the_right_is_at_positive_yaw():
    """The head of a camera that `frontal_label` puts to the +x side."""
    label = frontal_label(yaw_offset=0.4)
    cam2world = split_label(label)[0].double().numpy()
    assert cam2world[0, 3] > 0
    rotation = cam2world[:3, :3].T
    seen = poses_of(rotation[None], (-rotation @ cam2world[:3, 3])[None])
    assert angles(seen)[0, 0] == pytest.approx(np.degrees(np.arctan2(*(-cam2world[[0, 2], 2]))), abs=0.1)
    assert angles(seen)[0, 0] > 20
    np.testing.assert_allclose(head_cameras(seen)[0], label.numpy(), atol=1e-6)


@pytest.mark.parametrize("centre", CENTRES)
def test_cameras_are_2_7_from_their_centre_and_see_it_in_the_middle(centre):
    _, poses = recrop(some_poses(), SIDE, centre)
    cam2world, intrinsics = split_label(torch.from_numpy(head_cameras(poses)))
    point = np.array(CENTRES[centre])
    offset = cam2world[:, :3, 3].numpy() - point
    np.testing.assert_allclose(np.linalg.norm(offset, axis=1), RADIUS, atol=1e-9)
    np.testing.assert_allclose(
        poses.rotations @ point + poses.translations, np.tile([0, 0, RADIUS], (12, 1)), atol=1e-9
    )
    assert intrinsics[0, 0, 0].item() == pytest.approx(FOCAL)


@pytest.mark.parametrize("centre", CENTRES)
def test_the_crop_shows_the_head_where_its_camera_does(centre):
    before = some_poses()
    maps, after = recrop(before, SIDE, centre)
    shape = before.shape[17:]

    def pixels(poses: HeadPoses) -> np.ndarray:
        seen = np.einsum("fij,pj->fpi", poses.rotations, shape) + poses.translations[:, None]
        return FOCAL * SIDE * seen[:, :, :2] / seen[:, :, 2:] + (SIDE - 1) / 2

    difference = alignment.apply(maps, pixels(before)) - pixels(after)
    assert np.sqrt((difference**2).sum(axis=2).mean()) < 1.5  # pixels: a similarity is not quite what cameras see


def test_low_pass_takes_jitter_away_and_keeps_motion():
    random = np.random.default_rng(0)
    yaw = np.linspace(-40, 40, 60)
    true = FRONTAL @ Rotation.from_euler("y", yaw[:, None], degrees=True).as_matrix()
    noise = Rotation.from_rotvec(np.radians(random.normal(size=[60, 3]))).as_matrix()
    smooth = smooth_poses(poses_of(noise @ true, np.tile([0, 0, RADIUS], (60, 1))), 3.0)
    off = np.degrees(Rotation.from_matrix(smooth.rotations @ true.transpose(0, 2, 1)).magnitude())
    assert off.mean() < 0.75  # of 1.6 degrees
    steady = smooth_poses(poses_of(true, np.tile([0, 0, RADIUS], (60, 1))), 3.0)
    np.testing.assert_allclose(steady.rotations, true, atol=1e-6)
