"""metrics.resize: OpenCV's numbers."""

import numpy as np
import pytest

from metrics.resize import resize_bytes
from tests.helpers.golden_metrics import array, hold


@pytest.mark.parametrize("size", [48, 64, 40, 128])
def test_opencv(size):
    resized = resize_bytes(array("warping", "resize_src").transpose(2, 0, 1), size, size)
    assert resized.dtype == np.uint8
    hold("warping", f"resize_{size}", resized.transpose(1, 2, 0))


def test_closed_forms():
    image = np.random.default_rng(0).integers(0, 256, (3, 12, 8), dtype=np.uint8)
    assert resize_bytes(image, 12, 8) is image
    halves = image.reshape(3, 6, 2, 4, 2).mean(axis=(2, 4))
    assert np.array_equal(resize_bytes(image, 6, 4), np.floor(halves + 0.5))
    flat = np.full((2, 10, 14), 255, np.uint8)
    assert np.array_equal(resize_bytes(flat, 7, 9), flat[:, :7, :9])
    ramp = np.broadcast_to(np.arange(0, 200, 2, dtype=np.uint8), (5, 100))
    wide = resize_bytes(ramp, 5, 200)
    assert np.abs(wide[0, 1:-1] - (np.arange(1, 199) - 0.5)).max() <= 1, "pixel centres at (i + 0.5) / size"
    assert wide[0, 0] == 0 and wide[0, -1] == 198


def test_axes_are_not_mixed_up():
    image = np.random.default_rng(1).integers(0, 256, (9, 13), dtype=np.uint8)
    tall = resize_bytes(image, 20, 13)
    assert tall.shape == (20, 13)
    assert np.abs(tall - resize_bytes(image.T, 13, 20).T.astype(int)).max() <= 1
