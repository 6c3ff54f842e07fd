"""3 x 3 convolution on a CPU with a quarter of the multiplications: Winograd's F(4 x 4, 3 x 3).

Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), section 4: each tile of 4 x 4 results is
A^T ((G w G^T) * (B^T d B)) A, where d are the 6 x 6 pixels that it depends on. The products of all tiles and channels
are 36 matrix products. Rounding errors are about four times those of a direct convolution: in float32 1.5e-6 of the
result's size (root mean square).
"""

import torch

TILE, REACH = 4, 6  # pixels of a tile's side: results, and what they depend on
enabled = True
_POSITIONS = REACH**2
_BAND_BYTES = 16 << 20  # transformed pixels worked on at a time: they stay in the last-level cache
_LEAST_CHANNELS, _LEAST_TILES = 32, 64  # below, the transforms cost more than the products save
# Both sides' transforms of a 3 x 3 kernel at once, [6 x 6, 3 x 3]: the Kronecker square of G.
_G = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    dtype=torch.float64,
)
_KERNEL_TRANSFORM = torch.kron(_G, _G)


def worthwhile(x: torch.Tensor, w: torch.Tensor) -> bool:
    """Whether `conv3x3` can convolve x with w, and is the faster way. It has no gradients."""
    n, channels, height, width = x.shape
    wants_gradient = torch.is_grad_enabled() and (x.requires_grad or w.requires_grad)
    return (
        enabled
        and not wants_gradient
        and x.device.type == "cpu"
        and x.dtype == w.dtype
        and x.dtype in (torch.float32, torch.float64)
        and tuple(w.shape[2:]) == (3, 3)
        and height % TILE == width % TILE == 0
        and min(channels, len(w)) >= _LEAST_CHANNELS
        and n * height * width >= _LEAST_TILES * TILE**2
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def conv3x3(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """`conv2d(x, w, padding=1)` of x [N, Cin, H, W], H and W multiples of 4, and w [Cout, Cin, 3, 3]: channels last."""
    (n, c_in, height, width), c_out = x.shape, len(w)
    kernel = _KERNEL_TRANSFORM.to(w.dtype) @ w.reshape(-1, 9).t()
    kernel = kernel.view(_POSITIONS, c_out, c_in).transpose(1, 2)
    pixels = x.permute(0, 2, 3, 1)
    y = x.new_empty(n, height // TILE, TILE, width // TILE, TILE, c_out)
    for images, rows in _bands(n, height // TILE, width // TILE * _POSITIONS * (c_in + c_out) * x.element_size()):
        tiles = _transform_pixels(pixels[images], rows)
        products = torch.bmm(tiles.flatten(0, 1).flatten(1, -2), kernel)
        _transform_products(products.view(*tiles.shape[:-1], c_out), y[images, rows])
    return y.view(n, height, width, c_out).permute(0, 3, 1, 2)


def _bands(n: int, rows: int, row_bytes: int):
    """Slices of images and of rows of tiles, about _BAND_BYTES together: several whole images, or a part of one."""
    height = min(max(_BAND_BYTES // row_bytes, 1), rows)
    count = max(_BAND_BYTES // (row_bytes * rows), 1)
    for image in range(0, n, count):
        for row in range(0, rows, height):
            yield slice(image, min(image + count, n)), slice(row, min(row + height, rows))


def _transform_pixels(x: torch.Tensor, rows: slice) -> torch.Tensor:
    """B^T d B of the tiles in `rows` of x [N, H, W, C]: [6 (y), 6 (x), N, rows, W / 4, C]."""
    n, height, width, channels = x.shape
    count, first, stop = rows.stop - rows.start, TILE * rows.start - 1, TILE * rows.stop + 1
    padded = x.new_zeros(n, stop - first, width + 2, channels)
    inside = slice(max(first, 0), min(stop, height))
    padded[:, inside.start - first : inside.stop - first, 1:-1] = x[:, inside]
    vertical = x.new_empty(REACH, n, count, width + 2, channels)
    _spread([padded[:, i : i + TILE * count - 3 : TILE] for i in range(REACH)], vertical.unbind(0))
    tiles = x.new_empty(REACH, REACH, n, count, width // TILE, channels)
    _spread([vertical[:, :, :, j : j + width - 3 : TILE] for j in range(REACH)], tiles.unbind(1))
    return tiles


def _transform_products(products: torch.Tensor, out: torch.Tensor) -> None:
    """A^T m A of m [6 (y), 6 (x), N, rows, columns, C], written to `out` [N, rows, 4, columns, 4, C]."""
    horizontal = products.new_empty(REACH, TILE, *products.shape[2:])
    _gather(products.unbind(1), horizontal.unbind(1))
    _gather(horizontal.unbind(0), out.permute(2, 4, 0, 1, 3, 5).unbind(0))


def _spread(x, out) -> None:
    """B^T: six slices of pixels to six of tiles."""
    torch.add(x[4], x[2], alpha=-5, out=out[0]).add_(x[0], alpha=4)
    torch.add(x[5], x[3], alpha=-5, out=out[5]).add_(x[1], alpha=4)
    even, odd = torch.add(x[4], x[2], alpha=-4), torch.add(x[3], x[1], alpha=-4)
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])
    torch.sub(x[4], x[2], out=even)
    torch.sub(x[3], x[1], out=odd)
    torch.add(even, odd, alpha=2, out=out[3])
    torch.add(even, odd, alpha=-2, out=out[4])


def _gather(m, out) -> None:
    """A^T: six slices of products to four of results."""
    even, odd, even2, odd2 = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
    torch.add(even, even2, out=out[0]).add_(m[0])
    torch.add(odd, odd2, alpha=2, out=out[1])
    torch.add(even, even2, alpha=4, out=out[2])
    torch.add(odd, odd2, alpha=8, out=out[3]).add_(m[5])
