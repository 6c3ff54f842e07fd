"""A head from its landmarks: one shape for all frames of a clip, and a pose for each.

The sum of squares of (landmark - projection) / noise, of the inner landmarks alone, robustly (pseudo-Huber), and of
(shape - mean face) / deviation, times frames, is made least by Levenberg and Marquardt's method. Given the shape,
frames do not depend on each other: their poses are eliminated first (Schur complement), so that a step costs time in
proportion to frames.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from preprocessing.head_model import HeadModel, head_model
from preprocessing.records import INNER, LANDMARKS, MOUTH, HeadPoses
from preprocessing.smoothing import fill_gaps
from training.cameras import FOCAL, RADIUS

NOISE = 0.003  # of landmarks, parts of the frame's side: 1.5 pixels at 512
BROWS = slice(17, 27)
# Of the squares of what moves on the face: a mouth that opens must not look like a head that nods.
BROWS_WEIGHT = 0.3
MOUTH_WEIGHT = 0.1
FRONTAL = np.diag([1.0, -1.0, -1.0])  # from the world's axes to those of a camera in front of the face
MAX_STEPS = 50
GOOD_ENOUGH = 1e-7  # part of the sum that a step has to take away, or it was the last one
DAMPING = 1e-3
MOST_DAMPING = 1e8


def fit_head(landmarks: np.ndarray, side: int, landmarks_of: str) -> HeadPoses:
    """Fit a head to the landmarks of a clip.

    Args:
        landmarks: [F, 68, 2] in pixels of a square crop, NaN where not found; at least one frame was.
        side: of the crop.
        landmarks_of: `dlib` or `mesh`.

    Returns:
        poses in the crop, with steady turns across frames without landmarks, whose residuals are NaN.
    """
    found = np.isfinite(landmarks).all(axis=(1, 2))
    model = head_model(landmarks_of)
    parts = (landmarks[found] - (side - 1) / 2) / side
    fitted = fit_parts(parts, model)
    return HeadPoses(
        rotations=_fill_rotations(fitted.rotations, found),
        translations=fill_gaps(_spread(fitted.translations, found), found),
        shape=fitted.shape,
        residuals=_spread(fitted.residuals, found),
    )


def fit_parts(landmarks: np.ndarray, model: HeadModel) -> "Fit":
    """Fit a head to landmarks [F, 68, 2] in parts of the frame's side from its middle."""
    problem = _Problem(landmarks, model)
    fit = problem.start()
    damping = DAMPING
    for _ in range(MAX_STEPS):
        equations = problem.equations(fit)
        while True:
            better = problem.step(fit, equations, damping)
            if better.cost < fit.cost or damping > MOST_DAMPING:
                break
            damping *= 4
        gain = fit.cost - better.cost
        if gain > 0:
            fit = better
        damping /= 4
        if gain < GOOD_ENOUGH * fit.cost:
            break
    return fit


# --- The sum of squares ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A shape [68, 3], poses [F, 3, 3] and [F, 3], and what they leave: the sum, and `residuals` [F] in parts."""

    shape: np.ndarray
    rotations: np.ndarray
    translations: np.ndarray
    cost: float
    residuals: np.ndarray


@dataclass(frozen=True, kw_only=True)
class _Equations:
    """Normal equations of a step: of the poses [F, 6], of the inner landmarks' N numbers, and what links them."""

    pose_matrix: np.ndarray  # [F, 6, 6]
    pose_slope: np.ndarray  # [F, 6]
    link: np.ndarray  # [F, 6, N]
    shape_matrix: np.ndarray  # [N, N]
    shape_slope: np.ndarray  # [N]


