"""The decoder: golden vectors, range of colours, start near emptiness, half precision."""

import pytest
import torch

from tests.helpers import golden
from tests.helpers.tiny import normal, seeded
from tests.helpers.weights import fill
from training.config import RenderingConfig
from training.networks.decoder import Decoder
from training.rendering.marching import widened
from training.rendering.renderer import decode

BOTH = pytest.mark.parametrize("file, dtype", [("rendering", torch.float32), ("rendering_f64", torch.float64)])


@BOTH
def test_densities_and_colours_match_golden(file, dtype):
    """At points inside and outside of the planes' box, whose side is 1."""
    decoder = fill(Decoder(32, 64, 32), "decoder.").to(dtype)
    planes, points = (golden.tensor("rendering", name, dtype) for name in ("planes", "sample_xyz"))
    density, colours = decode(planes, decoder, points, RenderingConfig())
    golden.check(file, "model_sigma", density.unsqueeze(-1))
    golden.check(file, "model_rgb", colours)


def test_first_output_is_the_raw_density_and_colours_reach_a_little_beyond_0_and_1():
    with seeded(0):
        decoder = Decoder(4, 8, 3)
    last = decoder.net[2]
    last.weight.data.zero_()
    last.bias.data.copy_(torch.tensor([-7.0, -1e3, 0.0, 1e3]))
    density, colours = decoder(normal(0, 2, 5, 4))
    assert density.shape == (2, 5) and colours.shape == (2, 5, 3)
    torch.testing.assert_close(density, torch.full([2, 5], -7.0))
    torch.testing.assert_close(colours[0, 0], torch.tensor([-0.001, 0.5, 1.001]))


# --- In half precision ------------------------------------------------------------------------------------------------


def half_and_exact(with_density: bool, with_colours: bool, shifted: bool = False) -> list[dict[str, torch.Tensor]]:
    """Return results and gradients of a decoder in bfloat16, and of one in float64 for the same features."""
    features = normal(0, 3, 500, 32).bfloat16()
    ddensity, dcolours = normal(1, 3, 500), normal(2, 3, 500, 32)
    found = []
    for dtype, x in ((torch.float32, features), (torch.float64, features.double())):
        decoder = fill(Decoder(32, 64, 32), "decoder.").to(dtype)
        x = x.clone().requires_grad_()
        shift = normal(3, 3, 64, dtype=dtype).requires_grad_() if shifted else None
        density, colours = decoder(x, shift)
        if colours.dtype == torch.bfloat16:
            assert density.dtype == torch.float32 and 0 <= colours.min() and colours.max() <= 1
            colours = widened(colours.double())
        loss = torch.zeros([], dtype=torch.float64)
        if with_density:
            loss = loss + (density.double() * ddensity).sum()
        if with_colours:
            loss = loss + (colours * dcolours).sum()
        loss.backward()
        gradients = {name: parameter.grad for name, parameter in decoder.named_parameters()}
        assert {gradient.dtype for gradient in gradients.values()} == {dtype}  # master weights keep their type
        if shift is not None:
            gradients["shift"] = shift.grad
        found.append({"density": density, "colours": colours, "x": x.grad, **gradients})
    return found


@pytest.mark.parametrize(
    "wanted", [(True, True), (True, False), (False, True), (True, True, True), (True, False, True)]
)
def test_half_precision_rounds_results_and_gradients_and_no_more(wanted):
    half, exact = half_and_exact(*wanted)
    assert half["density"].dtype == torch.float32 and half["x"].dtype == torch.bfloat16
    for name, expected in exact.items():
        error = (half[name].double() - expected).norm()
        assert error <= 1e-2 * expected.norm() and error > 0, name


def test_features_in_half_precision_keep_little_for_the_backward_pass():
    """The features, what goes into the softplus, the colours; of M points nothing else."""
    decoder = fill(Decoder(32, 64, 32), "decoder.")
    kept = []
    x = normal(0, 1000, 32).bfloat16().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        decoder(x)
    of_points = {tensor.data_ptr(): tensor.nbytes for tensor in kept if len(tensor) == 1000}
    assert sum(of_points.values()) == 2 * 1000 * (32 + 64 + 32)


def test_a_shift_of_zeros_changes_nothing_in_half_precision():
    decoder = fill(Decoder(32, 64, 32), "decoder.")
    x = normal(0, 3, 100, 32).bfloat16()
    for plain, shifted in zip(decoder(x), decoder(x, torch.zeros(3, 64)), strict=True):
        assert torch.equal(plain, shifted)


def test_a_shift_keeps_no_more_for_the_backward_pass():
    decoder = fill(Decoder(32, 64, 32), "decoder.")
    kept = []
    x = normal(0, 4, 250, 32).bfloat16().requires_grad_()
    shift = normal(1, 4, 64).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        decoder(x, shift)
    of_points = {tensor.data_ptr(): tensor.nbytes for tensor in kept if len(tensor) == 1000}
    assert sum(of_points.values()) == 2 * 1000 * (32 + 64 + 32)


def test_frozen_weights_get_no_gradient_in_half_precision():
    decoder = fill(Decoder(32, 64, 32), "decoder.")
    x = normal(0, 10, 32).bfloat16().requires_grad_()
    (with_weights,) = torch.autograd.grad(decoder(x)[0].sum(), x)
    decoder.requires_grad_(False)
    (alone,) = torch.autograd.grad(decoder(x)[0].sum(), x)
    assert torch.equal(with_weights, alone)


def test_a_second_derivative_in_half_precision_is_refused():
    decoder = fill(Decoder(32, 64, 32), "decoder.")
    x = normal(0, 10, 32).bfloat16().requires_grad_()
    (dx,) = torch.autograd.grad(decoder(x)[0].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.float().sum().backward()
