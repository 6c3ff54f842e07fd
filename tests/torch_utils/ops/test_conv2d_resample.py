"""Convolution with resampling: golden vectors, every arrangement against the definition, derivatives."""

import pytest
import torch
import torch.nn.functional as F

from tests.helpers import golden
from tests.helpers.tiny import normal, seeded
from torch_utils.ops.conv2d_resample import conv2d_resample
from torch_utils.ops.upfirdn2d import setup_filter, upfirdn2d

F4 = setup_filter([1, 3, 3, 1])


@pytest.mark.parametrize("case", golden.cases("ops", "conv2d_resample_"))
def test_matches_golden(case, path):
    options = golden.config("ops", case)
    f = golden.tensor("ops", f"{case}_f") if options.pop("f", None) else None
    x = golden.tensor("ops", f"{case}_x").requires_grad_()
    w = golden.tensor("ops", f"{case}_w").requires_grad_()
    y = conv2d_resample(x, w, f, **options)
    golden.check("ops", f"{case}_y", y)
    dx, dw = torch.autograd.grad(y, [x, w], golden.tensor("ops", f"{case}_dy"))
    golden.check("ops", f"{case}_dx", dx)
    golden.check("ops", f"{case}_dw", dw)


@pytest.mark.parametrize(
    "kernel, up, down, padding",
    [
        (1, 1, 1, 0),
        (1, 2, 1, 0),
        (1, 1, 2, 1),
        (1, 2, 1, [-1, 2, 0, 1]),
        (3, 1, 1, [0, 2, -1, 1]),
        (3, 2, 1, 1),
        (3, 2, 1, [0, 3, 2, 1]),
        (3, 2, 1, -4),
        (3, 1, 2, 1),
        (3, 1, 2, [2, -1, 0, 1]),
        (2, 3, 1, 1),
        (3, 2, 2, 1),
    ],
)
@pytest.mark.parametrize("f", [None, F4, setup_filter([1, 2, 4])])
def test_equals_definition(kernel, up, down, padding, f):
    """Upsample, pad, filter; convolve; filter and downsample, one after the other, without rearrangement."""
    x = normal(0, 2, 4, 9, 8, dtype=torch.float64)
    w = normal(1, 6, 2, kernel, kernel, dtype=torch.float64)
    taps = 1 if f is None else len(f)
    pad = [padding] * 4 if isinstance(padding, int) else padding
    if up > 1:
        pad = [p + e for p, e in zip(pad, [(taps + up - 1) // 2, (taps - up) // 2] * 2, strict=True)]
    if down > 1:
        pad = [p + e for p, e in zip(pad, [(taps - down + 1) // 2, (taps - down) // 2] * 2, strict=True)]
    y = upfirdn2d(x, f if up > 1 else None, up=up, padding=pad, gain=up**2)
    y = F.conv2d(y, w.flip([2, 3]), groups=2)
    y = upfirdn2d(y, f if down > 1 else None, down=down)
    ours = conv2d_resample(x, w, f, up=up, down=down, padding=padding, groups=2, flip_weight=False)
    torch.testing.assert_close(ours, y)


@pytest.mark.parametrize("up, down, kernel", [(1, 1, 3), (2, 1, 3), (1, 2, 3), (2, 1, 1), (1, 2, 1)])
@seeded(0)
def test_second_derivatives(up, down, kernel):
    x = normal(0, 1, 2, 4, 4, dtype=torch.float64).requires_grad_()
    w = normal(1, 2, 2, kernel, kernel, dtype=torch.float64).requires_grad_()

    def function(x, w):
        return conv2d_resample(x, w, F4, up=up, down=down, padding=kernel // 2)

    torch.autograd.gradcheck(function, (x, w))
    torch.autograd.gradgradcheck(function, (x, w))


def test_channels_last_is_kept():
    x = normal(0, 2, 8, 8, 8).contiguous(memory_format=torch.channels_last)
    w = normal(1, 8, 8, 3, 3).requires_grad_()
    for options in ({}, {"up": 2}, {"down": 2}):
        y = conv2d_resample(x, w, F4, padding=1, **options)
        assert y.is_contiguous(memory_format=torch.channels_last)
