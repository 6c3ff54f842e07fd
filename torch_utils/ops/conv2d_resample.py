"""2D convolution with optional up- or downsampling through a low-pass filter.

The order of filter and convolution is chosen so that the convolution always runs at the lower resolution (StyleGAN2,
Karras et al. 2020, appendix B: transposed convolution then filter; filter then strided convolution).
"""

from functools import partial

import torch
import torch.nn.functional as F

from torch_utils.ops.conv2d import conv2d, conv_transpose2d
from torch_utils.ops.padding import (
    Padding,
    padding_to_resample,
    parse_padding,
    transposed_padding,
)
from torch_utils.ops.upfirdn2d import upfirdn2d


def conv2d_resample(
    x: torch.Tensor,
    w: torch.Tensor,
    f: torch.Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Padding = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
) -> torch.Tensor:
    """Upsample by `up`, convolve with `w`, downsample by `down`; low-pass filtered with `f` where it resamples.

    Args:
        x: [N, Cin, H, W].
        w: [Cout, Cin / groups, kh, kw].
        f: filter of `setup_filter`; None is the identity.
        padding: of the upsampled image, beyond what the filter needs; int, [x, y] or [left, right, top, bottom].
        flip_weight: True is a correlation, as in torch; False a true convolution.

    Returns:
        [N, Cout, H up / down, W up / down] for padding (kernel - 1) / 2.
    """
    pad = parse_padding(padding)
    if up > 1:
        pad = padding_to_resample(f, pad, up=up)
    if down > 1:
        pad = padding_to_resample(f, pad, down=down)
    one_by_one = w.shape[2:] == (1, 1)
    resample = partial(upfirdn2d, f=f, flip_filter=flip_filter)
    convolve = partial(_convolve, w=w, groups=groups, flip_weight=flip_weight)

    if up == 1 and down == 1:
        return convolve(x, pad=pad)
    if one_by_one and up == 1:
        return convolve(resample(x, down=down, padding=pad))
    if one_by_one and down == 1:
        return resample(convolve(x), up=up, padding=pad, gain=up**2)
    if up == 1:
        return convolve(resample(x, padding=pad), stride=down)
    if min(pad) < 0:  # cropped before the filter
        x = convolve(resample(x, up=up, padding=pad, gain=up**2))
    else:
        x, pad = _convolve_up(x, w, up, pad, groups=groups, flip_weight=flip_weight)
        x = resample(x, padding=pad, gain=up**2)
    return resample(x, down=down) if down > 1 else x


def _convolve(x, w, groups, flip_weight, pad=(0, 0, 0, 0), stride=1):
    """Return the convolution of x, padded by any `pad` [left, right, top, bottom]."""
    left, right, top, bottom = pad
    if left != right or top != bottom or min(pad) < 0:
        x = F.pad(x, pad)
        left = top = 0
    if not flip_weight:
        w = w.flip([2, 3])
    return conv2d(x, w, stride=stride, padding=(top, left), groups=groups)


def _convolve_up(x, w, up, pad, groups, flip_weight):
    """Return the transposed convolution of x, at the resolution of x, and the padding that is then left to do."""
    if flip_weight:  # a transposed convolution is a true convolution
        w = w.flip([2, 3])
    out_channels, in_per_group, kh, kw = w.shape
    out_per_group = out_channels // groups
    w = w.reshape(groups, out_per_group, in_per_group, kh, kw).transpose(1, 2)
    w = w.reshape(groups * in_per_group, out_per_group, kh, kw)
    crop, rest = transposed_padding((kw, kh), (up, up), pad)
    return conv_transpose2d(x, w, stride=up, padding=crop, groups=groups), rest
