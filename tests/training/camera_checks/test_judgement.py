"""Faults of single cameras, and good cameras that raise none."""

import math

import numpy as np
import pytest
import torch

from tests.helpers.camera_sets import OPENGL, fitted, procedural, written
from training.camera_checks.judgement import FEW, judge, named_faults
from training.cameras import (
    FOCAL,
    canonical_label,
    frontal_label,
    look_at_pose,
    make_label,
    mirror_label,
    orbit_labels,
)
from training.config import RenderingConfig

GOOD = canonical_label().tolist()


def changed(changes: dict[int, object]) -> list:
    """A good label but for some entries."""
    return [changes.get(index, value) for index, value in enumerate(GOOD)]


def sighted(pose: torch.Tensor, **entries: float) -> list:
    """A label of a pose, with entries of the intrinsics by name."""
    label = make_label(pose)
    for name, value in entries.items():
        label[{"fx": 16, "skew": 17, "cx": 18, "fy": 20, "cy": 21}[name]] = value
    return label.tolist()


def looking(yaw: float, pitch: float = 0.0, pivot=(0.0, 0.0, 0.0), radius: float = 2.7) -> torch.Tensor:
    return look_at_pose(math.pi / 2 + yaw, math.pi / 2 + pitch, pivot, radius)


def rolled(angle: float) -> torch.Tensor:
    """A frontal pose, rolled."""
    pose = looking(0)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    pose[:3, :2] = pose[:3, :2] @ turn
    return pose


WRONG = [
    (changed({0: -1.0}), "not a rotation"),
    (changed({1: 0.01}), "not a rotation"),
    (changed({15: 2.0}), "last row"),
    (changed({11: 3.0}), "3.000 from the origin, not 2.6 to 2.9"),
    (changed({11: 5.4}), "5.400 from the origin"),
    (changed({16: 0.0}), "not those of a camera"),
    (changed({24: 1.1}), "not those of a camera"),
    (changed({16: 2183.5, 20: 2183.5, 18: 256, 21: 256}), "focal lengths are 2184 and 2184 sides"),
    (changed({16: 1.0, 20: 1.0}), "focal lengths are 1 and 1 sides of the picture, not 1.5 to 8.0"),
    (changed({16: 2 * FOCAL / 1.2, 20: FOCAL / 1.2}), "focal lengths 7.108 and 3.554 differ"),
    (changed({17: -0.6}), "skew is -0.6, but pixels are square"),
    (changed({18: 0.7}), "principal point (0.7, 0.5) is not near the middle"),
    (changed({21: 0.3}), "principal point (0.5, 0.3)"),
    (changed({18: 0.0, 21: 0.0}), "principal point (0, 0)"),
    (sighted(looking(0, pivot=(0, 0, 9))), "the head is behind the camera"),
    (sighted(looking(0, pivot=(1, 0, 0))), "the head is outside of the picture, at (-1"),
    (sighted(rolled(math.pi)), "the picture's up is not the world's"),
    (sighted(rolled(math.pi / 2)), "the picture's up is not the world's"),
    (sighted(looking(0, -1.55)), "the picture's up is not the world's"),
]


@pytest.mark.parametrize("label, fault", WRONG)
def test_faults_of_a_camera_are_named(label, fault):
    said = list(named_faults([("a.png", label)]))
    assert fault in said[0][1] and said[0][0] == "a.png"
    assert judge(np.array([label])).warning("a") is not None


RIGHT = {
    "canonical": GOOD,
    "frontal": frontal_label().tolist(),
    "yaw 100 degrees": sighted(looking(1.75)),
    "yaw -100 degrees, to the face": sighted(looking(-1.75, pivot=(0, 0, 0.2))),
    "from above": sighted(looking(0.5, -0.9)),
    "rolled by 60 degrees": sighted(rolled(1.05)),
    "near": sighted(looking(0.2, radius=2.61)),
    "far, as of data centred behind the origin": sighted(looking(0.2, radius=2.875)),
    "wide": sighted(looking(0.3), fx=1.6, fy=1.6),
    "close up": sighted(looking(0.3), fx=7.5, fy=7.5),
    "not quite square": sighted(looking(0.3), fx=4.3, fy=4.1),
    "principal point of a calibration": sighted(looking(0.3), cx=0.56, cy=0.44),
    "skewed a little": sighted(looking(0.3), skew=0.05),
    "a crop off the axis": sighted(looking(0.3, pivot=(0.25, 0, 0)), cx=0.83),
    "no neighbour of another label": changed({3: 0.1}),
}


@pytest.mark.parametrize("label", RIGHT.values(), ids=RIGHT)
def test_good_cameras_have_no_faults(label):
    assert list(named_faults([("a.png", label)])) == []


