"""Bias and activation: golden vectors, kernels against plain PyTorch at all orders, derivatives, layout, arguments."""

import itertools
import math

import pytest
import torch

from tests.helpers import golden, host_kernels
from tests.helpers.tiny import normal, seeded
from torch_utils.ops import bands
from torch_utils.ops.activations import activation_funcs
from torch_utils.ops.bias_act import bias_act

ACTS = list(activation_funcs)
# shape, axis of the bias, channels-last
LAYOUTS = [
    ((3, 5, 4, 2), 1, False),
    ((3, 5, 4, 2), 1, True),
    ((7, 6), 1, False),
    ((2, 3, 5), -1, False),
    ((4, 3, 5), 0, False),
    ((2, 4, 1, 1), 1, False),
    ((3, 16, 2, 3), 1, True),
    ((2, 3, 2, 4), 1, False),
]
OPTIONS = [{}, {"gain": 0.6, "clamp": 0.5}, {"alpha": 0.35}]


def derivatives(x, b, dy, ddx, **options):
    """y, and the gradients of orders one and two: dx, db, d(dx . ddx)/dx, /db, /d(dy)."""
    inputs = [t for t in (x, b) if t is not None]
    y = bias_act(x, b, **options)
    first = torch.autograd.grad(y, inputs, dy, create_graph=True)
    second = torch.autograd.grad((first[0] * ddx).sum(), [*inputs, dy], allow_unused=True)
    return [
        y,
        *first,
        *(
            torch.zeros_like(x if b is None else t) if d is None else d
            for t, d in zip([*inputs, dy], second, strict=True)
        ),
    ]


def composed(x, b, act, dim=1, alpha=None, gain=None, clamp=None):
    """The definition, in torch's own operations."""
    spec = activation_funcs[act]
    if b is not None:
        x = x + b.reshape([-1 if i == dim % x.ndim else 1 for i in range(x.ndim)])
    y = spec.func(x, spec.alpha if alpha is None else alpha) * (spec.gain if gain is None else gain)
    return y if clamp is None else y.clamp(-clamp, clamp)


@pytest.mark.parametrize("case", golden.cases("ops", "bias_act_"))
def test_matches_golden(case, path):
    x, dy, r = (golden.tensor("ops", f"{case}_{name}") for name in ("x", "dy", "r"))
    b = golden.tensor("ops", f"{case}_b").requires_grad_() if f"{case}_b" in golden.load("ops") else None
    found = derivatives(x.requires_grad_(), b, dy.requires_grad_(), r, **golden.config("ops", case))
    names = ["y", "dx", "d2_x", "d2_dy"] if b is None else ["y", "dx", "db", "d2_x", None, "d2_dy"]
    for name, value in zip(names, found, strict=True):
        if name:
            golden.check("ops", f"{case}_{name}", value)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_kernel_equals_native(act, dtype, monkeypatch):
    """All orders against plain PyTorch in float64; 16-bit kernels round their results and what they saved."""
    generator = torch.Generator().manual_seed(0)
    tolerance = {torch.float64: 1e-12, torch.float32: 4e-6, torch.bfloat16: 0.03, torch.float16: 4e-3}[dtype]
    for (shape, dim, channels_last), options, bias in itertools.product(LAYOUTS, OPTIONS, (True, False)):
        layout = torch.channels_last if channels_last else torch.contiguous_format
        x, dy, ddx = (
            torch.randn(shape, generator=generator).to(dtype).contiguous(memory_format=layout) for _ in range(3)
        )
        b = torch.randn(shape[dim], generator=generator).to(dtype) if bias else None
        y = composed(x.double(), None if b is None else b.double(), act, dim, **options | {"clamp": None}).abs()
        unclear = (y < 1e-6) | ((y / options.get("clamp", math.inf) - 1).abs() < 0.02)
        dy[unclear] = ddx[unclear] = 0  # rounding decides on which side of a kink these are
        inputs = [x, b, dy, ddx]
        results = []
        for library, kind in ((None, torch.float64), (host_kernels.host_library(), dtype)):
            host_kernels.use(monkeypatch, library)
            own = [t if t is None else t.to(kind).detach().requires_grad_() for t in inputs]
            results.append(derivatives(*own, act=act, dim=dim, **options))
        assert results[1][0].stride() == x.stride() and results[1][0].dtype == dtype
        for expected, found in zip(*results, strict=True):
            error = (found.double() - expected).abs() / (1 + expected.abs())
            assert error.max() <= tolerance, (shape, options, bias)


PACK = {torch.float32: 4, torch.bfloat16: 8, torch.float16: 8}
NHWC = torch.channels_last


