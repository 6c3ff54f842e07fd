"""Filtering and resampling: golden vectors, kernels against plain PyTorch, derivatives, layout, arguments."""

import pytest
import torch

from tests.helpers import golden, host_kernels
from tests.helpers.tiny import normal, seeded
from torch_utils.ops import upfirdn2d as ops

FUNCTIONS = ("upfirdn2d", "filter2d", "upsample2d", "downsample2d")
LAYOUTS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
F4 = ops.setup_filter([1, 3, 3, 1])

# filter shape, up, down, padding, flip_filter: separable and 2D, even and odd, crops, scales that share no factor
SWEEP = [
    (None, 1, 1, 0, False),
    (None, 2, 1, [1, 0], False),
    (None, 1, 3, [-1, 2, 0, 1], True),
    ((4, 4), 1, 1, [2, 1, 2, 1], False),
    ((4, 4), 2, 1, [2, 1, 2, 1], False),
    ((4, 4), 1, 2, 1, True),
    ((3, 5), 1, 1, [-2, -1, -3, 0], False),
    ((3, 5), [3, 2], [2, 3], [4, -2, -3, 5], True),
    ((2, 1), 2, 2, 0, False),
    ((5, 4), [1, 4], [3, 1], [6, 7, 8, 9], False),
    ((6,), 1, 1, [3, 2], False),
    ((9,), 2, 1, [5, 4, -1, 6], True),
    ((8,), 1, 2, 3, False),
    ((7,), 3, 2, [-4, 5, 6, -2], False),
    ((12,), [4, 1], [1, 2], [7, 6, 3, 3], True),
]


def random_case(filter_shape, dtype=torch.float64, layout=torch.contiguous_format):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 8, 11, dtype=torch.float64, generator=generator).to(dtype).contiguous(memory_format=layout)
    return x, None if filter_shape is None else torch.randn(filter_shape, generator=generator)


@pytest.mark.parametrize("case", golden.cases("ops", "setup_filter_"))
def test_setup_filter_matches_golden(case):
    options = golden.config("ops", case)
    golden.check("ops", f"{case}_out", ops.setup_filter(options.pop("f"), **options))


@pytest.mark.parametrize("case", [case for name in FUNCTIONS for case in golden.cases("ops", name)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_matches_golden(case, layout, path):
    options = golden.config("ops", case)
    f = None if options.pop("f") == "none" else golden.tensor("ops", f"{case}_f")
    x = golden.tensor("ops", f"{case}_x").contiguous(memory_format=LAYOUTS[layout]).requires_grad_()
    y = getattr(ops, case.rsplit("_", 1)[0])(x, f, **options)
    golden.check("ops", f"{case}_y", y)
    golden.check("ops", f"{case}_dx", torch.autograd.grad(y, x, golden.tensor("ops", f"{case}_dy"))[0])


@pytest.mark.parametrize("case", golden.cases("ops", "blur_", "_f"))
def test_blur_matches_golden(case, path):
    x = golden.tensor("ops", f"{case}_x").requires_grad_()
    y = ops.filter2d(x, golden.tensor("ops", f"{case}_f"))
    golden.check("ops", f"{case}_y", y)
    golden.check("ops", f"{case}_dx", torch.autograd.grad(y, x, golden.tensor("ops", f"{case}_dy"))[0])


@pytest.mark.parametrize("filter_shape, up, down, padding, flip", SWEEP)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_kernel_equals_native(filter_shape, up, down, padding, flip, layout, dtype, monkeypatch):
    """In float64 to rounding; in 16 bits to one rounding of the float32 result (arithmetic is in float32)."""
    x, f = random_case(filter_shape, dtype, LAYOUTS[layout])
    options = {"up": up, "down": down, "padding": padding, "flip_filter": flip, "gain": 1.7}
    wide = x.double().requires_grad_()
    expected = ops.upfirdn2d(wide, f, **options)
    dy = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    (expected_dx,) = torch.autograd.grad(expected, wide, dy.double())
    host_kernels.use(monkeypatch, host_kernels.host_library())
    x.requires_grad_()
    found = ops.upfirdn2d(x, f, **options)
    (dx,) = torch.autograd.grad(found, x, dy)
    passes = 2 if f is not None and f.ndim == 1 else 1  # a separable filter rounds after each
    assert found.dtype == dx.dtype == dtype
    assert found.is_contiguous(memory_format=LAYOUTS[layout])
    for ours, reference in ((found, expected), (dx, expected_dx)):
        error = (ours.double() - reference).abs().max() / reference.abs().max()
        assert error <= 4 * passes * torch.finfo(dtype).eps


def test_kernel_takes_any_strides(monkeypatch):
    x = normal(0, 4, 10, 6, 18)[::2, 1:9:2, :, 3:].transpose(2, 3)
    expected = ops.upfirdn2d(x, F4, up=2, padding=[2, 1])
    host_kernels.use(monkeypatch, host_kernels.host_library())
    torch.testing.assert_close(ops.upfirdn2d(x, F4, up=2, padding=[2, 1]), expected)


def test_kernel_splits_large_tensors(monkeypatch):
    x = normal(0, 5, 3, 8, 8)  # two of whose results are 1536 elements
    expected = ops.upsample2d(x, F4)
    host_kernels.use(monkeypatch, host_kernels.host_library(small=True))
    torch.testing.assert_close(ops.upsample2d(x, F4), expected)
    with pytest.raises(RuntimeError, match="status -1"):
        ops.upsample2d(normal(0, 1, 3, 64, 64), F4)  # one image alone is beyond the limit


@pytest.mark.parametrize("filter_shape, up, down, padding, flip", SWEEP)
@seeded(0)
def test_second_derivatives(filter_shape, up, down, padding, flip, path):
    x, f = random_case(filter_shape)
    x = x[:1, :1].clone().requires_grad_()

    def squared(x):  # the op is linear: its square has a second derivative
        return ops.upfirdn2d(x, f, up=up, down=down, padding=padding, flip_filter=flip).square().sum()

    torch.autograd.gradcheck(squared, x, fast_mode=True)
    torch.autograd.gradgradcheck(squared, x, fast_mode=True)


def test_channels_last_is_kept(path):
    x = normal(0, 2, 4, 6, 6).contiguous(memory_format=torch.channels_last)
    assert ops.upsample2d(x, F4).is_contiguous(memory_format=torch.channels_last)
    assert ops.downsample2d(x, F4).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: ops.upfirdn2d(x, torch.ones(9, 9)), "fewer than 9 filter taps"),
        (lambda x: ops.upfirdn2d(x, None, padding=-4), "fewer than 1"),
        (lambda x: ops.upsample2d(x, F4, up=0), "at least 1"),
        (lambda x: ops.filter2d(x, F4, padding=[1, 2, 3]), "padding"),
        (lambda x: ops.setup_filter(torch.ones(1, 1, 1)), "1 or 2 dimensions"),
        (lambda x: ops.setup_filter(torch.ones(2, 2), separable=True), "separable"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(1, 1, 8, 8))
