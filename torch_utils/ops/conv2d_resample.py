"""2D convolution with optional up- or downsampling through a low-pass filter.

The order of filter and convolution is chosen so that the convolution always runs at the lower resolution (StyleGAN2,
Karras et al. 2020, appendix B: transposed convolution then filter; filter then strided convolution).
"""

import torch
import torch.nn.functional as F

from torch_utils.ops.conv2d import conv2d, conv_transpose2d
from torch_utils.ops.upfirdn2d import Padding, filter_size, parse_padding, upfirdn2d


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
    kh, kw = w.shape[2:]
    fw, fh = filter_size(f)
    left, right, top, bottom = parse_padding(padding)
    if up > 1:
        left, right = left + (fw + up - 1) // 2, right + (fw - up) // 2
        top, bottom = top + (fh + up - 1) // 2, bottom + (fh - up) // 2
    if down > 1:
        left, right = left + (fw - down + 1) // 2, right + (fw - down) // 2
        top, bottom = top + (fh - down + 1) // 2, bottom + (fh - down) // 2
    pad = (left, right, top, bottom)

    if up == 1 and down == 1:
        return _convolve(x, w, pad, groups, flip_weight)
    if (kh, kw) == (1, 1) and up == 1:
        return _convolve(upfirdn2d(x, f, down=down, padding=pad, flip_filter=flip_filter), w, groups=groups)
    if (kh, kw) == (1, 1) and down == 1:
        return upfirdn2d(_convolve(x, w, groups=groups), f, up=up, padding=pad, gain=up**2, flip_filter=flip_filter)
    if up == 1:
        x = upfirdn2d(x, f, padding=pad, flip_filter=flip_filter)
        return _convolve(x, w, groups=groups, flip_weight=flip_weight, stride=down)
    if min(pad) >= 0:
        return _convolve_up(x, w, f, up, down, pad, groups, flip_weight, flip_filter)
    x = upfirdn2d(x, f, up=up, padding=pad, gain=up**2, flip_filter=flip_filter)  # cropped before the filter
    x = _convolve(x, w, groups=groups, flip_weight=flip_weight)
    return upfirdn2d(x, f, down=down, flip_filter=flip_filter) if down > 1 else x


def _convolve(x, w, pad=(0, 0, 0, 0), groups=1, flip_weight=True, stride=1):
    left, right, top, bottom = pad
    if left != right or top != bottom or min(pad) < 0:
        x, left, top = F.pad(x, pad), 0, 0
    return conv2d(x, w if flip_weight else w.flip([2, 3]), stride=stride, padding=(top, left), groups=groups)


def _convolve_up(x, w, f, up, down, pad, groups, flip_weight, flip_filter):
    """Transposed convolution at the input's resolution, then the filter."""
    out_channels, in_per_group, kh, kw = w.shape
    w = w.flip([2, 3]) if flip_weight else w  # a transposed convolution is a true convolution
    w = w.reshape(groups, out_channels // groups, in_per_group, kh, kw).transpose(1, 2)
    w = w.reshape(groups * in_per_group, out_channels // groups, kh, kw)
    pad = (pad[0] - (kw - 1), pad[1] - (kw - up), pad[2] - (kh - 1), pad[3] - (kh - up))
    crop_x, crop_y = max(min(-pad[0], -pad[1]), 0), max(min(-pad[2], -pad[3]), 0)
    x = conv_transpose2d(x, w, stride=up, padding=(crop_y, crop_x), groups=groups)
    pad = (pad[0] + crop_x, pad[1] + crop_x, pad[2] + crop_y, pad[3] + crop_y)
    if down == 1:
        return upfirdn2d(x, f, padding=pad, gain=up**2, flip_filter=flip_filter)
    x = upfirdn2d(x, f, padding=pad, gain=up**2, flip_filter=flip_filter)
    return upfirdn2d(x, f, down=down, flip_filter=flip_filter)
