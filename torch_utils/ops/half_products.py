"""Products of matrices in half precision whose sums are made, and returned, in float32."""

import torch

HALF = (torch.float16, torch.bfloat16)
# A GPU's matrix product can return more than it reads; with torch before 2.8 the matrices are copied to float32 first.
_RETURNS_FLOAT32 = hasattr(torch.ops.aten.mm, "dtype") and hasattr(torch.ops.aten.bmm, "dtype")


def half_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return a b in float32, of a [..., L, M], b [..., M, N] in the same half precision. Without gradients."""
    if a.device.type == "cpu" or not _RETURNS_FLOAT32:
        return a.float() @ b.float()
    if a.ndim == 2:
        return torch.mm(a, b, out_dtype=torch.float32)
    product = torch.bmm(a.flatten(0, -3), b.flatten(0, -3), out_dtype=torch.float32)
    return product.unflatten(0, a.shape[:-2])


def mixed_product(vectors: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Return the products [..., N] of float32 vectors [..., M] with matrices [..., M, N] in half precision, in float32.

    As exact as if the matrices were stored in float32, which they are not: elsewhere than on a CPU each vector becomes
    the sum of two in half precision, the rounded one and what rounding took away. Without gradients.
    """
    if matrices.device.type == "cpu":
        return (vectors.unsqueeze(-2) @ matrices.float()).squeeze(-2)
    return half_product(_halves(vectors, matrices.dtype), matrices).sum(dim=-2)


def _halves(vectors: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return vectors [..., M] as pairs [..., 2, M] in half precision that add up to them."""
    rounded = vectors.to(dtype)
    rest = (vectors - rounded).to(dtype)
    return torch.stack([rounded, rest], dim=-2)
