"""Distances of frames: closed forms, what they ignore, and gradients."""

import pytest
import torch

from applications.losses import Comparison, EmbeddingDistance, FeatureDistance, PixelDistance, Term
from tests.helpers import tiny


def distance_of(distance, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return distance.between(distance.describe(a), distance.describe(b))


def test_pixels_count_once_a_scale():
    """A constant difference is the same at all four scales, a chessboard's is seen at the finest alone."""
    flat = torch.full([1, 3, 32, 32], 0.5)
    board = (torch.arange(32)[:, None] + torch.arange(32)).remainder(2).mul(2.0).sub(1).expand(1, 3, 32, 32)
    black = torch.zeros(1, 3, 32, 32)
    assert distance_of(PixelDistance(), flat, black).item() == pytest.approx(4 * 0.25)
    assert distance_of(PixelDistance(), board, black).item() == pytest.approx(1.0)


def test_odd_sides_are_not_halved():
    assert [part.shape[-1] for part in PixelDistance().describe(torch.zeros(1, 3, 12, 12))] == [12, 6, 3]


@pytest.mark.usefixtures("one_thread")
def test_features_compare_directions_of_the_discriminator():
    D = tiny.networks(tiny.config()).D_img
    distance = FeatureDistance(D, raw_resolution=8)
    a, b = (tiny.normal(seed, 2, 3, 32, 32) for seed in (0, 1))
    found = distance_of(distance, a, b)
    assert (found > 0).all() and not distance_of(distance, a, a).any()
    blocks = distance.describe(a)
    assert [block.shape[-1] for block in blocks] == [16, 8, 4]
    for block in blocks:
        torch.testing.assert_close(block.norm(dim=1), torch.ones_like(block[:, 0]))
    a.requires_grad_(True)
    distance_of(distance, a, b).sum().backward()
    assert a.grad.abs().sum() > 0 and all(p.grad is None for p in D.parameters())


def test_features_end_with_those_that_logits_are_made_of():
    D = tiny.networks(tiny.config()).D_img
    x = tiny.normal(0, 2, 6, 32, 32)
    *_, last = D.block_features(x)
    assert torch.equal(last, D.features(x))


def test_embeddings_compare_angles():
    distance = EmbeddingDistance(lambda images: images.flatten(1)[:, :2])
    a = torch.tensor([[3.0, 0.0], [1.0, 1.0], [-2.0, 0.0]])
    b = torch.tensor([[9.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    torch.testing.assert_close(distance_of(distance, a, b), torch.tensor([0.0, 1 - 0.5**0.5, 2.0]))


def test_a_comparison_weighs_terms_and_picks_frames():
    target = tiny.normal(0, 3, 3, 32, 32)
    images = tiny.normal(1, 2, 3, 32, 32)
    rows = torch.tensor([2, 0])
    unused = Term(weight=0.0, distance=None)  # would fail if it were asked
    both = Comparison(
        [
            Term(weight=2.0, distance=PixelDistance()),
            unused,
            Term(weight=0.5, distance=EmbeddingDistance(lambda x: x.flatten(1))),
        ],
        target,
    )
    cosine = torch.cosine_similarity(images.flatten(1), target[rows].flatten(1))
    wanted = 2 * distance_of(PixelDistance(), images, target[rows]) + 0.5 * (1 - cosine)
    torch.testing.assert_close(both(images, rows), wanted)
