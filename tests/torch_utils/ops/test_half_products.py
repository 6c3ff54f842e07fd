"""Products of half precision with sums in float32: against float64; of the way of a GPU, its parts."""

import pytest
import torch

from tests.helpers.tiny import normal
from torch_utils.ops import half_products
from torch_utils.ops.half_products import half_product, mixed_product

HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
ROUNDING = 1e-6  # of float32 sums of some dozen terms


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found.double() - expected).norm() / expected.norm()).item()


@HALVES
@pytest.mark.parametrize("batch", [(), (7,), (3, 5)])
def test_sums_are_made_and_returned_in_float32(dtype, batch):
    a, b = normal(0, *batch, 4, 48).to(dtype), normal(1, *batch, 48, 6).to(dtype)
    product = half_product(a, b)
    assert product.dtype == torch.float32
    assert error(product, a.double() @ b.double()) < ROUNDING


@HALVES
def test_vectors_in_float32_are_not_rounded(dtype):
    vectors, matrices = normal(0, 3, 5, 48), normal(1, 3, 5, 48, 6).to(dtype)
    expected = (vectors.double().unsqueeze(-2) @ matrices.double()).squeeze(-2)
    assert error(mixed_product(vectors, matrices), expected) < ROUNDING


@pytest.mark.parametrize("dtype, rounding", [(torch.bfloat16, 2.0**-16), (torch.float16, 2.0**-21)])
def test_two_halves_of_a_number_are_nearly_all_of_it(dtype, rounding):
    """On a GPU vectors are multiplied as pairs: each of 8 or 11 significant bits, that of the rest signed."""
    vectors = normal(0, 3, 50)
    pairs = half_products._halves(vectors, dtype)
    assert pairs.shape == (3, 2, 50) and pairs.dtype == dtype
    missing = (pairs.double().sum(dim=-2) - vectors).abs()
    assert (missing <= vectors.abs() * rounding + 2.0**-24).all()  # float16 has nothing smaller
    single = (pairs[:, 0].double() - vectors).abs()
    assert single.max() > 50 * missing.max()


def test_shapes_on_the_way_of_a_gpu():
    vectors = torch.empty(3, 5, 48, device="meta")
    matrices = torch.empty(3, 5, 48, 6, device="meta", dtype=torch.bfloat16)
    found = mixed_product(vectors, matrices)
    assert found.shape == (3, 5, 6) and found.dtype == torch.float32
    matrix = half_product(matrices[0, 0], matrices[0, 0].mT)
    assert matrix.shape == (48, 48) and matrix.dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@HALVES
def test_a_gpu_returns_what_a_cpu_does(dtype):
    a, b, vectors = normal(0, 5, 40, 48).to(dtype), normal(1, 5, 48, 16).to(dtype), normal(2, 5, 48)
    for found, expected in (
        (half_product(a.to("cuda"), b.to("cuda")), half_product(a, b)),
        (half_product(a[0].to("cuda"), b[0].to("cuda")), half_product(a[0], b[0])),
        (mixed_product(vectors.to("cuda"), b.to("cuda")), mixed_product(vectors, b)),
    ):
        assert error(found.cpu(), expected.double()) < ROUNDING
