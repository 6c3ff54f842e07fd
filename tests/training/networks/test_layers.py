"""Layers: golden vectors in every arrangement, noise, half precision, initialisation."""

import math

import pytest
import torch

from tests.helpers import golden
from tests.helpers.recording import spy
from tests.helpers.tiny import normal, seeded
from torch_utils.ops.upfirdn2d import setup_filter
from training.networks import layers
from training.networks.layers import (
    Conv2dLayer,
    FullyConnectedLayer,
    SynthesisLayer,
    ToRGBLayer,
    modulated_conv2d,
    normalize_2nd_moment,
)

FILTER = setup_filter([1, 3, 3, 1])
FORCED = {"scaled activations": math.inf, "weights per sample": 0}  # values of WORTH_A_CALL


@pytest.fixture(params=FORCED)
def arrangement(request, monkeypatch):
    """Forces one arrangement for samples of different styles, and sees to it that it was taken."""
    monkeypatch.setattr(layers, "WORTH_A_CALL", FORCED[request.param])
    calls = spy(monkeypatch, layers, "_conv_per_sample")
    yield request.param
    assert bool(calls) == (request.param == "weights per sample")


@pytest.mark.parametrize("case", golden.cases("ops", "modulated_conv2d_"))
def test_modulated_conv2d_matches_golden(case, arrangement):
    options = golden.config("ops", case)
    del options["kernel"], options["resample_filter"]  # in the weight's shape; always FILTER
    names = ["x", "w", "s"] + (["noise"] if options.pop("noise") else [])
    x, w, s, *noise = inputs = [golden.tensor("ops", f"{case}_{name}").requires_grad_() for name in names]
    y = modulated_conv2d(x, w, s, noise=noise[0] if noise else None, resample_filter=FILTER, **options)
    golden.check("ops", f"{case}_y", y)
    gradients = torch.autograd.grad(y, inputs, golden.tensor("ops", f"{case}_dy"))
    for name, gradient in zip(names, gradients, strict=True):
        golden.check("ops", f"{case}_d{name}", gradient)


@pytest.mark.parametrize("up, kernel, demodulate", [(1, 3, True), (2, 3, True), (1, 1, False), (1, 3, False)])
def test_arrangements_agree(up, kernel, demodulate, monkeypatch):
    """In value, first and second derivatives, where all samples share a style (the third arrangement)."""
    random = torch.Generator().manual_seed(0)
    x, w, s, noise, dy, ddx = (
        torch.randn(shape, generator=random, dtype=torch.float64)
        for shape in (
            [3, 4, 5, 6],
            [5, 4, kernel, kernel],
            [1, 4],
            [5 * up, 6 * up],
            [3, 5, 5 * up, 6 * up],
            [3, 4, 5, 6],
        )
    )
    results = {}
    for name, worth in [("shared weight", 0), *FORCED.items()]:
        monkeypatch.setattr(layers, "WORTH_A_CALL", worth)
        inputs = [tensor.clone().requires_grad_() for tensor in (x, w, s, noise)]
        style = inputs[2] if name == "shared weight" else inputs[2].expand(3, -1)
        y = modulated_conv2d(
            *inputs[:2],
            style,
            noise=inputs[3],
            up=up,
            padding=kernel // 2,
            resample_filter=FILTER,
            demodulate=demodulate,
            flip_weight=up == 1,
        )
        first = torch.autograd.grad(y, inputs, dy, create_graph=True)
        second = torch.autograd.grad((first[0] * ddx).sum(), inputs[1:3])
        results[name] = [y, *first, *second]
    expected = results.pop("shared weight")
    for values in results.values():
        torch.testing.assert_close(values, expected)


def test_half_precision_neither_overflows_nor_strays():
    """Demodulation makes the scale of weights and styles irrelevant; in 16 bits it must not pass through infinity."""
    random = torch.Generator().manual_seed(0)
    x, w = torch.randn(2, 64, 6, 6, generator=random), torch.randn(8, 64, 3, 3, generator=random)
    s = torch.randn(2, 64, generator=random)
    exact = modulated_conv2d(x, w, s, padding=1)
    for dtype, limit in ((torch.float16, 5e-3), (torch.bfloat16, 4e-2)):
        y = modulated_conv2d(x.to(dtype), w * 1e3, s * 1e3, padding=1)
        assert y.dtype == dtype and (y - exact).norm() < limit * exact.norm()


def test_gradients_in_half_precision_do_not_stray():
    random = torch.Generator().manual_seed(0)
    shapes = ([2, 64, 6, 6], [8, 64, 3, 3], [2, 64])
    inputs = [torch.randn(*shape, generator=random) for shape in shapes]
    dy = torch.randn(2, 8, 6, 6, generator=random)

    def gradients(dtype: torch.dtype, scale: float) -> list[torch.Tensor]:
        x, w, s = (tensor.clone().requires_grad_() for tensor in inputs)
        y = modulated_conv2d(x.to(dtype), w * scale, s * scale, padding=1)
        return list(torch.autograd.grad(y, [x, w, s], dy.to(dtype)))

    exact = gradients(torch.float32, 1)
    for dtype, limit in ((torch.float16, 5e-3), (torch.bfloat16, 4e-2)):
        for found, wanted in zip(gradients(dtype, 1e3), exact, strict=True):
            assert (found - wanted).norm() < limit * wanted.norm()


