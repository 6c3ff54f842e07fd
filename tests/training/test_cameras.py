"""Camera labels: golden poses, the facts about them, orbits, mirroring, labels from files."""

import math

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from tests.helpers import golden
from training import cameras
from training.rendering.rays import camera_rays

LABEL = [1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 2.7, 0, 0, 0, 1, 4.2647, 0, 0.5, 0, 4.2647, 0.5, 0, 0, 1]
EPS = 1e-5


@pytest.mark.parametrize("file", ["rendering", "rendering_f64"])
def test_poses_match_golden(file):
    """Poses are float32 whatever goes in, so the float64 twin is held to float32's tolerance."""
    args = golden.tensor("rendering", "pose_args")
    poses = [
        cameras.look_at_pose(yaw, pitch, pivot, float(radius))
        for yaw, pitch, pivot, radius in zip(args[:, 0], args[:, 1], args[:, 2:5], args[:, 5], strict=True)
    ]
    golden.check(file, "pose_cam2world", torch.stack(poses), tolerance=2e-6)


def test_canonical_label():
    assert cameras.canonical_label().tolist() == pytest.approx(LABEL)
    level = cameras.make_label(cameras.look_at_pose(math.pi / 2, math.pi / 2, (0, 0, 0)))
    torch.testing.assert_close(level, cameras.canonical_label(), atol=EPS, rtol=0)


def test_labels_split_into_what_they_were_made_of():
    poses = cameras.look_at_pose(torch.linspace(1, 2, 6).reshape(2, 3), 1.4)
    focals = cameras.intrinsics_matrix(3.0)
    cam2world, intrinsics = cameras.split_label(cameras.make_label(poses, focals))
    assert torch.equal(cam2world, poses) and torch.equal(intrinsics, focals.expand(2, 3, 3, 3))
    own = focals + torch.arange(6).reshape(2, 3, 1, 1)
    assert torch.equal(cameras.split_label(cameras.make_label(poses, own))[1], own)


def test_poses_are_rotations_on_the_sphere_that_face_the_pivot():
    yaw, pitch = torch.rand(2, 50, generator=torch.Generator().manual_seed(0)) * 2 + 0.5
    pivot = torch.tensor(cameras.LOOK_AT)
    poses = cameras.look_at_pose(yaw, pitch)
    rotation, position = poses[:, :3, :3], poses[:, :3, 3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(50, 3, 3), atol=EPS, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(50))
    torch.testing.assert_close(position.norm(dim=-1), torch.full([50], 2.7))
    torch.testing.assert_close(rotation[:, :, 2], torch.nn.functional.normalize(pivot - position, dim=-1))
    assert (rotation[:, 1, 1] < 0).all(), "image down is world down"
    assert torch.equal(poses[:, 3], torch.tensor([0.0, 0, 0, 1]).expand(50, 4))


def test_angles():
    """Yaw above pi / 2 moves the camera to +x, pitch v below pi / 2 upwards, by the polar angle arccos(1 - 2v / pi)."""
    right = cameras.look_at_pose(math.pi / 2 + 0.3, math.pi / 2, (0, 0, 0))[:3, 3]
    torch.testing.assert_close(right, 2.7 * torch.tensor([math.sin(0.3), 0, math.cos(0.3)]), atol=EPS, rtol=0)
    above = cameras.look_at_pose(math.pi / 2, 1.0, (0, 0, 0))[:3, 3]
    assert above[1].item() == pytest.approx(2.7 * (1 - 2 / math.pi), abs=EPS)
    assert cameras.look_at_pose(math.pi / 2, -1.0).isfinite().all(), "clamped at the pole"


def test_frontal_label_is_slightly_above():
    pose, intrinsics = cameras.split_label(cameras.frontal_label())
    torch.testing.assert_close(pose, cameras.look_at_pose(math.pi / 2, math.pi / 2 - 0.05))
    assert torch.equal(intrinsics, cameras.intrinsics_matrix())
    assert 0 < pose[1, 3] < 0.1 and pose[0, 3].abs() < EPS
    assert cameras.frontal_label(torch.zeros(4, 2)).shape == (4, 2, 25)


