"""metrics.variety: CIELAB features, generators that collapsed or froze, and the level of procedural heads."""

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from metrics import variety
from metrics.variety import diversity_row, lab_features, mean_distance, mean_estimate, motion_row
from training.checkpoints.opener import load_generator
from training.checkpoints.snapshots import Snapshot
from training.networks.generator import Generator

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def subject(snapshot) -> Snapshot:
    return load_generator(snapshot)


def frozen(G: Generator, monkeypatch) -> None:
    """Neither the motion code nor time has any effect."""
    planes = G.planes
    monkeypatch.setattr(G, "planes", lambda ws, z_motion, t, *rest: planes(ws, z_motion * 0, t * 0, *rest))


def collapsed(G: Generator, monkeypatch) -> None:
    """The appearance code has no effect."""
    mapping = G.mapping
    monkeypatch.setattr(G, "mapping", lambda z, *rest, **options: mapping(torch.ones_like(z), *rest, **options))


def test_features_are_cielab():
    frames = np.random.default_rng(0).integers(0, 256, [2, 3, 16, 16], dtype=np.uint8)
    expected = rgb2lab(frames.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(lab_features(frames), expected, atol=0.02)  # matrices differ in the fifth digit
    black_white = np.stack([np.zeros([3, 64, 64]), np.full([3, 64, 64], 255)]).astype(np.uint8)
    assert mean_distance(lab_features(black_white)) == pytest.approx(100, abs=1e-3)
    large = frames.repeat(4, axis=2).repeat(4, axis=3)
    np.testing.assert_allclose(lab_features(large), lab_features(frames), atol=1e-9)


def test_distances_are_means_over_all_pairs():
    features = np.zeros([3, 3, 2, 2])
    features[1, 0], features[2, 1:] = 3, 1
    expected = (3 + np.sqrt(2) + np.sqrt(11)) / 3
    assert mean_distance(features) == pytest.approx(expected)
    assert mean_distance(features[[0, 0, 0]]) == 0


def test_estimates_have_standard_errors():
    values = np.array([[1.0], [2.0], [6.0]])
    found = mean_estimate(values, other=5.0)
    assert found.value == 3 and found.standard_error == pytest.approx(np.sqrt(7 / 3)) and found.details == {"other": 5}
    assert mean_estimate(values[:1]).standard_error is None and np.isnan(mean_estimate(values[:0]).value)


@pytest.mark.parametrize("row", [diversity_row, motion_row])
def test_rows_are_pure_functions_of_seed_and_index(subject, row):
    found = row(subject, 0, 3)
    assert found.shape == (variety.WIDTH,) and found.dtype == np.float64 and found[0] > 0
    assert np.array_equal(found, row(subject, 0, 3))
    assert row(subject, 1, 3) != found and row(subject, 0, 4) != found


def test_a_collapsed_generator_has_no_diversity(subject, monkeypatch):
    collapsed(subject.G, monkeypatch)
    assert [diversity_row(subject, 0, index)[0] for index in range(3)] == [0, 0, 0]
    assert motion_row(subject, 0, 0)[0] > 0


def test_a_frozen_generator_has_no_motion(subject, monkeypatch):
    frozen(subject.G, monkeypatch)
    assert [motion_row(subject, 0, index)[0] for index in range(3)] == [0, 0, 0]
    assert diversity_row(subject, 0, 0)[0] > 0


def test_a_constant_generator_has_neither(subject, monkeypatch):
    collapsed(subject.G, monkeypatch)
    frozen(subject.G, monkeypatch)
    assert diversity_row(subject, 0, 0)[0] == motion_row(subject, 0, 0)[0] == 0


def test_no_appearance_counts_twice(subject, monkeypatch):
    """So that standard errors hold."""
    codes = []
    monkeypatch.setattr(variety, "still_frames", lambda _, spec: codes.append(spec) or np.zeros([1, 3, 32, 32], "u1"))
    for index in range(4):
        diversity_row(subject, 0, index)
    assert len({tuple(spec.z.tolist()) for spec in codes}) == 8
    assert len({tuple(spec.z_motion.tolist()) for spec in codes}) == 4
    for first, second in zip(codes[::2], codes[1::2], strict=True):
        assert torch.equal(first.z_motion, second.z_motion) and torch.equal(first.times, second.times)


def test_procedural_heads_differ_more_than_they_move():
    """Over 100 videos: diversity 29.8 +- 0.7, motion 1.63 +- 0.05."""
    diversity = mean_estimate(np.stack([variety.procedural_diversity_row(0, index) for index in range(12)]))
    motion = mean_estimate(np.stack([variety.procedural_motion_row(25.0, 0, index) for index in range(12)]))
    assert 22 < diversity.value < 38 and 1.1 < motion.value < 2.2
    assert np.array_equal(variety.procedural_motion_row(25.0, 0, 1), variety.procedural_motion_row(25.0, 0, 1))
    assert variety.procedural_motion_row(25.0, 0, 1) != variety.procedural_motion_row(25.0, 1, 1)


def test_motion_knows_the_frame_rate():
    """Sixteen frames of ten a second last longer, and so move more."""
    slow, fast = (
        np.mean([variety.procedural_motion_row(fps, 0, index) for index in range(8)]) for fps in (10.0, 100.0)
    )
    assert slow > 1.3 * fast


def test_flicker_of_single_pixels_counts_little():
    """Noise of two grey levels: 0.65 at 16 x 16 pixels, it would be 1.29 at 32 x 32."""
    still = np.full([4, 3, 64, 64], 128, np.uint8)
    noisy = still + np.random.default_rng(0).normal(0, 2, still.shape).round().astype(np.int8)
    assert mean_distance(lab_features(still)) == 0
    assert mean_distance(lab_features(noisy.astype(np.uint8))) < 0.8
