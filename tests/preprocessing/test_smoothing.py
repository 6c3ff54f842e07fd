"""The low-pass keeps straight lines, averages as a Gaussian does, fills gaps, and works per number."""

import numpy as np
import pytest

from preprocessing.smoothing import fill_gaps, low_pass

ALL = np.ones(40, dtype=bool)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 2.0, 8.0])
def test_straight_lines_stay_as_they_are_up_to_the_ends(sigma):
    line = np.stack([3.0 + 0.7 * np.arange(40), -2.0 * np.arange(40)], axis=1)
    np.testing.assert_allclose(low_pass(line, ALL, sigma), line, atol=1e-9)


def test_a_pulse_in_the_middle_becomes_a_gaussian():
    pulse = np.zeros(41)
    pulse[20] = 1.0
    gaussian = np.exp(-0.5 * ((np.arange(41) - 20) / 2.0) ** 2)
    smooth = low_pass(pulse, np.ones(41, dtype=bool), 2.0)
    np.testing.assert_allclose(smooth[8:33], (gaussian / gaussian.sum())[8:33], atol=1e-6)


def test_noise_shrinks_as_gaussian_weights_say():
    noise = np.random.default_rng(0).normal(size=[400, 60])
    smooth = low_pass(noise, np.ones(400, dtype=bool), 3.0)
    expected = 1 / np.sqrt(2 * 3.0 * np.sqrt(np.pi))  # root of the sum of squared weights
    assert smooth[20:-20].std() == pytest.approx(expected, rel=0.03)


def test_gaps_are_bridged_by_straight_lines():
    line = 5.0 + 2.0 * np.arange(40)
    found = ALL.copy()
    found[[0, 7, 8, 9, 39]] = False
    holes = np.where(found, line, np.nan)
    filled = fill_gaps(holes, found)
    np.testing.assert_allclose(filled[1:39], line[1:39])
    assert (filled[0], filled[39]) == (line[1], line[38])


@pytest.mark.parametrize("frames", [1, 2])
def test_very_short_clips_stay_as_they_are(frames):
    values = np.arange(frames * 6.0).reshape(frames, 3, 2)
    np.testing.assert_array_equal(low_pass(values, ALL[:frames], 3.0), values)
