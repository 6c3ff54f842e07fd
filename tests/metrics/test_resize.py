"""metrics.resize: OpenCV's numbers."""

import numpy as np
import pytest

from metrics.resize import resize_bytes
from tests.helpers.golden_metrics import array, hold


def noise(seed: int, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("size", [48, 64, 40, 128])
def test_opencv(size):
    channels_last = array("warping", "resize_src")
    image = channels_last.transpose(2, 0, 1)
    resized = resize_bytes(image, size, size)
    assert resized.dtype == np.uint8
    ours = resized.transpose(1, 2, 0)
    hold("warping", f"resize_{size}", ours)


def test_the_same_size():
    image = noise(0, 3, 12, 8)
    assert resize_bytes(image, 12, 8) is image


def test_halves():
    image = noise(0, 3, 12, 8)
    pixels = image.reshape(3, 6, 2, 4, 2)
    means = pixels.mean(axis=(2, 4))
    rounded = np.floor(means + 0.5)
    halved = resize_bytes(image, 6, 4)
    assert np.array_equal(halved, rounded)


def test_flat_images():
    flat = np.full((2, 10, 14), 255, np.uint8)
    resized = resize_bytes(flat, 7, 9)
    assert resized.shape == (2, 7, 9)
    assert (resized == 255).all()


def test_pixel_centres():
    """They are at (i + 0.5) / size."""
    levels = np.arange(0, 200, 2, dtype=np.uint8)
    ramp = np.broadcast_to(levels, (5, 100))
    wide = resize_bytes(ramp, 5, 200)[0]
    inner = np.arange(1, 199)
    errors = wide[inner] - (inner - 0.5)
    assert np.abs(errors).max() <= 1
    assert wide[0] == 0
    assert wide[-1] == 198


def test_axes_are_not_mixed_up():
    image = noise(1, 9, 13)
    tall = resize_bytes(image, 20, 13)
    turned = resize_bytes(image.T, 13, 20).T
    assert tall.shape == (20, 13)
    differences = tall - turned.astype(int)
    assert np.abs(differences).max() <= 1
