"""Networks of others: I3D turns clips into vectors, ArcFace and dlib's turn faces into them, LPIPS compares pictures.

For inference only, with public weights or with fixed random ones.
"""

import hashlib
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from detectors import i3d, random_weights, torchscript, weights
from detectors.arcface import ArcFace, ArcFaceEmbedder
from detectors.i3d import I3DEmbedder, InceptionI3D
from detectors.lpips import LPIPS, VGG16, ChannelWeights
from dnnlib.files import with_checksum

# Of random weights, so that signals keep their size through the network.
I3D_GAIN = 1.7
ARCFACE_GAIN = 1.3
VGG16_GAIN = 1.7


class VideoEmbedder(Protocol):
    """A function from clips, uint8 [B, T, 3, H, W] RGB, to feature vectors, float32 [B, dim]; each of its clip alone.

    `name` and `checksum` (sha256 of the weights' file, or of the rule of random weights) say whose vectors they are.
    """

    name: str
    checksum: str
    dim: int

    def __call__(self, clips: torch.Tensor) -> torch.Tensor: ...


class FaceEmbedder(Protocol):
    """A function from frames, uint8 [N, 3, H, W] RGB, to unit vectors, float32 [N, dim]; each of its frame alone.

    `name` and `checksum` are as in `VideoEmbedder`.
    """

    name: str
    checksum: str
    dim: int

    def __call__(self, frames: torch.Tensor) -> torch.Tensor: ...


def load_i3d_videogpt(*, kind: str, folder: Path | None, device: torch.device | str) -> I3DEmbedder:
    """Load I3D as VideoGPT released it: BatchNorm epsilon 1e-5; frames scaled and cropped to 224 x 224.

    Args:
        kind: "public" weights, or "random" ones, fixed.
        folder: where to look for public weights first.
        device: as of `select_device`.

    Raises:
        UserError: the weights' file is missing, damaged or of another network; there is no such device.
    """
    network = InceptionI3D(i3d.PYTORCH_EPS)
    if kind == "random":
        name = "random"
        checksum = random_weights.fill(network, I3D_GAIN)
    else:
        name = "i3d"
        checksum = _read_public(network, weights.I3D, folder)
    return I3DEmbedder(network, prepare=i3d.preprocess_cropped, name=name, checksum=checksum, device=device)


def load_i3d_stylegan_v(*, kind: str, folder: Path | None, device: torch.device | str) -> I3DEmbedder:
    """Load I3D as StyleGAN-V released it, a TorchScript file; frames stretched to 224 x 224.

    The BatchNorm epsilon is the one that the file states, else the original's 1e-3. Arguments and errors are those of
    `load_i3d_videogpt`.
    """
    if kind == "random":
        network = InceptionI3D(i3d.TENSORFLOW_EPS)
        name = "random"
        checksum = random_weights.fill(network, I3D_GAIN)
    else:
        source = weights.I3D_STYLEGAN_V
        path = weights.locate(source, folder)
        (state, epsilon), checksum = with_checksum(path, partial(torchscript.read_script, source))
        network = InceptionI3D(epsilon or i3d.TENSORFLOW_EPS)
        state = torchscript.rename(state, network, source, path)
        weights.put_into(network, state, source, path)
        name = "i3d-stylegan-v"
    return I3DEmbedder(network, prepare=i3d.preprocess_stretched, name=name, checksum=checksum, device=device)


def load_arcface(*, kind: str, folder: Path | None, device: torch.device | str) -> ArcFaceEmbedder:
    """Load ArcFace. Arguments and errors are those of `load_i3d_videogpt`."""
    network = ArcFace()
    if kind == "random":
        name = "random"
        checksum = random_weights.fill(network, ARCFACE_GAIN)
    else:
        name = "arcface"
        checksum = _read_public(network, weights.ARCFACE, folder)
    return ArcFaceEmbedder(network, name=name, checksum=checksum, device=device)


def load_lpips(*, kind: str, folder: Path | None, device: torch.device | str) -> LPIPS:
    """Load LPIPS. Arguments and errors are those of `load_i3d_videogpt`; the public weights are in two files."""
    vgg = VGG16()
    channel_weights = ChannelWeights()
    if kind == "random":
        name = "random"
        checksums = [
            random_weights.fill(channel_weights, 1.0, positive=True),
            random_weights.fill(vgg, VGG16_GAIN),
        ]
    else:
        name = "lpips-vgg"
        checksums = [
            _read_public(channel_weights, weights.LPIPS, folder),
            _read_public(vgg, weights.VGG16, folder, prefix="features."),  # without the classifier
        ]
    both = " ".join(checksums).encode()
    checksum = hashlib.sha256(both).hexdigest()
    return LPIPS(vgg, channel_weights, name=name, checksum=checksum, device=device)


def _read_public(network: nn.Module, source: weights.Source, folder: Path | None, *, prefix: str = "") -> str:
    """Put a public state dict, of it the names with a prefix, into a network; return the checksum of its file."""
    path = weights.locate(source, folder)
    read = partial(weights.read_state, source, prefix=prefix)
    state, checksum = with_checksum(path, read)
    weights.put_into(network, state, source, path)
    return checksum
