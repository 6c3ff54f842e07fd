"""metrics.variety: CIELAB features, generators that collapsed or froze, and the level of procedural heads."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from skimage.color import rgb2lab

from metrics import variety
from metrics.variety import (
    diversity_row,
    lab_features,
    mean_distance,
    mean_estimate,
    motion_row,
    procedural_diversity_row,
    procedural_motion_row,
)
from training.checkpoints.opener import load_generator
from training.checkpoints.snapshots import Snapshot

pytestmark = pytest.mark.usefixtures("one_thread")


# --- Distances --------------------------------------------------------------------------------------------------------


def test_features_are_cielab():
    frames = np.random.default_rng(0).integers(0, 256, [2, 3, 16, 16], dtype=np.uint8)
    channels_last = frames.transpose(0, 2, 3, 1)
    expected = rgb2lab(channels_last).transpose(0, 3, 1, 2)
    features = lab_features(frames)
    assert_allclose(features, expected, atol=0.02)  # matrices differ in the fifth digit
    large = frames.repeat(4, axis=2).repeat(4, axis=3)
    assert_allclose(lab_features(large), features, atol=1e-9)


def test_black_is_100_away_from_white():
    frames = np.zeros([2, 3, 64, 64], np.uint8)
    frames[1] = 255
    distance = mean_distance(lab_features(frames))
    assert distance == pytest.approx(100, abs=1e-3)


def test_distances_are_means_over_all_pairs():
    features = np.zeros([3, 3, 2, 2])
    features[1, 0] = 3
    features[2, 1:] = 1
    expected = (3 + np.sqrt(2) + np.sqrt(11)) / 3
    assert mean_distance(features) == pytest.approx(expected)


def test_equal_frames_have_no_distance():
    assert mean_distance(np.ones([3, 3, 2, 2])) == 0


def test_flicker_of_single_pixels_counts_little():
    """Noise of two grey levels: 0.65 at 16 x 16 pixels, it would be 1.29 at 32 x 32."""
    grey = np.full([4, 3, 64, 64], 128, np.uint8)
    noise = np.random.default_rng(0).normal(0, 2, grey.shape)
    noisy = grey + noise.round().astype(np.int8)
    distance = mean_distance(lab_features(noisy.astype(np.uint8)))
    assert distance < 0.8


def test_estimates_have_standard_errors():
    values = np.array([[1.0], [2.0], [6.0]])
    found = mean_estimate(values, other=5.0)
    assert found.value == 3
    assert found.standard_error == pytest.approx(np.sqrt(7 / 3))
    assert found.details == {"other": 5}


def test_estimates_of_few_videos():
    assert mean_estimate(np.ones([1, 1])).standard_error is None
    assert np.isnan(mean_estimate(np.ones([0, 1])).value)


# --- Generators -------------------------------------------------------------------------------------------------------


@pytest.fixture
def subject(snapshot) -> Snapshot:
    return load_generator(snapshot)


@pytest.fixture
def frozen(subject, monkeypatch) -> Snapshot:
    """A generator on which neither the motion code nor time has any effect."""
    planes = subject.G.planes

    def still_planes(ws, z_motion, t, *rest):
        return planes(ws, z_motion * 0, t * 0, *rest)

    monkeypatch.setattr(subject.G, "planes", still_planes)
    return subject


@pytest.fixture
def collapsed(subject, monkeypatch) -> Snapshot:
    """A generator on which the appearance code has no effect."""
    mapping = subject.G.mapping

    def one_appearance(z, *rest, **options):
        return mapping(torch.ones_like(z), *rest, **options)

    monkeypatch.setattr(subject.G, "mapping", one_appearance)
    return subject


@pytest.mark.parametrize("row", [diversity_row, motion_row])
def test_rows_are_pure_functions_of_seed_and_index(subject, row):
    found = row(subject, 0, 3)
    assert found.shape == (variety.WIDTH,)
    assert found.dtype == np.float64
    assert found > 0
    assert row(subject, 0, 3) == found
    assert row(subject, 1, 3) != found
    assert row(subject, 0, 4) != found


def test_a_collapsed_generator_has_no_diversity(collapsed):
    for index in range(3):
        assert diversity_row(collapsed, 0, index) == 0
    assert motion_row(collapsed, 0, 0) > 0


def test_a_frozen_generator_has_no_motion(frozen):
    for index in range(3):
        assert motion_row(frozen, 0, index) == 0
    assert diversity_row(frozen, 0, 0) > 0


def test_a_constant_generator_has_neither(subject, frozen, collapsed):
    assert diversity_row(subject, 0, 0) == 0
    assert motion_row(subject, 0, 0) == 0


def test_no_appearance_counts_twice(subject, monkeypatch):
    """So that standard errors hold."""
    specs = []

    def remember(snapshot, spec) -> np.ndarray:
        specs.append(spec)
        return np.zeros([1, 3, 32, 32], np.uint8)

    monkeypatch.setattr(variety, "still_frames", remember)
    for index in range(4):
        diversity_row(subject, 0, index)
    appearances = {tuple(spec.z.tolist()) for spec in specs}
    motions = {tuple(spec.z_motion.tolist()) for spec in specs}
    assert len(appearances) == 8
    assert len(motions) == 4
    for first, second in zip(specs[::2], specs[1::2], strict=True):
        assert torch.equal(first.z_motion, second.z_motion)
        assert torch.equal(first.times, second.times)


def test_frames_stay_within_the_trained_time(subject, monkeypatch):
    monkeypatch.setattr(subject.G, "max_time", 0.0)
    for index in range(3):
        assert motion_row(subject, 0, index) == 0


# --- Procedural heads -------------------------------------------------------------------------------------------------


def mean_motion(fps: float, videos: int) -> float:
    rows = [procedural_motion_row(fps, 0, index) for index in range(videos)]
    return float(np.mean(rows))


def test_procedural_heads_differ_more_than_they_move():
    """Over 100 videos: diversity 29.8 +- 0.7, motion 1.63 +- 0.05."""
    rows = [procedural_diversity_row(0, index) for index in range(12)]
    assert 22 < np.mean(rows) < 38
    assert 1.1 < mean_motion(25.0, 12) < 2.2


def test_rows_of_procedural_heads_are_pure_functions():
    row = procedural_motion_row(25.0, 0, 1)
    assert procedural_motion_row(25.0, 0, 1) == row
    assert procedural_motion_row(25.0, 1, 1) != row


def test_motion_knows_the_frame_rate():
    """Sixteen frames of ten a second last longer, and so move more."""
    slow = mean_motion(10.0, 8)
    fast = mean_motion(100.0, 8)
    assert slow > 1.3 * fast