@pytest.mark.parametrize("frames, turns", [(16, 1.0), (24, 2.0), (9, -1.0)])
def test_orbits_are_closed_paths_around_the_front(frames, turns):
    labels = cameras.orbit_labels(frames, 0.35, 0.15, turns)
    assert labels.shape == (frames, 25)
    steps = (labels - labels.roll(1, dims=0)).norm(dim=-1)
    assert steps[0] < 1.2 * steps[1:].max(), "the step from the last frame to the first is like the others"
    x = labels[:, 3]
    assert x.max().item() == pytest.approx(-x.min().item(), rel=0.1) and x.max() > 0.8
    assert cameras.orbit_labels(1).shape == (1, 25) and cameras.orbit_labels(0).shape == (0, 25)


def test_mirroring_negates_six_entries_and_mirrors_the_principal_point():
    label = torch.arange(1.0, 51).reshape(2, 25)
    mirrored = cameras.mirror_label(label)
    assert (mirrored != label)[0].nonzero().flatten().tolist() == [1, 2, 3, 4, 8, 17, 18]
    assert torch.equal(cameras.mirror_label(mirrored), label), "an involution"
    assert torch.equal(mirrored[:, 18], 1 - label[:, 18])


def test_mirroring_changes_no_bit_of_centred_intrinsics():
    label = cameras.frontal_label(0.4, 0.2)
    assert cameras.mirror_label(label)[16:].numpy().tobytes() == label[16:].numpy().tobytes()
    assert torch.equal(cameras.mirror_label(cameras.canonical_label()), cameras.canonical_label())


