"""Poses of exact points are found exactly, those of noisy ones within bounds; a mirrored head gives mirrored poses."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from preprocessing.head_model import MIRRORED, HeadModel, features, head_model, mirrored_points, view_angles
from preprocessing.head_pose import FRONTAL, fit_head, fit_parts
from preprocessing.records import INNER
from training.cameras import FOCAL, RADIUS

SIDE = 512
EXACT = HeadModel(shape=head_model("dlib").shape, faults=np.zeros([7, 68, 2]))


def turns(yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Return rotations to the camera's axes [F, 3, 3] of heads that cameras at yaw and pitch (degrees) see."""
    angles = np.stack([roll, pitch, -yaw], axis=1)
    return FRONTAL @ Rotation.from_euler("ZXY", angles, degrees=True).as_matrix()


def project(shape: np.ndarray, rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """Return landmarks [F, 68, 2] in parts of the side from the middle."""
    seen = np.einsum("fij,pj->fpi", rotations, shape) + translations[:, None]
    return FOCAL * seen[:, :, :2] / seen[:, :, 2:]


def motion(frames: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Return rotations and translations of a head that looks around, up to 45 degrees to either side."""
    phase = np.linspace(0, 2 * np.pi, frames)
    rotations = turns(45 * np.sin(phase), 15 * np.cos(phase), 8 * np.sin(2 * phase))
    translations = np.stack([0.05 * np.cos(phase), 0.03 * np.sin(phase), RADIUS + 0.1 * np.sin(phase)], axis=1)
    return rotations, translations


def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return angles [F] between rotations, degrees."""
    return np.degrees(Rotation.from_matrix(one @ other.transpose(0, 2, 1)).magnitude())


def test_exact_points_of_the_mean_face_give_exact_poses():
    rotations, translations = motion()
    fit = fit_parts(project(EXACT.shape, rotations, translations), EXACT)
    assert apart(fit.rotations, rotations).max() < 0.01
    np.testing.assert_allclose(fit.translations, translations, atol=1e-4)
    assert fit.residuals.max() < 1e-5


def test_another_persons_shape_is_found_from_a_clip():
    rotations, translations = motion()
    person = EXACT.shape + np.random.default_rng(0).normal(size=[68, 3]) * EXACT.deviations[:, None]
    fit = fit_parts(project(person, rotations, translations), EXACT)
    relative, true = (values @ values[0].T for values in (fit.rotations, rotations))
    assert apart(relative, true).mean() < 1.0
    found, expected = (shape[INNER] - shape[INNER].mean(axis=0) for shape in (fit.shape, person))
    mean = EXACT.shape[INNER] - EXACT.shape[INNER].mean(axis=0)
    found = found @ Rotation.align_vectors(expected, found)[0].as_matrix().T
    assert np.linalg.norm(found - expected) < 0.6 * np.linalg.norm(mean - expected)


@pytest.mark.parametrize("kind", ["dlib", "mesh"])
def test_the_faults_of_a_detector_are_undone(kind):
    model = head_model(kind)
    rotations, translations = motion()
    landmarks = project(model.shape, rotations, translations)
    landmarks += model.faults_at(rotations) * (RADIUS / translations[:, 2])[:, None, None]
    assert apart(fit_parts(landmarks, model).rotations, rotations).max() < 0.3
    assert apart(fit_parts(landmarks, EXACT).rotations, rotations).max() > 1.0


def test_outliers_hardly_move_poses():
    rotations, translations = motion()
    landmarks = project(EXACT.shape, rotations, translations)
    landmarks[5, 30] += 0.2  # the tip of the nose, off by a fifth of the frame
    assert apart(fit_parts(landmarks, EXACT).rotations, rotations).max() < 1.5


def test_the_jaw_does_not_matter():
    rotations, translations = motion()
    landmarks = project(EXACT.shape, rotations, translations)
    moved = landmarks.copy()
    moved[:, :17] += 0.1
    np.testing.assert_array_equal(fit_parts(moved, EXACT).rotations, fit_parts(landmarks, EXACT).rotations)


@pytest.mark.parametrize("frames", [1, 2])
def test_few_frames_are_enough(frames):
    rotations, translations = motion(20)
    some = slice(3, 3 + frames)
    fit = fit_parts(project(EXACT.shape, rotations[some], translations[some]), EXACT)
    assert apart(fit.rotations, rotations[some]).max() < 0.1


def test_frames_without_landmarks_get_poses_between_their_neighbours():
    rotations = turns(np.linspace(-20, 20, 21), np.zeros(21), np.zeros(21))
    model = head_model("dlib")
    parts = project(model.shape, rotations, np.tile([0, 0, RADIUS], (21, 1))) + model.faults_at(rotations)
    pixels = parts * SIDE + (SIDE - 1) / 2
    pixels[8:12] = np.nan
    poses = fit_head(pixels, SIDE, "dlib")
    assert apart(poses.rotations, rotations).max() < 0.2
    assert np.isnan(poses.residuals[8:12]).all() and np.isfinite(poses.residuals[:8]).all()


def test_a_mirrored_clip_gives_mirrored_poses():
    """The model is symmetric, so that the flip test measures landmarks alone: of exact ones it is 0."""
    rotations, translations = motion()
    model = head_model("dlib")
    parts = project(model.shape, rotations, translations)
    lopsided = parts.copy()
    lopsided[:, 36:42, 0] += 0.01
    mirrored = lopsided[:, MIRRORED] * [-1, 1]
    back = np.diag([-1.0, 1, 1]) @ fit_parts(mirrored, model).rotations @ np.diag([-1.0, 1, 1])
    assert apart(back, fit_parts(lopsided, model).rotations).max() < 0.01


@pytest.mark.parametrize("kind", ["dlib", "mesh"])
def test_the_model_is_symmetric(kind):
    model = head_model(kind)
    np.testing.assert_allclose(mirrored_points(model.shape), model.shape, atol=2e-5)
    yaw, pitch = np.array([0.3]), np.array([0.2])
    faults = np.einsum("fk,kpc->fpc", features(yaw, pitch), model.faults)
    mirrored = np.einsum("fk,kpc->fpc", features(-yaw, pitch), model.faults)
    np.testing.assert_allclose(mirrored_points(faults), mirrored, atol=2e-5)


def test_signs_of_the_angles():
    yaw, pitch = view_angles(turns(np.array([30.0]), np.array([10.0]), np.array([0.0])))
    np.testing.assert_allclose(np.degrees([yaw[0], pitch[0]]), [30, 10], atol=1e-6)
    nose = project(EXACT.shape, turns(np.array([30.0]), np.array([10.0]), np.zeros(1)), np.array([[0, 0, RADIUS]]))
    assert nose[0, 30, 0] < 0  # a camera on the head's +x side sees the nose on the left


def test_head_mirror_indices_are_an_involution():
    np.testing.assert_array_equal(MIRRORED[MIRRORED], np.arange(68))