@pytest.mark.parametrize("dtype", PACK)
@pytest.mark.parametrize(
    "x, has_packs",
    [
        (normal(0, 2, 16, 3, 5).contiguous(memory_format=NHWC), True),  # biases of neighbours
        (normal(0, 2, 3, 4, 6), True),  # one bias
        (normal(0, 5, 24), True),
        (normal(0, 2, 12, 3, 5).contiguous(memory_format=NHWC)[:, :7], False),
        (normal(0, 2, 5, 3, 5), False),
        (normal(0, 2, 9, 3, 5).contiguous(memory_format=NHWC), False),
    ],
    ids=lambda x: str(tuple(x.shape)) if isinstance(x, torch.Tensor) else None,
)
def test_kernel_takes_packs_where_it_can(x, has_packs, dtype, monkeypatch):
    library = host_kernels.host_library()
    host_kernels.use(monkeypatch, library)
    for act in ("lrelu", "swish"):
        y = bias_act(x.to(dtype), normal(1, x.shape[1]), act=act)
        torch.testing.assert_close(y, composed(x.to(dtype), normal(1, x.shape[1]).to(dtype), act), rtol=0.02, atol=0.02)
        assert host_kernels.lanes_of_last_kernel(library) == (PACK[dtype] if has_packs else 1)


@pytest.mark.parametrize("dtype", PACK)
def test_derivatives_take_packs(dtype, monkeypatch):
    library = host_kernels.host_library()
    host_kernels.use(monkeypatch, library)
    x, dy = (normal(seed, 2, 16, 3, 5).to(dtype).contiguous(memory_format=NHWC).requires_grad_() for seed in (0, 1))
    y = bias_act(x, normal(2, 16), act="swish")
    (dx,) = torch.autograd.grad(y, x, dy, create_graph=True)
    assert host_kernels.lanes_of_last_kernel(library) == PACK[dtype]
    torch.autograd.grad(dx, x, normal(3, 2, 16, 3, 5).to(dtype))
    assert host_kernels.lanes_of_last_kernel(library) == PACK[dtype]


def test_kernel_takes_single_elements_at_odd_addresses(monkeypatch):
    library = host_kernels.host_library()
    host_kernels.use(monkeypatch, library)
    x = normal(0, 1 + 2 * 16)[1:].reshape(2, 16)
    torch.testing.assert_close(bias_act(x, act="relu"), composed(x, None, "relu"))
    assert host_kernels.lanes_of_last_kernel(library) == 1


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("options", OPTIONS)
def test_derivatives_up_to_the_third(act, options, path):
    """Against torch's own differentiation of the definition, in float64."""
    generator = torch.Generator().manual_seed(3)
    x, weights = (torch.randn(4, 3, 5, dtype=torch.float64, generator=generator) for _ in range(2))
    b = torch.randn(3, dtype=torch.float64, generator=generator)

    def orders(function):
        inputs = [x.clone().requires_grad_(), b.clone().requires_grad_()]
        value = function(*inputs, act=act, **options)
        for _ in range(3):
            grads = torch.autograd.grad((value * weights).sum(), inputs, create_graph=True, allow_unused=True)
            yield [torch.zeros_like(t) if g is None else g for t, g in zip(inputs, grads, strict=True)]
            if grads[0] is None or not grads[0].requires_grad:
                return
            value = grads[0]

    for found, expected in zip(orders(bias_act), orders(composed), strict=False):
        for a, e in zip(found, expected, strict=True):
            torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("clamp", [None, 0.7])
@seeded(0)
def test_numerical_derivatives(act, clamp, path):
    x = torch.linspace(-2.05, 2, 24, dtype=torch.float64).reshape(2, 3, 4).requires_grad_()  # away from the kinks
    b = torch.tensor([0.01, -0.02, 0.03], dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x, b: bias_act(x, b, act=act, clamp=clamp), (x, b))
    torch.autograd.gradgradcheck(lambda x, b: bias_act(x, b, act=act, clamp=clamp), (x, b))


@pytest.mark.parametrize("act", ACTS)
def test_extreme_and_non_finite_values(act, path):
    """Large arguments stay finite with their gradients; NaN and infinity are not hidden."""
    x = torch.tensor([[-90.0, 90, -1e30, 1e30, 0]], requires_grad=True)
    y = bias_act(x, act=act)
    assert y.isfinite().all() and torch.autograd.grad(y.sum(), x)[0].isfinite().all()
    assert bias_act(torch.tensor([[math.nan]]), act=act, clamp=1.0).isnan().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_clamped_values_have_no_gradient_in_16_bits(dtype, path):
    """Also with a clamp that these types cannot hold: 256 sqrt(1/2) is stored as a smaller number."""
    x = torch.tensor([[150.0, 300, -300]], dtype=dtype, requires_grad=True)
    y = bias_act(x, clamp=256 * math.sqrt(0.5))
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [[1, 0, 0]]


