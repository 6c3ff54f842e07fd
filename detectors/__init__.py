"""Networks that metrics see through: I3D for videos, ArcFace and dlib's for faces. Inference only."""

from pathlib import Path
from typing import Protocol

import torch

from detectors import i3d, random_weights, torchscript, weights
from detectors.arcface import ArcFace, ArcFaceEmbedder
from detectors.dlib_face import DlibEmbedder
from detectors.i3d import I3DFeatures, InceptionI3D

I3D_GAIN, ARCFACE_GAIN = 1.7, 1.3  # of random weights: signals keep their size through the network


class VideoFeatures(Protocol):
    """A function from clips, uint8 [B, T, 3, H, W] RGB, to feature vectors, float32 [B, dim]; of each clip alone.

    `name` and `checksum` (sha256 of the weights' file, or of the rule of random weights) stand in every result.
    """

    name: str
    checksum: str
    dim: int

    def __call__(self, clips: torch.Tensor) -> torch.Tensor: ...


class FaceEmbedder(Protocol):
    """A function from frames, uint8 [N, 3, H, W] RGB, to unit vectors, float32 [N, dim]; of each frame alone."""

    name: str
    checksum: str
    dim: int

    def __call__(self, frames: torch.Tensor) -> torch.Tensor: ...


def load_video_detector(style: str, kind: str, folder: Path | None, device: torch.device | str) -> VideoFeatures:
    """I3D of one of the two protocols of FVD.

    Args:
        style: "pv3d" (VideoGPT's weights, BatchNorm epsilon 1e-5; shorter side to 224 and centre crop) or "stylegan-v"
            (its TorchScript file, with the epsilon that the file states, else the original's 1e-3; stretched to 224 x
            224).
        kind: "public" weights, or "random" ones, fixed.
        folder: where to look for public weights first (`--detectors`).

    Raises:
        UserError: the weights' file is missing, damaged or of another network.
    """
    stretched = style == "stylegan-v"
    prepare = i3d.preprocess_stretched if stretched else i3d.preprocess
    network = InceptionI3D(i3d.TF_EPS if stretched else i3d.PAPER_EPS)
    if kind == "random":
        return I3DFeatures(network, prepare, "random", random_weights.fill(network, I3D_GAIN), device)
    source = weights.I3D_STYLEGAN_V if stretched else weights.I3D
    path = weights.locate(source, folder)
    if stretched:
        state, epsilon = torchscript.read_script(source, path)
        network = InceptionI3D(epsilon or i3d.TF_EPS)
        state = torchscript.rename(state, network, source, path)
    else:
        state = weights.read_state(source, path)
    weights.put_into(network, state, source, path)
    return I3DFeatures(network, prepare, "i3d-stylegan-v" if stretched else "i3d", weights.checksum(path), device)


def load_face_embedder(metric: str, kind: str, folder: Path | None, device: torch.device | str) -> FaceEmbedder:
    """The network of a metric of identity.

    Args:
        metric: "id" (ArcFace) or "id-dlib" (always with its own weights, which are installed as a package).
        kind, folder: as for `load_video_detector`.

    Raises:
        UserError: the weights' file is missing, damaged or of another network; dlib is not installed.
    """
    if metric == "id-dlib":
        return DlibEmbedder()
    network = ArcFace()
    if kind == "random":
        return ArcFaceEmbedder(network, "random", random_weights.fill(network, ARCFACE_GAIN), device)
    path = weights.locate(weights.ARCFACE, folder)
    weights.put_into(network, weights.read_state(weights.ARCFACE, path), weights.ARCFACE, path)
    return ArcFaceEmbedder(network, "arcface", weights.checksum(path), device)
