"""detectors.lpips: the formula in plain numpy, closed forms, gradients, and values of the LPIPS package."""

import copy
import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from detectors import weights
from detectors.lpips import DEVIATION, LPIPS, MEAN, MIN_SIDE, ChannelWeights
from dnnlib.files import file_checksum
from tests.helpers.tiny import normal, uniform

pytestmark = pytest.mark.usefixtures("one_thread")
# The convolutions by their numbers in the public file, with their outputs; a line a stage.
LAYERS = [
    {0: 64, 2: 64},
    {5: 128, 7: 128},
    {10: 256, 12: 256, 14: 256},
    {17: 512, 19: 512, 21: 512},
    {24: 512, 26: 512, 28: 512},
]
# By the package lpips 0.1.4 in float64 of `reference_pictures`, VGG16 with our random weights; it keeps MEAN and
# DEVIATION in float32, and so agrees with exact ones to 2e-9.
REFERENCE_RANDOM = (0.343412037, 0.340552657)  # our random weights of channels
REFERENCE_PUBLIC = (0.456741615, 0.453002942)  # its public ones


def pictures(seed: int, *shape: int) -> torch.Tensor:
    """Noise in [-1, 1], float64."""
    return 2 * uniform(seed, *shape, dtype=torch.float64) - 1


def reference_pictures() -> tuple[torch.Tensor, torch.Tensor]:
    return pictures(1, 2, 3, 40, 56), pictures(2, 2, 3, 40, 56)


@pytest.fixture(scope="module")
def exact(lpips) -> LPIPS:
    return copy.deepcopy(lpips).double()


def test_state_dicts_have_the_public_names_and_shapes(lpips):
    expected = {}
    inputs = 3
    for stage in LAYERS:
        for number, outputs in stage.items():
            expected[f"features.{number}.weight"] = (outputs, inputs, 3, 3)
            expected[f"features.{number}.bias"] = (outputs,)
            inputs = outputs
    assert shapes(lpips.vgg) == expected
    widths = enumerate((64, 128, 256, 512, 512))
    assert shapes(lpips.channel_weights) == {f"lin{i}.model.1.weight": (1, width, 1, 1) for i, width in widths}


