"""The head that is fitted to landmarks: a mean face, how people differ from it, what detectors get wrong from the side.

Everything here was measured by `benchmarks/head_poses.py calibrate` and lies in data/head_model.json, for dlib's
landmarks and for Face Mesh's. The mean face is that of the landmarks as a detector sees them: triangulated from
pictures of faces turned by known angles, and made symmetric. From the side, detectors pull landmarks towards a frontal
face, which makes large turns look 10 to 30 % smaller; how they do so is a polynomial of yaw and pitch a landmark.
"""

import functools
import json
from dataclasses import dataclass
from importlib import resources

import numpy as np

from preprocessing.records import LANDMARKS, MOUTH

FILE = "head_model.json"
# Which landmark of a mirrored face stands where each one stood.
MIRRORED = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), *range(45, 41, -1), 47, 46]
    + [*range(39, 35, -1), 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]
)
DEVIATION = 0.012  # of a landmark of one person from the mean face, standard, in the world's units (about 5 mm)
MOUTH_DEVIATION = 0.024  # the mouth moves besides
# Turns up to which the polynomials were measured, radians; beyond them their value there is taken.
LARGEST_YAW = 0.75
LARGEST_PITCH = 0.35


@dataclass(frozen=True, kw_only=True)
class HeadModel:
    """A mean face and the faults of a detector.

    Attributes:
        shape: float64 [68, 3], in the world (`records`).
        faults: float64 [7, 68, 2], coefficients of `features`: how far landmarks are found from where they are, in
            parts of the frame's side, of a face at distance 2.7.
    """

    shape: np.ndarray
    faults: np.ndarray

    @property
    def deviations(self) -> np.ndarray:
        """Standard deviations [68] of a person's landmarks from the mean face."""
        deviations = np.full(LANDMARKS, DEVIATION)
        deviations[MOUTH] = MOUTH_DEVIATION
        return deviations

    def faults_at(self, rotations: np.ndarray) -> np.ndarray:
        """Return the faults [F, 68, 2] of landmarks of heads with rotations [F, 3, 3] to the camera's axes."""
        yaw, pitch = view_angles(rotations)
        return np.einsum("fk,kpc->fpc", features(yaw, pitch), self.faults)


def view_angles(rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return yaw and pitch [F] in radians of where a camera stands, by the head's rotations [F, 3, 3] to its axes.

    Positive yaw: the camera stands to the head's +x side; positive pitch: above it.
    """
    camera = -rotations[:, 2]  # in which direction it stands, in the head's axes
    yaw = np.arctan2(camera[:, 0], camera[:, 2])
    pitch = np.arctan2(camera[:, 1], np.hypot(camera[:, 0], camera[:, 2]))
    return yaw, pitch


def features(yaw: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """Return the terms of second and third order of yaw and pitch [F] in radians -> [F, 7].

    Those of first order cannot be told from another depth of a landmark.
    """
    yaw = np.clip(yaw, -LARGEST_YAW, LARGEST_YAW)
    pitch = np.clip(pitch, -LARGEST_PITCH, LARGEST_PITCH)
    terms = [yaw**2, pitch**2, yaw * pitch, yaw**3, yaw**2 * pitch, yaw * pitch**2, pitch**3]
    return np.stack(terms, axis=-1)


def mirrored_points(points: np.ndarray) -> np.ndarray:
    """Return a shape [..., 68, 3] or offsets [..., 68, 2] mirrored left-right."""
    mirrored = points[..., MIRRORED, :].copy()
    mirrored[..., 0] *= -1
    return mirrored


@functools.cache
def head_model(landmarks_of: str) -> HeadModel:
    """Return the model for landmarks of `dlib` or `mesh`."""
    text = resources.files("preprocessing.data").joinpath(FILE).read_text(encoding="utf-8")
    numbers = json.loads(text)[landmarks_of]
    return HeadModel(shape=np.array(numbers["shape"]), faults=np.array(numbers["faults"]))
