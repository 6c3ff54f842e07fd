"""PSNR and SSIM against closed forms and scikit-image."""

import math

import numpy as np
import pytest
import torch

from applications.scores import closeness, psnr, ssim
from tests.helpers import tiny


def test_psnr_of_a_constant_error():
    a = torch.full([2, 3, 16, 16], 100, dtype=torch.uint8)
    b = torch.full([2, 3, 16, 16], 90, dtype=torch.uint8)
    assert psnr(a, b).tolist() == pytest.approx([20 * math.log10(25.5)] * 2)
    assert psnr(a, a).tolist() == [math.inf] * 2


def test_ssim_is_that_of_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    a, b = tiny.pixels(0, 2, 3, 40, 33), tiny.pixels(1, 2, 3, 40, 33)
    b[1] = a[1] // 2 + b[1] // 4  # one pair that is alike
    found = ssim(a, b)
    for index in range(2):
        _, places = metrics.structural_similarity(
            *(x[index].permute(1, 2, 0).numpy() for x in (a, b)),
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            full=True,
        )
        inside = places[5:-5, 5:-5].mean()  # where windows lie inside
        assert found[index].item() == pytest.approx(inside, abs=1e-6)
    assert ssim(a, a).tolist() == pytest.approx([1, 1])


def test_closeness_has_what_can_be_measured():
    a, b = tiny.pixels(0, 2, 3, 16, 16), tiny.pixels(1, 2, 3, 16, 16)
    bare = closeness(a, b)
    assert bare.lpips is None and bare.identity is None
    assert bare.psnr == pytest.approx(psnr(a, b).mean().item())
    full = closeness(a, b, lpips=lambda x, y: (x - y).abs().mean(dim=(1, 2, 3)), identity=0.9)
    wanted = np.abs(a.numpy().astype(float) - b.numpy()).mean() / 127.5
    assert full.lpips == pytest.approx(wanted, rel=1e-5) and full.identity == 0.9
