"""Bilinear lookup of features in axis-aligned planes (tri-planes), with gradients of any order.

Shapes: planes [N, P, C, H, W], coordinates uv [N, P, M, 2] with u along the width and v along the height. Coordinate -1
is the outer edge of the first pixel, 1 that of the last one (align_corners=False); outside the plane features are zero.

A lookup is a sparse matrix product: every point sums a few rows of the table of all pixels, [N H W P, C], with bilinear
weights. `embedding_bag` does that in one pass, without the [.., 4, C] intermediate; the gradient for the planes is the
same operation on the transposed matrix, which takes a sort of the row numbers. No atomic additions, so results are
reproducible on every device.
"""

import torch
import torch.nn.functional as F


def sample_planes(planes: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
    """Features of each plane at each point: [N, P, C, H, W], [N, P, M, 2] -> [N, P, M, C].

    No copy is made of planes that are channels-last in memory. Differentiable to any order in both arguments.
    """
    n, p, m, _ = uv.shape
    rows, weights = _corners(planes.shape, uv)
    out = _SumRows.apply(_table(planes), rows.view(n * m * p, 4), weights.view(n * m * p, 4))
    return out.view(n, m, p, planes.shape[2]).transpose(1, 2)


def sample_planes_mean(planes: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
    """The same, averaged over the planes in one pass: [N, P, C, H, W], [N, P, M, 2] -> [N, M, C]."""
    n, p, m, _ = uv.shape
    rows, weights = _corners(planes.shape, uv, scale=1 / p)
    out = _SumRows.apply(_table(planes), rows.view(n * m, p * 4), weights.view(n * m, p * 4))
    return out.view(n, m, planes.shape[2])


def _table(planes):
    """All pixels' features as rows, [N H W P, C]."""
    n, p, c, h, w = planes.shape
    return planes.permute(0, 3, 4, 1, 2).reshape(n * h * w * p, c)


def _corners(shape, uv, scale=1.0):
    """Rows of the four pixels around each point in `_table`, int32, and their weights, both [N, M, P, 4]."""
    n, p, _, h, w = shape
    if n * p * h * w >= 2**31:
        raise ValueError(f"{n} x {p} planes of {h} x {w} pixels are too many to number with 32 bits")
    u, v = uv.transpose(1, 2).unbind(-1)
    columns, weights_x = _neighbours(u, w)
    lines, weights_y = _neighbours(v, h)
    weights_y = [weight * scale for weight in weights_y]
    plane = torch.arange(p, dtype=torch.int32, device=uv.device)
    first_line = torch.arange(0, n * h, h, dtype=torch.int32, device=uv.device).view(n, 1, 1)
    columns = [column * p + plane for column in columns]
    lines = [(line + first_line) * (w * p) for line in lines]
    rows = torch.stack([line + column for line in lines for column in columns], dim=-1)
    return rows, torch.stack([wy * wx for wy in weights_y for wx in weights_x], dim=-1)


def _neighbours(position, size):
    """The two pixels beside each position along one axis, clamped to the plane, and their weights, zero outside it."""
    x = torch.add(torch.full_like(position, size / 2 - 0.5), position, alpha=size / 2).clamp(-1, size)
    low = x.detach().floor().clamp_(max=size - 1)
    fraction = x - low
    inside_low, inside_high = (low + 1).clamp_(max=1), (size - 1 - low).clamp_(max=1)
    index = low.int()
    return (index.clamp(0, size - 1), (index + 1).clamp(0, size - 1)), (
        (1 - fraction) * inside_low,
        fraction * inside_high,
    )


class _SumRows(torch.autograd.Function):
    """table [R, C], rows [B, L], weights [B, L] -> sum over l of weights[b, l] table[rows[b, l]], [B, C]."""

    @staticmethod
    def forward(ctx, table, rows, weights):
        ctx.save_for_backward(table, rows, weights)
        return F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights.to(table.dtype))

    @staticmethod
    def backward(ctx, dout):
        table, rows, weights = ctx.saved_tensors
        dtable = _SpreadRows.apply(dout, rows, weights, len(table)) if ctx.needs_input_grad[0] else None
        dweights = _row_products(table, rows, dout).to(weights.dtype) if ctx.needs_input_grad[2] else None
        return dtable, None, dweights


class _SpreadRows(torch.autograd.Function):
    """The transpose: dout [B, C] -> sum over all (b, l) with rows[b, l] = r of weights[b, l] dout[b], [R, C]."""

    @staticmethod
    def forward(ctx, dout, rows, weights, size):
        ctx.save_for_backward(dout, rows, weights)
        count, per_bag = rows.shape
        row, order = rows.view(-1).sort()
        ends = torch.bincount(row, minlength=size).cumsum(0, dtype=torch.int32)
        starts = F.pad(ends[:-1], (1, 0))
        bag = torch.arange(count, dtype=torch.int32, device=rows.device).repeat_interleave(per_bag)
        return F.embedding_bag(
            bag.index_select(0, order),
            dout.contiguous(),
            starts,
            mode="sum",
            per_sample_weights=weights.to(dout.dtype).view(-1).index_select(0, order),
        )

    @staticmethod
    def backward(ctx, dtable):
        dout, rows, weights = ctx.saved_tensors
        ddout = _SumRows.apply(dtable, rows, weights) if ctx.needs_input_grad[0] else None
        dweights = _row_products(dtable, rows, dout).to(weights.dtype) if ctx.needs_input_grad[2] else None
        return ddout, None, dweights, None


def _row_products(table, rows, dout):
    """table[rows[b, l]] . dout[b], [B, L]. Differentiable where a derivative of it is asked for."""
    if torch.is_grad_enabled():
        return torch.einsum("blc,bc->bl", F.embedding(rows, table), dout)
    count, per_bag = rows.shape
    bag = torch.arange(count, dtype=torch.int32, device=rows.device)
    products = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        dout.contiguous(), table, rows.view(-1), bag * per_bag, bag.repeat_interleave(per_bag), 0
    )
    return products.view(count, per_bag)
