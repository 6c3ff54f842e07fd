"""3 x 3 convolution on a CPU with a quarter of the multiplications: Winograd's F(4 x 4, 3 x 3).

Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), section 4: each tile of 4 x 4 results is
A^T ((G w G^T) * (B^T d B)) A, where d are the 6 x 6 pixels that it depends on. The products of all tiles and channels
are 36 matrix products. Rounding errors are about four times those of a direct convolution: in float32 1.5e-6 of the
result's size (root mean square).
"""

from collections.abc import Sequence

import torch

from torch_utils.ops.bands import bands

TILE = 4  # results along a tile's side
REACH = 6  # pixels that they depend on
enabled = True  # benchmarks switch it off
_POSITIONS = REACH**2
_BAND_BYTES = 16 << 20  # transformed pixels worked on at a time: they stay in the last-level cache
# Below so many channels the transforms cost more than the products save.
_LEAST_CHANNELS = 192 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 32
_LEAST_TILES = 64
# Both sides' transforms of a 3 x 3 kernel at once, [6 x 6, 3 x 3]: the Kronecker square of G.
_G_TIMES_24 = (
    (6, 0, 0),
    (-4, -4, -4),
    (-4, 4, -4),
    (1, 2, 4),
    (1, -2, 4),
    (0, 0, 24),
)
_G = torch.tensor(_G_TIMES_24, dtype=torch.float64) / 24
_KERNEL_TRANSFORM = torch.kron(_G, _G)


def worthwhile(x: torch.Tensor, w: torch.Tensor) -> bool:
    """Return whether `conv3x3` can convolve x with w, and is the faster way. It has no gradients."""
    n, channels, height, width = x.shape
    wants_gradient = torch.is_grad_enabled() and (x.requires_grad or w.requires_grad)
    return (
        enabled
        and not wants_gradient
        and x.device.type == "cpu"
        and x.dtype == w.dtype
        and x.dtype in (torch.float32, torch.float64)
        and w.shape[2:] == (3, 3)
        and height % TILE == 0
        and width % TILE == 0
        and min(channels, len(w)) >= _LEAST_CHANNELS
        and n * height * width >= _LEAST_TILES * TILE**2
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def conv3x3(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """Return `conv2d(x, w, padding=1)`, channels last.

    Args:
        x: [N, Cin, H, W], H and W multiples of 4.
        w: [Cout, Cin, 3, 3].
    """
    n, c_in, height, width = x.shape
    c_out = len(w)
    rows = height // TILE
    columns = width // TILE
    transform = _KERNEL_TRANSFORM.to(w.dtype)
    kernel = transform @ w.reshape(-1, 9).t()
    kernel = kernel.view(_POSITIONS, c_out, c_in).transpose(1, 2)
    pixels = x.permute(0, 2, 3, 1)
    y = x.new_empty(n, rows, TILE, columns, TILE, c_out)
    row_bytes = columns * _POSITIONS * (c_in + c_out) * x.element_size()
    for images, band in bands(n, rows, row_bytes, _BAND_BYTES):
        tiles = _transform_pixels(pixels[images], band)
        places = tiles.shape[:-1]
        products = tiles.view(_POSITIONS, -1, c_in) @ kernel
        products = products.view(*places, c_out)
        _transform_products(products, y[images, band])
    y = y.view(n, height, width, c_out)
    return y.permute(0, 3, 1, 2)


def _transform_pixels(x: torch.Tensor, rows: slice) -> torch.Tensor:
    """Return B^T d B of the tiles in `rows` of x [N, H, W, C]: [6 (y), 6 (x), N, rows, W / 4, C]."""
    n, height, width, channels = x.shape
    count = rows.stop - rows.start
    # With one line and one column of pixels around the tiles; zeros outside of the image.
    first = TILE * rows.start - 1
    stop = TILE * rows.stop + 1
    padded = x.new_zeros(n, stop - first, width + 2, channels)
    inside = x[:, max(first, 0) : stop]
    skipped = max(-first, 0)
    padded[:, skipped : skipped + inside.shape[1], 1:-1] = inside

    vertical = x.new_empty(REACH, n, count, width + 2, channels)
    lines = padded.unfold(1, REACH, TILE)
    _spread(lines.unbind(-1), vertical.unbind(0))
    tiles = x.new_empty(REACH, REACH, n, count, width // TILE, channels)
    columns = vertical.unfold(3, REACH, TILE)
    _spread(columns.unbind(-1), tiles.unbind(1))
    return tiles


def _transform_products(products: torch.Tensor, out: torch.Tensor) -> None:
    """Write A^T m A of m [6 (y), 6 (x), N, rows, columns, C] to `out` [N, rows, 4, columns, 4, C]."""
    horizontal = products.new_empty(REACH, TILE, *products.shape[2:])
    _gather(products.unbind(1), horizontal.unbind(1))
    results = out.permute(2, 4, 0, 1, 3, 5)  # [4 (y), 4 (x), N, rows, columns, C]
    _gather(horizontal.unbind(0), results.unbind(0))


def _spread(pixels: Sequence[torch.Tensor], tiles: Sequence[torch.Tensor]) -> None:
    """Apply B^T: six slices of pixels to six of tiles."""
    x0, x1, x2, x3, x4, x5 = pixels
    t0, t1, t2, t3, t4, t5 = tiles
    torch.add(x4, x2, alpha=-5, out=t0).add_(x0, alpha=4)
    torch.add(x5, x3, alpha=-5, out=t5).add_(x1, alpha=4)

    even = torch.add(x4, x2, alpha=-4)
    odd = torch.add(x3, x1, alpha=-4)
    torch.add(even, odd, out=t1)
    torch.sub(even, odd, out=t2)

    torch.sub(x4, x2, out=even)
    torch.sub(x3, x1, out=odd)
    torch.add(even, odd, alpha=2, out=t3)
    torch.add(even, odd, alpha=-2, out=t4)


def _gather(products: Sequence[torch.Tensor], results: Sequence[torch.Tensor]) -> None:
    """Apply A^T: six slices of products to four of results."""
    m0, m1, m2, m3, m4, m5 = products
    y0, y1, y2, y3 = results
    even = m1 + m2
    odd = m1 - m2
    wide_even = m3 + m4
    wide_odd = m3 - m4
    torch.add(even, wide_even, out=y0).add_(m0)
    torch.add(odd, wide_odd, alpha=2, out=y1)
    torch.add(even, wide_even, alpha=4, out=y2)
    torch.add(odd, wide_odd, alpha=8, out=y3).add_(m5)
