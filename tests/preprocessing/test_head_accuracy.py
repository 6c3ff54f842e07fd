"""Heads are found within bounds where the truth is known: procedural heads with exact points and a pixel of noise."""

import numpy as np
from scipy.spatial.transform import Rotation

from preprocessing.head_cameras import smooth_poses
from preprocessing.head_model import HeadModel, head_model, view_angles
from preprocessing.head_pose import fit_parts
from preprocessing.options import CameraOptions
from preprocessing.records import HeadPoses
from preprocessing.smoothing import low_pass
from tests.helpers.procedural_faces import true_head

FPS = 25.0
FRAMES = 40
NOISE = 1 / 512  # one pixel at 512
EXACT = HeadModel(shape=head_model("dlib").shape, faults=np.zeros([7, 68, 2]))  # exact points have no faults


def angles_between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return angles [F] between rotations, degrees."""
    return np.degrees(Rotation.from_matrix(one @ other.transpose(0, 2, 1)).magnitude())


def test_cameras_of_procedural_heads():
    """With the low-passes of the defaults, relative to the most frontal frame; cameras up to 45 degrees to a side."""
    errors, jitters = np.array([errors_of(seed) for seed in range(4)]).T
    assert errors.mean() < 1.5
    assert jitters.mean() < 0.3


def errors_of(seed: int) -> tuple[float, float]:
    """Return the mean error and the mean change of the error from frame to frame of a clip, degrees."""
    options = CameraOptions()
    truth = true_head(seed, FRAMES, 45.0)
    noise = np.random.default_rng(seed).normal(size=truth.landmarks.shape) * NOISE
    everywhere = np.ones(FRAMES, dtype=bool)
    fit = fit_parts(low_pass(truth.landmarks + noise, everywhere, options.smooth_landmarks * FPS), EXACT)
    poses = HeadPoses(
        rotations=fit.rotations,
        translations=fit.translations,
        shape=fit.shape,
        residuals=fit.residuals,
    )
    smooth = smooth_poses(poses, options.smooth_cameras * FPS).rotations
    frontal = np.argmin(np.hypot(*view_angles(truth.rotations)))
    relative = smooth @ smooth[frontal].T
    true = truth.rotations @ truth.rotations[frontal].T
    off = smooth @ truth.rotations.transpose(0, 2, 1)
    return float(angles_between(relative, true).mean()), float(angles_between(off[1:], off[:-1]).mean())