LAYERS = {
    "fc_lrelu_lr001": lambda: FullyConnectedLayer(6, 5, activation="lrelu", lr_multiplier=0.01),
    "fc_linear": lambda: FullyConnectedLayer(6, 5),
    "conv_layer_down_clamp": lambda: Conv2dLayer(3, 4, 3, activation="lrelu", down=2, conv_clamp=1.5),
    "conv_layer_skip": lambda: Conv2dLayer(3, 4, 1, bias=False, down=2),
    "synthesis_layer": lambda: SynthesisLayer(3, 4, w_dim=6, resolution=8),
    "synthesis_layer_up": lambda: SynthesisLayer(3, 4, w_dim=6, resolution=8, up=2, conv_clamp=2.0),
    "torgb": lambda: ToRGBLayer(5, 3, w_dim=6),
}


@pytest.mark.parametrize("case", LAYERS)
def test_layer_matches_golden(case):
    arrays, layer = golden.load("ops"), LAYERS[case]()
    parameters = dict(layer.named_parameters())
    assert {f"{case}_param.{name}" for name in parameters} == {k for k in arrays if k.startswith(f"{case}_param.")}
    for name, parameter in parameters.items():
        parameter.data.copy_(golden.tensor("ops", f"{case}_param.{name}"))
    if hasattr(layer, "noise_const"):
        layer.noise_const.copy_(golden.tensor("ops", f"{case}_noise_const"))
    inputs = [golden.tensor("ops", f"{case}_in{i}").requires_grad_() for i in (0, 1) if f"{case}_in{i}" in arrays]
    gain = golden.config("ops", case).get("call_gain")
    y = layer(*inputs) if gain is None else layer(*inputs, gain=gain)
    golden.check("ops", f"{case}_y", y)
    wanted = {
        **{f"din{i}": value for i, value in enumerate(inputs)},
        **{f"dparam.{name}": value for name, value in parameters.items()},
    }
    gradients = torch.autograd.grad(y, list(wanted.values()), golden.tensor("ops", f"{case}_dy"))
    for name, gradient in zip(wanted, gradients, strict=True):
        golden.check("ops", f"{case}_{name}", gradient)


def test_normalize_2nd_moment_matches_golden():
    x = golden.tensor("ops", "normalize_2nd_moment_x").requires_grad_()
    y = normalize_2nd_moment(x)
    golden.check("ops", "normalize_2nd_moment_y", y)
    golden.check(
        "ops", "normalize_2nd_moment_dx", torch.autograd.grad(y, x, golden.tensor("ops", "normalize_2nd_moment_dy"))[0]
    )


def test_fully_connected_stores_weights_divided_by_the_learning_rate():
    with seeded(0):
        layer = FullyConnectedLayer(512, 512, lr_multiplier=0.01, bias_init=1)
    assert layer.weight.std().item() == pytest.approx(100, rel=0.01)
    weight, bias = layer.scaled(torch.float32)
    assert weight.std().item() == pytest.approx(512**-0.5, rel=0.01)
    assert torch.allclose(bias, torch.ones(512))


def test_fully_connected_takes_any_leading_shape():
    x = normal(0, 2, 3, 4, 6)
    for activation in ("linear", "lrelu"):
        with seeded(0):
            layer = FullyConnectedLayer(6, 5, activation=activation, bias_init=0.3)
        torch.testing.assert_close(layer(x), layer(x.reshape(24, 6)).reshape(2, 3, 4, 5))


def test_noise_modes():
    with seeded(0):
        layer = SynthesisLayer(3, 4, w_dim=6, resolution=8).requires_grad_(False)
    x = normal(1, 1, 3, 8, 8).expand(2, -1, -1, -1)
    w = normal(2, 1, 6)

    def run(mode, seed=0):
        return layer(x, w, mode, torch.Generator().manual_seed(seed))

    plain = run("none")
    assert torch.equal(run("const"), plain) and torch.equal(run("random"), plain)  # strength begins at zero
    layer.noise_strength.fill_(0.5)
    assert torch.equal(run("none"), plain)
    const = run("const")
    assert not torch.equal(const, plain) and torch.equal(const[0], const[1])
    assert torch.equal(run("random", 1), run("random", 1))
    assert not torch.equal(run("random", 1), run("random", 2))
    assert not torch.equal(*run("random", 1)), "each sample has its own noise"


def test_noise_map_is_added_to_the_convolution():
    """Before bias and activation, scaled by the strength, one map for all samples and channels (linear here: x > 0)."""
    with seeded(0):
        layer = SynthesisLayer(1, 2, w_dim=1, resolution=4).requires_grad_(False)
    layer.noise_strength.fill_(0.1)
    layer.bias.fill_(100)
    difference = layer(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1)) - 100 * math.sqrt(2)
    expected = (0.1 * math.sqrt(2) * layer.noise_const).expand(1, 2, 4, 4)
    torch.testing.assert_close(difference, expected, atol=1e-4, rtol=0)
