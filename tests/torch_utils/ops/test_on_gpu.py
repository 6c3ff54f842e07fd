"""CUDA kernels as they are built and launched, and lookups on a GPU, against the CPU.

The arithmetic of the kernels is also tested without a GPU: `path` = kernel in the other files.
"""

import itertools

import pytest
import torch

from tests.helpers.tiny import normal, uniform
from tests.torch_utils.ops.test_bias_act import LAYOUTS as BIAS_LAYOUTS
from tests.torch_utils.ops.test_bias_act import composed, derivatives
from tests.torch_utils.ops.test_strips import PACK, PADDINGS, SCALES, image
from tests.torch_utils.ops.test_upfirdn2d import LAYOUTS, SWEEP, random_case
from torch_utils import custom_ops, doctor
from torch_utils.ops import plane_sampling
from torch_utils.ops.activations import activation_funcs
from torch_utils.ops.scale_act import scale_act
from torch_utils.ops.upfirdn2d import setup_filter, upfirdn2d, upsample2d

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.03, torch.float16: 4e-3}


@pytest.fixture(autouse=True)
def cuda_mode(monkeypatch):
    monkeypatch.setattr(custom_ops, "_mode", "auto")
    custom_ops.set_ops_mode("cuda")


def assert_near(found, expected, dtype):
    error = (found.double().cpu() - expected.double()).abs() / (1 + expected.double().abs())
    assert error.max() <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_upfirdn2d(dtype, layout):
    for filter_shape, up, down, padding, flip in SWEEP:
        x, f = random_case(filter_shape, dtype, LAYOUTS[layout])
        results = []
        for device, kind in (("cpu", torch.float64), ("cuda", dtype)):
            own = x.to(device, kind).requires_grad_()
            y = upfirdn2d(own, f, up=up, down=down, padding=padding, flip_filter=flip)
            (dx,) = torch.autograd.grad(y.square().sum(), own, create_graph=True)
            results.append([y, *torch.autograd.grad(dx.square().sum() / 100, own)])
        assert results[1][0].is_contiguous(memory_format=LAYOUTS[layout])
        for expected, found in zip(*results, strict=True):
            assert_near(found / expected.abs().max(), expected / expected.abs().max(), dtype)


@pytest.mark.parametrize("dtype", PACK)
@pytest.mark.parametrize("up, down", SCALES)
@pytest.mark.parametrize("size", [(7, 9), (300, 260)])
def test_filters_in_packs_of_channels(dtype, up, down, size):
    """Small images, and large ones whose strips are long."""
    for padding in PADDINGS:
        x = image(dtype, 16, size)
        results = []
        for device, kind in (("cpu", torch.float64), ("cuda", dtype)):
            own = x.to(device, kind).requires_grad_()
            y = upfirdn2d(own, setup_filter([1, 3, 3, 1]), up=up, down=down, padding=padding)
            results.append([y, *torch.autograd.grad(y.square().sum(), own)])
        for expected, found in zip(*results, strict=True):
            assert_near(found / expected.abs().max(), expected / expected.abs().max(), dtype)


@pytest.mark.parametrize("dtype", PACK)
@pytest.mark.parametrize("size", [(5, 7), (256, 200)])
def test_scale_act(dtype, size):
    """Small images, and large ones of which a thread takes 64 pixels."""
    x = normal(0, 4, 32, *size).to(dtype).contiguous(memory_format=torch.channels_last)
    others = (uniform(1, 4, 32) + 0.5, normal(2, 32), normal(3, *size))
    dy = normal(4, *x.shape)
    results = []
    for device, kind in (("cpu", torch.float64), ("cuda", dtype)):
        small = torch.float64 if kind == torch.float64 else torch.float32
        own = [x.to(device, kind).requires_grad_(), *(t.to(device, small).requires_grad_() for t in others)]
        y = scale_act(*own, act="lrelu", clamp=2.0)
        if device == "cpu":  # rounding decides on which side of a kink these are
            dy[(y.abs() < 0.05) | ((y.abs() - 2).abs() < 0.05)] = 0
        results.append([y, *torch.autograd.grad(y, own, dy.to(device, kind))])
    for expected, found in zip(*results, strict=True):
        difference = (found.double().cpu() - expected).norm() / expected.norm()
        assert difference <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("act", activation_funcs)
def test_bias_act(dtype, act):
    generator = torch.Generator().manual_seed(0)
    for (shape, dim, channels_last), clamp in itertools.product(BIAS_LAYOUTS, (None, 0.5)):
        layout = torch.channels_last if channels_last else torch.contiguous_format
        x, dy, ddx = (
            torch.randn(shape, generator=generator).to(dtype).contiguous(memory_format=layout) for _ in range(3)
        )
        b = torch.randn(shape[dim], generator=generator).to(dtype)
        y = composed(x.double(), b.double(), act, dim).abs()
        unclear = (y < 1e-6) | ((y / (clamp or 1e9) - 1).abs() < 0.02)
        dy[unclear] = ddx[unclear] = 0
        results = [
            derivatives(
                *(t.to(device, kind).detach().requires_grad_() for t in (x, b, dy, ddx)), act=act, dim=dim, clamp=clamp
            )
            for device, kind in (("cpu", torch.float64), ("cuda", dtype))
        ]
        for expected, found in zip(*results, strict=True):
            assert_near(found, expected, dtype)


def test_kernels_use_the_current_stream():
    """A kernel queued behind a slow operation sees its result."""
    x = torch.ones(1, 1, 64, 64, device="cuda")
    with torch.cuda.stream(torch.cuda.Stream()):
        for _ in range(20):
            big = torch.ones(2048, 2048, device="cuda")
            x = x + 0 * (big @ big)[0, 0]
        y = upsample2d(x, setup_filter([1, 3, 3, 1], device="cuda"))
    torch.cuda.synchronize()
    assert (y[..., 2:-2, 2:-2] == 1).all()


def test_doctor_finds_nothing_wrong(capsys):
    assert doctor.main([]) == 0
    assert "FAILED" not in capsys.readouterr().out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_plane_sampling(dtype):
    planes = normal(0, 2, 3, 32, 40, 48, dtype=dtype)
    uv = uniform(1, 2, 3, 500, 2) * 2.4 - 1.2
    results = []
    for device, kind in (("cpu", torch.float64), ("cuda", dtype)):
        own = planes.to(device, kind).requires_grad_()
        own_uv = uv.to(device, torch.float64 if kind == torch.float64 else torch.float32).requires_grad_()
        out = plane_sampling.sample_planes_mean(own, own_uv)
        results.append([out, *torch.autograd.grad(out.sum(), [own, own_uv])])
    for expected, found in zip(*results, strict=True):
        error = (found.double().cpu() - expected).norm() / expected.norm()
        assert error <= TOLERANCE[dtype]
