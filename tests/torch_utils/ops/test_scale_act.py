"""Scale, noise, bias, activation and clamp in one: the kernel against plain PyTorch in float64, to the second order."""

import pytest
import torch

from tests.helpers import host_kernels
from tests.helpers.tiny import normal, uniform
from torch_utils import custom_ops
from torch_utils.ops import scale_act as ops
from torch_utils.ops.scale_act import scale_act
from training.networks.layers import SynthesisLayer

PACK = {torch.float32: 4, torch.bfloat16: 8, torch.float16: 8}
# Norm of the difference over the norm, to which 1 is added for each element: some second derivatives are zero.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
NOISE = {"none": None, "one map": (5, 7), "a map for each": (2, 1, 5, 7)}
ACTS = [("linear", None), ("linear", 1.1), ("lrelu", None), ("lrelu", 1.1)]  # with clamps


def tensors(dtype, noise, bias=True):
    """Return x, scale, bias and noise (which may be None), as the type holds them."""
    x = normal(0, 2, 16, 5, 7).to(dtype).contiguous(memory_format=torch.channels_last)
    scale = (uniform(1, 2, 16) + 0.5).to(dtype).float()
    shape = NOISE[noise]
    return [
        x,
        scale,
        normal(2, 16).to(dtype).float() if bias else None,
        None if shape is None else normal(3, *shape).to(dtype).float(),
    ]


def derivatives(inputs, act, clamp, dtype, dy, order):
    """Return the value, the gradients for all inputs, and those of a sum of the gradients for inputs and dy."""
    x, *others = [t if t is None else t.detach().to(dtype if i == 0 else t.dtype) for i, t in enumerate(inputs)]
    if dtype == torch.float64:
        others = [t if t is None else t.double() for t in others]
    own = [t if t is None else t.requires_grad_() for t in (x, *others)]
    present = [t for t in own if t is not None]
    dy = dy.to(dtype).requires_grad_()
    y = scale_act(*own, act=act, clamp=clamp)
    first = torch.autograd.grad(y, present, dy, create_graph=order == 2)
    if order == 1:
        return [y, *first]
    mixed = sum((gradient * normal(7 + i, *gradient.shape)).sum() for i, gradient in enumerate(first))
    second = torch.autograd.grad(mixed, [*present, dy], materialize_grads=True, allow_unused=True)
    return list(second)


def upstream(inputs, act, clamp):
    """Return a gradient that is zero where rounding may decide on which side of a kink the result falls."""
    wide = [t if t is None else t.double() for t in inputs]
    y = scale_act(*wide, act=act)
    dy = normal(5, *y.shape).contiguous(memory_format=torch.channels_last)
    for kink in (0.0, clamp or 0.0, -(clamp or 0.0)):
        dy[(y - kink).abs() < 0.05] = 0
    return dy


def assert_near(found, expected, tolerance):
    difference = found.double() - expected.double()
    assert difference.norm() <= tolerance * (expected.double().norm() + expected.numel() ** 0.5)


@pytest.mark.parametrize("dtype", PACK)
@pytest.mark.parametrize("act, clamp", ACTS)
@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("run", [ops._SHORTEST_RUN, ops._LONGEST_RUN])
def test_kernel_equals_native(dtype, act, clamp, noise, run, monkeypatch):
    library = host_kernels.host_library()
    monkeypatch.setattr(ops, "_ENOUGH_THREADS", 2**30 if run == ops._SHORTEST_RUN else 1)
    for bias in (True, False):
        inputs = tensors(dtype, noise, bias)
        host_kernels.use(monkeypatch, None)
        dy = upstream(inputs, act, clamp).to(dtype)
        expected = derivatives(inputs, act, clamp, torch.float64, dy, order=1)
        host_kernels.use(monkeypatch, library)
        found = derivatives(inputs, act, clamp, dtype, dy, order=1)
        assert host_kernels.lanes_of_last_kernel(library) == PACK[dtype]
        assert found[0].dtype == found[1].dtype == dtype and found[0].stride() == inputs[0].stride()
        for ours, reference in zip(found, expected, strict=True):
            assert_near(ours, reference, TOLERANCE[dtype])


@pytest.mark.parametrize("act, clamp", ACTS)
@pytest.mark.parametrize("noise, bias", [("none", False), ("one map", True), ("a map for each", True)])
def test_second_derivatives(act, clamp, noise, bias, monkeypatch):
    """They go through what the kernel kept, in float32."""
    inputs = tensors(torch.float32, noise, bias)
    host_kernels.use(monkeypatch, None)
    dy = upstream(inputs, act, clamp)
    expected = derivatives(inputs, act, clamp, torch.float64, dy, order=2)
    host_kernels.use(monkeypatch, host_kernels.host_library())
    for found, reference in zip(derivatives(inputs, act, clamp, torch.float32, dy, order=2), expected, strict=True):
        assert_near(found, reference, 1e-5)