def shapes(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


# --- Values -----------------------------------------------------------------------------------------------------------


def test_values_of_the_package(exact):
    expected = torch.tensor(REFERENCE_RANDOM, dtype=torch.float64)
    torch.testing.assert_close(exact(*reference_pictures()), expected, rtol=1e-8, atol=0)


def test_float32_is_close(lpips, exact):
    a, b = reference_pictures()
    torch.testing.assert_close(lpips(a.float(), b.float()).double(), exact(a, b), rtol=2e-6, atol=0)


def slow_distance(network: LPIPS, a: np.ndarray, b: np.ndarray) -> float:
    """LPIPS of two pictures [3, H, W] by its definition."""
    vgg = {name: value.numpy() for name, value in network.vgg.state_dict().items()}
    channel_weights = [value.numpy().ravel() for value in network.channel_weights.state_dict().values()]
    total = 0.0
    for weight, x, y in zip(channel_weights, slow_taps(vgg, a), slow_taps(vgg, b), strict=True):
        _, height, width = x.shape
        for i in range(height):
            for j in range(width):
                unit_x = x[:, i, j] / (math.sqrt((x[:, i, j] ** 2).sum()) + 1e-10)
                unit_y = y[:, i, j] / (math.sqrt((y[:, i, j] ** 2).sum()) + 1e-10)
                total += float(weight @ (unit_x - unit_y) ** 2) / (height * width)
    return total


def slow_taps(vgg: dict[str, np.ndarray], picture: np.ndarray) -> Iterator[np.ndarray]:
    x = np.stack([(picture[0] + 0.030) / 0.458, (picture[1] + 0.088) / 0.448, (picture[2] + 0.188) / 0.450])
    for number, stage in enumerate(LAYERS):
        if number > 0:
            height, width = x.shape[1] // 2, x.shape[2] // 2
            x = x[:, : 2 * height, : 2 * width].reshape(-1, height, 2, width, 2).max((2, 4))
        for layer in stage:
            x = slow_convolution(x, vgg[f"features.{layer}.weight"], vgg[f"features.{layer}.bias"])
            x = np.maximum(x, 0)
        yield x


def slow_convolution(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Convolution of x [C, H, W] with 3 x 3 pixels, zeros around the picture."""
    _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    y = np.zeros([len(weight), height, width]) + bias[:, None, None]
    for i in range(3):
        for j in range(3):
            y += np.tensordot(weight[:, :, i, j], padded[:, i : i + height, j : j + width], 1)
    return y


@pytest.mark.parametrize("height, width", [(MIN_SIDE, MIN_SIDE), (37, 22)])
def test_definition_in_numpy(height, width, exact):
    a = pictures(3, 2, 3, height, width)
    b = pictures(4, 2, 3, height, width)
    expected = [slow_distance(exact, x.numpy(), y.numpy()) for x, y in zip(a, b, strict=True)]
    torch.testing.assert_close(exact(a, b), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.fixture
def passing(exact) -> LPIPS:
    """A network all of whose convolutions pass channel 0 through, and have one in channel 1."""
    network = copy.deepcopy(exact)
    for layer in network.vgg.features:
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.zero_()
            layer.bias.zero_()
            layer.weight[0, 0, 1, 1] = 1
            layer.bias[1] = 1
    return network


@pytest.mark.parametrize("colour", range(3))
@pytest.mark.parametrize("level, other", [(0.4, 0.9), (-0.8, 0.2), (-1, -0.7)])
def test_plain_pictures_in_closed_form(level, other, colour, passing):
    """Plain pictures have one feature vector in all pixels and stages: (x, 1) / sqrt(x^2 + 1) with x = max(z, 0)."""
    first = passing.vgg.features[0].weight
    first[0, :, 1, 1] = torch.eye(3)[colour]

    def unit(value: float) -> torch.Tensor:
        z = (value - MEAN[colour]) / DEVIATION[colour]
        vector = torch.tensor([max(z, 0), 1], dtype=torch.float64)
        return vector / vector.norm()

    both_channels = sum(weight[0, :2, 0, 0] for weight in passing.channel_weights.parameters())
    expected = both_channels @ (unit(level) - unit(other)).square()
    plain = torch.ones(1, 3, 32, 16, dtype=torch.float64)
    torch.testing.assert_close(passing(level * plain, other * plain), expected[None], rtol=1e-9, atol=1e-15)


# --- Properties -------------------------------------------------------------------------------------------------------


def test_a_distance_is_zero_for_equal_pictures_and_symmetric(lpips):
    a = pictures(5, 2, 3, 32, 32).float()
    b = pictures(6, 2, 3, 32, 32).float()
    assert torch.equal(lpips(a, a), torch.zeros(2))
    assert torch.equal(lpips(a, b), lpips(b, a))
    assert lpips(a, b).min() > 0.05


def test_more_noise_is_farther(lpips):
    clean = pictures(7, 1, 3, 32, 32).float()
    noise = normal(8, 1, 3, 32, 32)
    distances = [lpips(clean, clean + strength * noise).item() for strength in (0.01, 0.05, 0.2, 0.8)]
    assert distances == sorted(distances)


def test_features_of_a_target_are_computed_once(exact):
    target = pictures(9, 1, 3, 32, 32)
    others = pictures(10, 3, 3, 32, 32)
    of_target = exact.features(target)
    assert [tuple(tap.shape) for tap in of_target] == [
        (1, channels, side, side) for channels, side in [(64, 32), (128, 16), (256, 8), (512, 4), (512, 2)]
    ]
    for tap in of_target:
        lengths = tap.norm(dim=1)
        torch.testing.assert_close(lengths, torch.ones_like(lengths))
    together = exact.distance(exact.features(others), of_target)
    each = torch.cat([exact(other[None], target) for other in others])
    torch.testing.assert_close(together, each, rtol=1e-10, atol=0)


def test_modes_do_not_matter_and_pictures_stay_as_they_are(lpips):
    a = pictures(11, 1, 3, 16, 16).float()
    b = pictures(12, 1, 3, 16, 16).float()
    before = a.clone()
    network = copy.deepcopy(lpips).train()
    assert torch.equal(network(a, b), lpips(a, b))
    assert torch.equal(a, before)


# --- Gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["a", "b"])
def test_gradients_by_finite_differences(side, exact):
    inputs = {"a": pictures(13, 1, 3, 16, 24), "b": pictures(14, 1, 3, 16, 24)}
    inputs[side].requires_grad_()
    (gradient,) = torch.autograd.grad(exact(inputs["a"], inputs["b"]).sum(), inputs[side])
    directions = normal(15, 6, 1, 3, 16, 24, dtype=torch.float64)
    step = 1e-8  # so small that no activation comes to the other side of a kink
    with torch.no_grad():
        for direction in directions:
            ends = [exact(**(inputs | {side: inputs[side] + sign * step * direction})) for sign in (1, -1)]
            difference = (ends[0] - ends[1]).sum() / (2 * step)
            slope = (gradient * direction).sum()
            torch.testing.assert_close(slope, difference, rtol=1e-5, atol=1e-7)


def test_gradients_leave_weights_alone(lpips):
    a = pictures(16, 1, 3, 16, 16).float().requires_grad_()
    lpips(a, -a.detach()).sum().backward()
    assert a.grad is not None and a.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in lpips.parameters())


def test_vectors_of_zeros_pass_no_gradients(passing):
    for layer in passing.vgg.features:
        if isinstance(layer, torch.nn.Conv2d):
            layer.bias.fill_(-100)
    a = pictures(17, 1, 3, 16, 16).requires_grad_()
    distance = passing(a, pictures(18, 1, 3, 16, 16))
    distance.sum().backward()
    assert torch.equal(distance, torch.zeros_like(distance))
    assert torch.equal(a.grad, torch.zeros_like(a))


# --- The public file --------------------------------------------------------------------------------------------------


@pytest.fixture
def public_file() -> Path:
    """The public weights of channels, which the package carries; its code is not run."""
    found = importlib.util.find_spec("lpips")
    places = found.submodule_search_locations or [] if found else []
    for place in places:
        path = Path(place) / "weights" / "v0.1" / weights.LPIPS.file
        if path.is_file():
            return path
    pytest.skip("needs the package lpips (pip install --no-deps lpips)")


def test_the_public_file(public_file, exact):
    assert file_checksum(public_file) == weights.LPIPS.sha256
    assert weights.locate(weights.LPIPS, public_file.parent) == public_file
    channel_weights = ChannelWeights()
    weights.put_into(channel_weights, weights.read_state(weights.LPIPS, public_file), weights.LPIPS, public_file)
    assert all(weight.min() > 0 for weight in channel_weights.parameters())
    network = LPIPS(copy.deepcopy(exact.vgg), channel_weights.double(), name="test", checksum="")
    expected = torch.tensor(REFERENCE_PUBLIC, dtype=torch.float64)
    torch.testing.assert_close(network(*reference_pictures()), expected, rtol=1e-8, atol=0)
