"""Whether all frames of a clip show one person, by dlib's embeddings of its crops (PV3D section A.3)."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from detectors.dlib_face import DlibEmbedder

# Measured by benchmarks/face_distances.py on 18 clips of 17 people: of 113 frames, all are within 0.30 of the others of
# their clip; of strangers put among those, 1 % are within 0.35.
NOISY_DISTANCE = 0.33
MAX_NOISY = 2  # frames; more of them discard the clip


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What the faces of a clip's frames say.

    Attributes:
        frames: numbers of those that were looked at.
        distances: float64 [n], of each one's embedding from the median of the others'.
        found: bool [n], whether a face was found in the crop.
        embedding: float64 [128], the mean of those that are not noisy.
    """

    frames: np.ndarray
    distances: np.ndarray
    found: np.ndarray
    embedding: np.ndarray

    @property
    def noisy(self) -> np.ndarray:
        """The numbers of the frames that look like somebody else, or like nobody."""
        return self.frames[(self.distances > NOISY_DISTANCE) | ~self.found]

    @property
    def fault(self) -> str | None:
        """Why the clip is left out; None if it is one person's."""
        if not self.found.any():
            return "no face in its crops"
        if len(self.noisy) > MAX_NOISY:
            return f"more than one person: {len(self.noisy)} of {len(self.frames)} frames look like somebody else"
        return None


@functools.lru_cache(maxsize=1)
def _embedder() -> DlibEmbedder:
    return DlibEmbedder()


def verify_crops(crops: Sequence[np.ndarray], every: int) -> Verification:
    """Compare the faces of crops uint8 [3, H, W], which are every n-th frame of a clip."""
    faces = [_embedder().embed(torch.from_numpy(crop)[None]) for crop in crops]
    embeddings = torch.cat([face.embeddings for face in faces]).double().numpy()
    found = torch.cat([face.found for face in faces]).numpy()
    distances = distances_to_others(embeddings)
    good = found & (distances <= NOISY_DISTANCE)
    return Verification(
        frames=np.arange(len(crops)) * every,
        distances=distances,
        found=found,
        embedding=embeddings[good if good.any() else slice(None)].mean(axis=0),
    )


def distances_to_others(embeddings: np.ndarray) -> np.ndarray:
    """Return the distance [n] of each embedding [n, D] from the median of the others; 0 of a single one.

    A median stays with the majority where a mean would go half of the way to the strangers.
    """
    distances = np.zeros(len(embeddings))
    for number in range(len(embeddings)):
        others = np.delete(embeddings, number, axis=0)
        if len(others):
            distances[number] = np.linalg.norm(embeddings[number] - np.median(others, axis=0))
    return distances


def save_verification(path: Path, found: Verification) -> None:
    """Write a verification to an .npz."""
    with open(path, "wb") as file:
        np.savez(file, **vars(found))


def load_verification(path: Path) -> Verification:
    """Read what `save_verification` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return Verification(**{name: arrays[name] for name in arrays.files})
