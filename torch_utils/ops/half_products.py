"""Products of matrices in half precision whose sums are made, and returned, in float32."""

from functools import cache

import torch

HALF = (torch.float16, torch.bfloat16)
TOLERANCE = 1e-5  # how far a product may be from the exact one, as the norm of the difference over the norm


def half_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return a b in float32, of a [..., L, M], b [..., M, N] in the same half precision. Without gradients."""
    if not _returns_float32(a.device, a.dtype):
        return a.float() @ b.float()
    if a.ndim == 2:
        return torch.mm(a, b, out_dtype=torch.float32)
    product = torch.bmm(a.flatten(0, -3), b.flatten(0, -3), out_dtype=torch.float32)
    return product.unflatten(0, a.shape[:-2])


@cache
def _returns_float32(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether a device's matrix products can return more than they read, and do so rightly.

    A GPU's can, with torch from 2.8 on. Elsewhere the matrices are copied to float32 first.
    """
    can = hasattr(torch.ops.aten.mm, "dtype") and hasattr(torch.ops.aten.bmm, "dtype")
    if not can or device.type in ("cpu", "meta"):  # the latter computes nothing
        return can and device.type == "meta"
    a = torch.linspace(-1, 1, 16 * 64, device=device).reshape(2, 8, 64).to(dtype)
    exact = a.double() @ a.double().mT
    try:
        both = torch.bmm(a, a.mT, out_dtype=torch.float32)
        one = torch.mm(a[0], a[0].mT, out_dtype=torch.float32)
    except RuntimeError:
        return False
    worst = max((both - exact).norm(), (one - exact[0]).norm())
    return bool(worst <= TOLERANCE * exact.norm())


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