def project(label: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Where points [N, 3] are seen, (u, v) [N, 2] in image sides."""
    cam2world, intrinsics = cameras.split_label(label)
    seen = (points - cam2world[:3, 3]) @ cam2world[:3, :3] @ intrinsics.T
    return seen[:, :2] / seen[:, 2:]


def off_centre() -> torch.Tensor:
    """A camera with skew and a principal point off the middle."""
    label = cameras.frontal_label(0.4, 0.2)
    label[16:] = torch.tensor([4.0, 0.3, 0.62, 0, 4.2, 0.45, 0, 0, 1])
    return label


@pytest.mark.parametrize("label", [cameras.frontal_label(0.4, 0.2), off_centre()])
def test_the_mirrored_camera_sees_the_mirrored_world(label):
    """World x -> -x and image u -> 1 - u: the projections of mirrored points are mirrored."""
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * 0.3
    flip = torch.tensor([-1.0, 1, 1])
    u, v = project(label, points).unbind(-1)
    mirrored = project(cameras.mirror_label(label), points * flip)
    torch.testing.assert_close(mirrored, torch.stack([1 - u, v], dim=-1), atol=EPS, rtol=0)


@pytest.mark.parametrize("label", [cameras.frontal_label(0.4, 0.2), off_centre()])
def test_rays_of_the_mirrored_camera_are_mirrored_and_flipped(label):
    """As pixels are when a frame is flipped: column i of the mirrored camera is column R - 1 - i of the other."""
    flip = torch.tensor([-1.0, 1, 1])
    for mirrored, rays in zip(
        camera_rays(cameras.mirror_label(label)[None], 8), camera_rays(label[None], 8), strict=True
    ):
        expected = rays.reshape(8, 8, 3).flip(1) * flip
        torch.testing.assert_close(mirrored.reshape(8, 8, 3), expected, atol=EPS, rtol=0)


# --- Between cameras --------------------------------------------------------------------------------------------------


def poses_between(*keys: torch.Tensor, frames: int) -> torch.Tensor:
    return cameras.split_label(cameras.resample_labels(torch.stack(keys), frames))[0]


@pytest.mark.parametrize("yaw", [0.1, 0.6, 1.2])
def test_between_cameras_of_a_sphere_the_path_stays_on_it_and_sees_the_head(yaw):
    poses = poses_between(cameras.frontal_label(-yaw), cameras.frontal_label(yaw), frames=9)
    torch.testing.assert_close(poses[:, :3, 3].norm(dim=-1), torch.full([9], 2.7))
    for pose in poses:
        ((u, v),) = project(cameras.make_label(pose), torch.tensor([cameras.LOOK_AT]))
        assert abs(u - 0.5) < 0.06 and abs(v - 0.5) < 0.02
    rotation = poses[:, :3, :3]
    torch.testing.assert_close(rotation.mT @ rotation, torch.eye(3).expand(9, 3, 3), atol=EPS, rtol=0)
    steps = (poses[1:, :3, 3] - poses[:-1, :3, 3]).norm(dim=-1)
    torch.testing.assert_close(steps, steps[:1].expand(8), atol=1e-4, rtol=0)


def test_a_level_path_is_the_orbit_itself():
    """Closed form: level cameras that face the origin, equally spaced."""
    yaws = torch.linspace(-0.9, 0.7, 5) + math.pi / 2
    orbit = cameras.make_label(cameras.look_at_pose(yaws, math.pi / 2, (0, 0, 0)))
    torch.testing.assert_close(cameras.resample_labels(orbit[[0, -1]], 5), orbit, atol=EPS, rtol=0)


def test_keys_are_kept_and_distance_and_intrinsics_change_linearly():
    near, far = cameras.look_at_pose(math.pi / 2, 1.5, radius=2.0), cameras.look_at_pose(2.0, 1.5, radius=3.0)
    keys = torch.stack([cameras.make_label(near), cameras.make_label(far, cameras.intrinsics_matrix(5.0))])
    path = cameras.resample_labels(keys, 5)
    torch.testing.assert_close(path[[0, -1]], keys, atol=EPS, rtol=0)
    poses, intrinsics = cameras.split_label(path)
    torch.testing.assert_close(poses[:, :3, 3].norm(dim=-1), torch.linspace(2, 3, 5))
    torch.testing.assert_close(intrinsics[:, 0, 0], torch.linspace(cameras.FOCAL, 5.0, 5))
    torch.testing.assert_close(cameras.resample_labels(path, 3), path[::2], atol=EPS, rtol=0)
    assert cameras.resample_labels(keys[:1], 4).allclose(keys[:1]), "one camera stands still"


def test_opposite_cameras_have_no_way_between_them():
    keys = torch.stack([cameras.frontal_label(yaw) for yaw in (0.0, -1.5, 1.57)])
    with pytest.raises(UserError, match="Cameras 1 and 2 of the path are about opposite, .*: put another"):
        cameras.resample_labels(keys, 6)
    upside_down, behind = keys[0].clone(), keys[0].clone()
    upside_down[[0, 1, 4, 5, 8, 9]] *= -1
    behind[[3, 7, 11]] *= -1
    for other in (upside_down, behind):  # by exactly 180 degrees
        with pytest.raises(UserError, match="Cameras 0 and 1"):
            cameras.resample_labels(torch.stack([keys[0], other]), 4)
    assert torch.equal(cameras.resample_labels(keys, 3), keys), "nothing between them is asked for"


# --- Labels from files ------------------------------------------------------------------------------------------------

GOOD = cameras.canonical_label().tolist()


def changed(index: int, value: object) -> list:
    """A good label but for one entry."""
    return [*GOOD[:index], value, *GOOD[index + 1 :]]


def test_labels_from_files_are_parsed():
    assert np.array_equal(cameras.parse_label(GOOD), np.array(GOOD, dtype=np.float32))
    assert cameras.parse_label(changed(11, 5.0)) is not None, "any 25 finite numbers"
    for junk in (None, "label", GOOD[:16], [GOOD], changed(0, math.inf), changed(0, 1e39), changed(0, 10**400)):
        assert cameras.parse_label(junk) is None


@pytest.mark.parametrize(
    "label, fault",
    [
        (None, "missing camera"),
        ("label", "not a list of numbers"),
        (changed(0, "one"), "not a list of numbers"),
        (changed(0, 10**400), "not a list of numbers"),
        (GOOD[:16], "shape [16], not 25"),
        (changed(0, math.nan), "non-finite"),
        (changed(0, 1e39), "non-finite"),
    ],
)
def test_what_is_no_label_is_named(label, fault):
    assert cameras.parse_label(label) is None and fault in cameras.label_fault(label)
