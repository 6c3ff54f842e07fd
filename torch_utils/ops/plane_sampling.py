"""Bilinear lookup of features in axis-aligned planes (tri-planes), with gradients of any order.

Shapes: planes [N, P, C, H, W], coordinates uv [N, P, M, 2] with u along the width and v along the height. Coordinate -1
is the outer edge of the first pixel, 1 that of the last one (align_corners=False); outside the plane features are zero.

A lookup is a sparse matrix product: every point sums a few rows of the table of all pixels, [N H W P, C], with bilinear
weights. `embedding_bag` does that in one pass, without the [.., 4, C] intermediate. The gradient for the planes is the
product with the transposed matrix: on a CPU SciPy's, which adds to the table row by row (on one thread a fifth of the
time of grid_sample's); elsewhere the same lookup after a sort of the row numbers. No atomic additions, so results are
reproducible on every device.
"""

import scipy.sparse
import torch
import torch.nn.functional as F


def sample_planes(planes: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
    """Return the features of each plane at each point: [N, P, C, H, W], [N, P, M, 2] -> [N, P, M, C].

    No copy is made of planes that are channels-last in memory. Differentiable to any order in both arguments.
    """
    n, p, m, _ = uv.shape
    rows, weights = _corners(planes.shape, uv)
    rows = rows.flatten(0, 2)
    weights = weights.flatten(0, 2).to(planes.dtype)
    out = _SumRows.apply(_table(planes), rows, weights)
    return out.unflatten(0, (n, m, p)).transpose(1, 2)


def sample_planes_mean(planes: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
    """Return the same, averaged over the planes in one pass: [N, P, C, H, W], [N, P, M, 2] -> [N, M, C]."""
    n, p, m, _ = uv.shape
    rows, weights = _corners(planes.shape, uv, scale=1 / p)
    rows = rows.view(n * m, p * 4)
    weights = weights.view(n * m, p * 4).to(planes.dtype)
    out = _SumRows.apply(_table(planes), rows, weights)
    return out.unflatten(0, (n, m))


# --- Which rows, and their weights -----------------------------------------------------------------------------------


def _table(planes: torch.Tensor) -> torch.Tensor:
    """Return all pixels' features as rows, [N H W P, C]."""
    return planes.permute(0, 3, 4, 1, 2).flatten(0, 3)


def _corners(shape: torch.Size, uv: torch.Tensor, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows in `_table` of the four pixels around each point, int32, and their weights: both [N, M, P, 4].

    Raises:
        ValueError: more pixels than int32 can number.
    """
    n, p, _, h, w = shape
    if n * p * h * w >= 2**31:
        raise ValueError(f"{n} x {p} planes of {h} x {w} pixels are too many to number with 32 bits")
    u, v = uv.transpose(1, 2).unbind(-1)
    columns, weights_x = _neighbours(u, w)
    lines, weights_y = _neighbours(v, h)
    plane = _numbers(p, uv.device)
    first_line = _numbers(n, uv.device).view(n, 1, 1) * h
    rows_x = [column * p + plane for column in columns]
    rows_y = [(line + first_line) * (w * p) for line in lines]
    weights_y = [weight * scale for weight in weights_y]

    rows = []
    weights = []
    for row_y, weight_y in zip(rows_y, weights_y, strict=True):
        for row_x, weight_x in zip(rows_x, weights_x, strict=True):
            rows.append(row_y + row_x)
            weights.append(weight_y * weight_x)
    return torch.stack(rows, dim=-1), torch.stack(weights, dim=-1)


def _neighbours(position: torch.Tensor, size: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return the two pixels beside each position along one axis, clamped to the plane, and their weights.

    The weights of pixels outside the plane are zero.
    """
    last = size - 1
    middle = torch.full_like(position, last / 2)
    x = torch.add(middle, position, alpha=size / 2).clamp(-1, size)
    low = x.detach().floor().clamp_(max=last)
    fraction = x - low
    low_is_inside = (low + 1).clamp_(max=1)
    high_is_inside = (last - low).clamp_(max=1)
    weights = [(1 - fraction) * low_is_inside, fraction * high_is_inside]
    index = low.int()
    pixels = [index.clamp(0, last), (index + 1).clamp(0, last)]
    return pixels, weights


# --- Sums of rows ----------------------------------------------------------------------------------------------------


class _SumRows(torch.autograd.Function):
    """table [R, C], rows [B, L], weights [B, L] -> sum over l of weights[b, l] table[rows[b, l]], [B, C]."""

    @staticmethod
    def forward(ctx, table, rows, weights):
        ctx.save_for_backward(table, rows, weights)
        return F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights.to(table.dtype))

    @staticmethod
    def backward(ctx, dout):
        table, rows, weights = ctx.saved_tensors
        dtable = dweights = None
        if ctx.needs_input_grad[0]:
            dtable = _SpreadRows.apply(dout, rows, weights, len(table))
        if ctx.needs_input_grad[2]:
            dweights = _row_products(table, rows, dout).to(weights.dtype)
        return dtable, None, dweights


class _SpreadRows(torch.autograd.Function):
    """The transpose: dout [B, C] -> sum over all (b, l) with rows[b, l] = r of weights[b, l] dout[b], [R, C]."""

    @staticmethod
    def forward(ctx, dout, rows, weights, size):
        ctx.save_for_backward(dout, rows, weights)
        if dout.device.type == "cpu":
            return _spread_by_column(dout, rows, weights, size)
        return _spread_sorted(dout, rows, weights, size)

    @staticmethod
    def backward(ctx, dtable):
        dout, rows, weights = ctx.saved_tensors
        ddout = dweights = None
        if ctx.needs_input_grad[0]:
            ddout = _SumRows.apply(dtable, rows, weights)
        if ctx.needs_input_grad[2]:
            dweights = _row_products(dtable, rows, dout).to(weights.dtype)
        return ddout, None, dweights, None


def _spread_by_column(dout, rows, weights, size):
    """Return the sum on a CPU: column b of a sparse matrix says which rows dout[b] is added to."""
    count, per_bag = rows.shape
    dtype = torch.promote_types(dout.dtype, torch.float32)  # half precision is no type of SciPy's, and adds up badly
    starts = _numbers(count + 1, rows.device) * per_bag
    columns = (weights.to(dtype).reshape(-1).numpy(), rows.reshape(-1).numpy(), starts.numpy())
    matrix = scipy.sparse.csc_array(columns, shape=(size, count))
    summed = matrix @ dout.to(dtype).contiguous().numpy()
    return torch.from_numpy(summed).to(dout.dtype)


def _spread_sorted(dout, rows, weights, size):
    """Return the sum anywhere: a lookup of the dout that each row takes, found by a sort."""
    row, order = rows.view(-1).sort()
    # Where each row's entries begin. Counting them (bincount) would have the host wait for a GPU.
    starts = torch.searchsorted(row, _numbers(size, rows.device), out_int32=True)
    bags = torch.empty_like(row)
    torch.floor_divide(order, rows.shape[1], out=bags)
    weights = weights.to(dout.dtype).view(-1).index_select(0, order)
    return F.embedding_bag(bags, dout.contiguous(), starts, mode="sum", per_sample_weights=weights)


def _bags(rows):
    """Return the number b of each entry of rows [B, L], flat: [B L], int32."""
    count, per_bag = rows.shape
    bag = _numbers(count, rows.device)
    return bag.repeat_interleave(per_bag)


def _numbers(count: int, device: torch.device) -> torch.Tensor:
    """Return 0, 1, ... count - 1 as int32."""
    return torch.arange(count, dtype=torch.int32, device=device)


def _row_products(table, rows, dout):
    """Return table[rows[b, l]] . dout[b], [B, L]. Differentiable where a derivative of it is asked for."""
    if torch.is_grad_enabled():
        return torch.einsum("blc,bc->bl", F.embedding(rows, table), dout)
    count, per_bag = rows.shape
    starts = _numbers(count, rows.device) * per_bag
    products = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        dout.contiguous(), table, rows.view(-1), starts, _bags(rows), 0
    )
    return products.view(rows.shape)
