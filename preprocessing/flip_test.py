"""The flip test: a mirrored picture must give the mirrored camera. What it does not is the landmarks' fault.

Nothing has to be known for it, and it tells the truth about a clip: half of the angle between the pose and the mirrored
picture's, mirrored back, is the error that both share if they are equally wrong.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from detectors.face_landmarks import FaceParts
from preprocessing.head_model import MIRRORED, head_model
from preprocessing.head_pose import fit_parts

EVERY = 5  # frames that are tested
MIRROR = np.diag([-1.0, 1.0, 1.0])


@dataclass
class FlipTest:
    """Takes crops of one clip one after another.

    Args:
        parts: what finds landmarks.
    """

    parts: FaceParts
    _found: list[np.ndarray] = field(default_factory=list)
    _mirrored: list[np.ndarray] = field(default_factory=list)

    def add(self, crop: np.ndarray, landmarks: np.ndarray) -> None:
        """Find landmarks in a crop uint8 [S, S, 3] and in the mirrored one.

        Args:
            landmarks: [68, 2] about where they are, in pixels of the crop.
        """
        side = len(crop)
        middle = (side - 1) / 2
        found, _ = self.parts.landmarks(crop, self.parts.region_of(landmarks))
        where = landmarks[MIRRORED].copy()
        where[:, 0] = side - 1 - where[:, 0]
        flipped = np.ascontiguousarray(crop[:, ::-1])
        mirrored, _ = self.parts.landmarks(flipped, self.parts.region_of(where))
        self._found.append((found - middle) / side)
        self._mirrored.append((mirrored - middle) / side)

    def error(self) -> float:
        """Return the mean error of the clip's cameras by the test, degrees. There was a crop at least."""
        model = head_model(self.parts.name)
        rotations = fit_parts(np.stack(self._found), model).rotations
        of_mirrored = fit_parts(np.stack(self._mirrored), model).rotations
        return half_angle(rotations, MIRROR @ of_mirrored @ MIRROR)


def half_angle(one: np.ndarray, other: np.ndarray) -> float:
    """Return half of the mean angle between rotations [F, 3, 3], degrees."""
    turns = Rotation.from_matrix(one @ other.transpose(0, 2, 1))
    return float(np.degrees(turns.magnitude()).mean() / 2)