class _Problem:
    """Landmarks [F, 68, 2] in parts of the frame's side from its middle, and the head model to fit to them."""

    def __init__(self, landmarks: np.ndarray, model: HeadModel) -> None:
        self._landmarks = landmarks[:, INNER]
        self._model = model
        weights = np.ones(LANDMARKS)
        weights[BROWS] = BROWS_WEIGHT
        weights[MOUTH] = MOUTH_WEIGHT
        self._root_weights = np.sqrt(weights[INNER]) / NOISE
        # What a detector gets wrong about a face it gets wrong in every frame: more frames say no more about the shape.
        self._precision = len(landmarks) * np.repeat(1 / model.deviations[INNER] ** 2, 3)

    def start(self) -> Fit:
        """Return the mean face, seen from the front, where the landmarks are and as large as they are."""
        shape = self._model.shape[INNER]
        frames = len(self._landmarks)
        middle = self._landmarks.mean(axis=1)
        spread = np.sqrt(((self._landmarks - middle[:, None]) ** 2).sum(axis=2).mean(axis=1))
        width = np.sqrt(((shape - shape.mean(axis=0))[:, :2] ** 2).sum(axis=1).mean())
        depth = FOCAL * width / spread
        translations = np.concatenate([middle * depth[:, None] / FOCAL, depth[:, None]], axis=1)
        translations -= FRONTAL @ shape.mean(axis=0)
        return self._fit(self._model.shape, np.repeat(FRONTAL[None], frames, axis=0), translations)

    def _fit(self, shape: np.ndarray, rotations: np.ndarray, translations: np.ndarray) -> Fit:
        errors = self._errors(shape, rotations, translations)
        squares = (errors**2).sum(axis=2) * self._root_weights**2
        prior = (self._precision * (shape - self._model.shape)[INNER].ravel() ** 2).sum()
        return Fit(
            shape=shape,
            rotations=rotations,
            translations=translations,
            cost=float((2 * (np.sqrt(1 + squares) - 1)).sum() + prior),
            residuals=np.sqrt((errors**2).sum(axis=2).mean(axis=1)),
        )

    def _errors(self, shape: np.ndarray, rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
        """Return projections minus landmarks [F, P, 2]."""
        seen = _seen(shape[INNER], rotations, translations)
        faults = self._model.faults_at(rotations)[:, INNER] * (RADIUS / translations[:, 2])[:, None, None]
        return FOCAL * seen[:, :, :2] / seen[:, :, 2:] + faults - self._landmarks

    def equations(self, fit: Fit) -> _Equations:
        """Return the normal equations, with each landmark weighed as pseudo-Huber's loss weighs it here."""
        errors = self._errors(fit.shape, fit.rotations, fit.translations) * self._root_weights[:, None]
        robust = (1 + (errors**2).sum(axis=2)) ** -0.25  # root of the weight 1 / sqrt(1 + square)
        errors = errors * robust[:, :, None]
        seen = _seen(fit.shape[INNER], fit.rotations, fit.translations)
        by_point = _projection_slopes(seen) * (robust * self._root_weights)[:, :, None, None]
        by_turn = -by_point @ _cross_matrices(seen - fit.translations[:, None])
        by_pose = np.concatenate([by_turn, by_point], axis=3)
        by_shape = by_point @ fit.rotations[:, None]
        frames, points = errors.shape[:2]
        numbers = 3 * points
        blocks = np.einsum("fpri,fprj->pij", by_shape, by_shape)
        shape_matrix = np.zeros([points, 3, points, 3])
        shape_matrix[np.arange(points), :, np.arange(points)] = blocks
        shape_matrix = shape_matrix.reshape(numbers, numbers) + np.diag(self._precision)
        from_mean = (fit.shape - self._model.shape)[INNER].ravel()
        return _Equations(
            pose_matrix=np.einsum("fpri,fprj->fij", by_pose, by_pose),
            pose_slope=np.einsum("fpri,fpr->fi", by_pose, errors),
            link=np.einsum("fpri,fprj->fipj", by_pose, by_shape).reshape(frames, 6, numbers),
            shape_matrix=shape_matrix,
            shape_slope=np.einsum("fpri,fpr->pi", by_shape, errors).ravel() + self._precision * from_mean,
        )

    def step(self, fit: Fit, equations: _Equations, damping: float) -> Fit:
        """Return the fit after one step of the normal equations, damped."""
        poses = equations.pose_matrix * (1 + damping * np.eye(6))
        to_shape = np.linalg.solve(poses, equations.link)
        to_slope = np.linalg.solve(poses, equations.pose_slope[:, :, None])[:, :, 0]
        matrix = equations.shape_matrix * (1 + damping * np.eye(len(equations.shape_slope)))
        matrix = matrix - np.tensordot(equations.link, to_shape, axes=([0, 1], [0, 1]))
        slope = equations.shape_slope - np.einsum("fin,fi->n", equations.link, to_slope)
        shape_step = -np.linalg.solve(matrix, slope)
        pose_step = -to_slope - to_shape @ shape_step
        shape = fit.shape.copy()
        shape[INNER] += shape_step.reshape(-1, 3)
        turns = Rotation.from_rotvec(pose_step[:, :3]).as_matrix()
        return self._fit(shape, turns @ fit.rotations, fit.translations + pose_step[:, 3:])


def _seen(shape: np.ndarray, rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """Return points [P, 3] in the axes of cameras [F, P, 3]."""
    return shape @ rotations.transpose(0, 2, 1) + translations[:, None]


def _projection_slopes(seen: np.ndarray) -> np.ndarray:
    """Return the derivative [F, P, 2, 3] of projections by points in the camera's axes [F, P, 3]."""
    slopes = np.zeros([*seen.shape[:2], 2, 3])
    scale = FOCAL / seen[:, :, 2]
    projected = seen[:, :, :2] / seen[:, :, 2:]
    slopes[:, :, 0, 0] = scale
    slopes[:, :, 1, 1] = scale
    slopes[:, :, :, 2] = -projected * scale[:, :, None]
    return slopes


def _cross_matrices(vectors: np.ndarray) -> np.ndarray:
    """Return the matrices [..., 3, 3] that multiply by vectors [..., 3] as the cross product does."""
    return np.cross(vectors[..., None, :], np.eye(3)).swapaxes(-1, -2)


# --- Frames without landmarks ----------------------------------------------------------------------------------------


def _spread(values: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return values of the frames that were found among all frames [F, ...], NaN elsewhere."""
    spread = np.full([len(found), *values.shape[1:]], np.nan)
    spread[found] = values
    return spread


def _fill_rotations(rotations: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return rotations for all frames: where none was found, between its neighbours."""
    middle = Rotation.from_matrix(rotations).mean()
    turns = (middle.inv() * Rotation.from_matrix(rotations)).as_rotvec()
    filled = fill_gaps(_spread(turns, found), found)
    return (middle * Rotation.from_rotvec(filled)).as_matrix()