SETS = {
    "all around": frontal_label(torch.arange(24) / 24 * 2 * math.pi).numpy(),
    "at right angles": frontal_label(torch.tensor([-math.pi / 2, 0, math.pi / 2])).numpy(),
    "an orbit": orbit_labels(16).numpy(),
    "one camera for all": frontal_label().expand(100, -1).numpy(),
    "procedural, mirrored": mirror_label(torch.from_numpy(procedural())).numpy(),
    "fitted, mirrored": mirror_label(torch.from_numpy(fitted())).numpy(),
    "none": np.zeros([0, 25]),
}


@pytest.mark.parametrize("labels", SETS.values(), ids=SETS)
def test_good_sets_raise_nothing(labels):
    assert judge(labels).warning("a") is None


def random_set(seed: int) -> np.ndarray:
    """Cameras anywhere in the stated ranges, facing somewhere between the origin and the face, give or take."""
    rng = np.random.default_rng(seed)
    number = int(rng.choice([1, 2, 3, 6, 30]))
    yaw = torch.from_numpy(rng.uniform(-1, 1, number) * rng.uniform(0, 1.75)).float()
    pitch = torch.from_numpy(rng.uniform(-1, 1, number) * rng.uniform(0, 0.8)).float()
    pivot = rng.normal(0, rng.uniform(0, 0.03), [number, 3]) + [0, 0, rng.uniform(0, 0.2)]
    pose = looking(yaw, pitch, torch.from_numpy(pivot).float(), float(rng.uniform(2.61, 2.89)))
    cosine, sine = np.cos(roll := rng.uniform(-0.5, 0.5, number)), np.sin(roll)
    turns = torch.from_numpy(np.stack([cosine, -sine, sine, cosine], axis=1)).float().reshape(-1, 2, 2)
    pose[:, :3, :2] = pose[:, :3, :2] @ turns
    focal = rng.uniform(1.6, 6, number)
    intrinsics = np.tile(np.eye(3), [number, 1, 1])
    intrinsics[:, 0, 0], intrinsics[:, 1, 1] = focal, focal * rng.uniform(0.95, 1.05, number)
    intrinsics[:, :2, 2] = rng.uniform(0.38, 0.62, [number, 2])
    return make_label(pose, torch.from_numpy(intrinsics).float()).numpy()


def test_random_cameras_in_the_stated_ranges_raise_nothing():
    said = {seed: judge(random_set(seed)).warning("a") for seed in range(300)}
    assert {seed: warning for seed, warning in said.items() if warning} == {}


def test_faults_of_thousands_are_one_line_a_kind():
    labels = [
        (f"{index}.png", label) for index, label in enumerate(written(np.repeat(fitted(), 20, axis=0), axes=OPENGL))
    ]
    labels += [(f"bad{index}.png", None) for index in range(FEW + 1)]
    said = list(named_faults(labels))
    assert [name for name, _ in said] == ["bad0.png", "0.png", "0.png", "cameras"]
    assert said[0][1] == "missing camera (6 cameras have this fault)"
    assert said[1][1] == "the head is behind the camera (7680 cameras have this fault)"
    assert said[3][1].startswith("as a set they are likely OpenGL")


def test_a_few_are_named_one_by_one():
    labels = [("a.png", GOOD), ("b.png", changed({11: 5.0})), ("c.png", None), ("d.png", changed({11: 6.0}))]
    said = dict(named_faults(labels))
    assert list(said) == ["c.png", "b.png", "d.png"] and "5.000" in said["b.png"] and "6.000" in said["d.png"]


def test_another_depth_of_samples_has_another_distance():
    near = sighted(looking(0.3, radius=1.5))
    assert judge(np.array([near])).warning("a")
    assert judge(np.array([near]), RenderingConfig(near=1.05, far=2.1)).warning("a") is None
    assert judge(np.array([GOOD]), RenderingConfig(near=1.05, far=2.1)).warning("a")


def test_a_judgement_in_blocks_is_the_same(monkeypatch):
    labels = written(procedural(), side=64)
    labels[20, 11] += 1
    whole = judge(labels)
    monkeypatch.setattr("training.camera_checks.judgement.BLOCK", 10)
    parts = judge(labels)
    assert parts.warning("a") == whole.warning("a")
    for one, other in zip(parts.faults, whole.faults, strict=True):
        assert np.array_equal(one.cameras, other.cameras) and np.array_equal(one.numbers, other.numbers)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0.0, 3e38, -3e38, 1e-38])
def test_any_finite_numbers_are_judged(value):
    for labels in (np.full([3, 25], value, np.float32), np.array([changed({i: value}) for i in range(25)], np.float32)):
        assert judge(labels).warning("a")