def test_kernel_splits_large_tensors(monkeypatch):
    host_kernels.use(monkeypatch, host_kernels.host_library(small=True))
    for side in (3, 4):  # one by one, and in packs
        x, b = normal(0, 90, 5, side, side), normal(1, 5)
        found = bias_act(x, b, act="lrelu")
        torch.testing.assert_close(found, composed(x, b, "lrelu"))


@pytest.mark.parametrize(
    "x",
    [
        normal(0, 4, 6, 5)[:, ::2],
        normal(0, 3, 1, 1).expand(3, 4, 5),
        normal(0, 8, 3, 1, 1)[:, :1],
        normal(0, 1).expand(1, 1),
        normal(0, 5, 2).t(),
        normal(0, 2, 3, 0),
    ],
    ids=lambda x: str(tuple(x.shape)),
)
def test_any_strides(x, path):
    b = normal(1, x.shape[1])
    torch.testing.assert_close(bias_act(x, b, act="lrelu"), composed(x, b, "lrelu"))


def test_saves_only_its_output():
    """The memory of one activation: nothing but y is kept, and no clone of it."""
    x, b = normal(0, 2, 3, 4, 4).requires_grad_(), torch.zeros(3)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = bias_act(x * 1, b, act="lrelu", clamp=1.0)
    big = [t for t in kept if t.numel() == x.numel() and t.data_ptr() != x.data_ptr()]
    assert [t.data_ptr() for t in big] == [y.data_ptr()]


def test_nothing_to_do_and_callers_tensor(path):
    x = normal(0, 2, 3)
    assert bias_act(x) is x
    before = x.clone()
    bias_act(x, torch.ones(3), act="lrelu", clamp=0.1)
    torch.testing.assert_close(x, before, rtol=0, atol=0)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"act": "gelu"}, "unknown activation"),
        ({"b": torch.zeros(4)}, "bias of shape"),
        ({"gain": -1}, "gain"),
        ({"act": "lrelu", "alpha": -0.1}, "alpha"),
        ({"clamp": -1}, "clamp"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        bias_act(torch.zeros(2, 3), **options)


@pytest.mark.parametrize("act", sorted(activation_funcs))
def test_overwriting_changes_memory_not_values(act):
    x, b = normal(0, 2, 4, 3, 3), normal(1, 4)
    expected = bias_act(x, b, act=act, gain=0.7, clamp=0.9)
    mine = x.clone()
    assert torch.equal(bias_act(mine, b, act=act, gain=0.7, clamp=0.9, overwrite=True), expected)
    leaf = x.clone().requires_grad_()
    bias_act(leaf, b, act=act, overwrite=True)
    assert torch.equal(leaf.detach(), x)  # an input that gradients are wanted for: hands off


@pytest.mark.parametrize("act", sorted(activation_funcs))
def test_overwriting_keeps_derivatives(act):
    """Of the first and second order, where x is the result of an operation that records its gradient."""

    def derivatives(overwrite):
        x, b, dy = normal(0, 2, 4, 3, 3).requires_grad_(), normal(1, 4).requires_grad_(), normal(2, 2, 4, 3, 3)
        y = bias_act(x * 2, b, act=act, gain=0.7, clamp=0.9, overwrite=overwrite)
        first = torch.autograd.grad(y, [x, b], dy.requires_grad_(), create_graph=True)
        return y, *first, *torch.autograd.grad(first[0].square().sum(), [dy, x], allow_unused=True)

    for found, expected in zip(derivatives(True), derivatives(False), strict=True):
        assert (found is None and expected is None) or torch.equal(found, expected)


@pytest.mark.parametrize("act", ["linear", "relu", "lrelu"])
@pytest.mark.parametrize("clamp", [None, 0.9])
def test_bands_change_no_bit(act, clamp, monkeypatch):
    def derivatives():
        x, dy = (normal(seed, 3, 4, 5, 7).contiguous(memory_format=torch.channels_last) for seed in (0, 2))
        b = normal(1, 4).requires_grad_()
        y = bias_act(x.requires_grad_(), b, act=act, gain=0.7, clamp=clamp)
        return y, *torch.autograd.grad(y, [x, b], dy)

    whole = derivatives()
    monkeypatch.setattr(bands, "ELEMENTS", 16)
    for found, expected in zip(derivatives(), whole, strict=True):
        assert torch.equal(found, expected)
        assert found.stride() == expected.stride()