def test_only_the_result_is_kept(monkeypatch):
    host_kernels.use(monkeypatch, host_kernels.host_library())
    x, scale, bias, noise = tensors(torch.float32, "one map")
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = scale_act(x.requires_grad_(), scale, bias, noise, act="lrelu")
    assert [t.data_ptr() for t in kept if t.numel() == x.numel()] == [y.data_ptr()]


def test_gradients_that_begin_between_packs_are_moved(monkeypatch):
    """A GPU ends the process that reads 16 bytes at any other address."""
    host_kernels.use(monkeypatch, host_kernels.host_library())
    x, scale, *_ = tensors(torch.float32, "none")
    own = x.requires_grad_()
    y = scale_act(own, scale)
    dy = normal(5, x.numel() + 1)[1:].view(2, 5, 7, 16).permute(0, 3, 1, 2)
    assert dy.is_contiguous(memory_format=torch.channels_last) and dy.data_ptr() % 16 != 0
    launch = custom_ops.launch

    def aligned(function, params, like):
        assert params.source % 16 == 0
        launch(function, params, like)

    monkeypatch.setattr(custom_ops, "launch", aligned)
    (dx,) = torch.autograd.grad(y, own, dy)
    torch.testing.assert_close(dx, dy * scale[:, :, None, None])


@pytest.mark.parametrize(
    "x, act",
    [
        (normal(0, 2, 16, 3, 4), "lrelu"),  # not channels-last
        (normal(0, 2, 6, 3, 4).contiguous(memory_format=torch.channels_last), "lrelu"),
        (normal(0, 2, 16, 3, 4).double().contiguous(memory_format=torch.channels_last), "lrelu"),
        (normal(0, 2, 16, 3, 4).contiguous(memory_format=torch.channels_last), "tanh"),
    ],
)
def test_what_does_not_suit_the_kernel_is_composed(x, act, monkeypatch):
    expected = scale_act(x, normal(1, 2, x.shape[1]), normal(2, x.shape[1]), normal(3, 3, 4), act=act)
    library = host_kernels.host_library()
    launched = []
    launch = custom_ops.launch
    monkeypatch.setattr(
        custom_ops, "launch", lambda function, *rest: launched.append(function.__name__) or launch(function, *rest)
    )
    host_kernels.use(monkeypatch, library)
    found = scale_act(x, normal(1, 2, x.shape[1]), normal(2, x.shape[1]), normal(3, 3, 4), act=act)
    torch.testing.assert_close(found, expected)
    assert launched == ["pv3d_bias_act"]


@pytest.mark.parametrize("spoiled", [float("nan"), float("inf")])
def test_bad_numbers_are_not_hidden(spoiled, monkeypatch):
    host_kernels.use(monkeypatch, host_kernels.host_library())
    x, scale, bias, noise = tensors(torch.float32, "one map")
    x[0, 3, 2, 1] = spoiled
    y = scale_act(x, scale, bias, noise, act="lrelu")
    assert y.isfinite().logical_not().nonzero().tolist() == [[0, 3, 2, 1]]


@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize("mode", ["const", "none"])
def test_synthesis_layers_are_the_same_with_it(up, mode, monkeypatch):
    """Results and all gradients of a layer, which takes both forms of the kernel."""
    layer = SynthesisLayer(16, 16, w_dim=8, resolution=8 * up, up=up, conv_clamp=2.0)
    for number, parameter in enumerate(layer.parameters()):
        parameter.data = normal(number, *parameter.shape)
    x = normal(20, 3, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    results = []
    for library in (None, host_kernels.host_library()):
        host_kernels.use(monkeypatch, library)
        own, w = x.clone().requires_grad_(), normal(21, 3, 8).requires_grad_()
        y = layer(own, w, mode)
        inputs = [own, w, *layer.parameters()]
        weights = normal(22, *y.shape) * (y.abs() > 1e-4) * ((y.abs() - 2).abs() > 1e-4)
        results.append([y, *torch.autograd.grad((y * weights).sum(), inputs, allow_unused=True)])
    for expected, found in zip(*results, strict=True):
        assert (found is None) == (expected is None)
        if expected is not None:
            assert_near(found, expected, 1e-5)
