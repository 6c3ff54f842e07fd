"""Super-resolution: golden vectors, resizing, the pattern for every output size."""

import pytest
import torch

from tests.helpers import golden
from tests.helpers.recording import recorded
from tests.helpers.tiny import normal, seeded
from training.networks.superresolution import BlockPlan, SuperResolution, block_plan, resize


@pytest.mark.parametrize("case", golden.cases("ops", "resize_", "_x"))
def test_resize_matches_golden(case):
    x = golden.tensor("ops", f"{case}_x").requires_grad_()
    y = resize(x, int(case.split("_")[2]))
    golden.check("ops", f"{case}_y", y)
    golden.check("ops", f"{case}_dx", torch.autograd.grad(y, x, golden.tensor("ops", f"{case}_dy"))[0])


def test_resize_leaves_what_has_the_size():
    x = normal(0, 1, 2, 8, 8)
    assert resize(x, 8) is x
    assert resize(x[:, :, :4], 8).shape == x.shape


@pytest.fixture(scope="module", params=[64, 128, 32])
def upscaled(request, generator):
    """Input side, the inputs, the first block's output, the image."""
    side, arrays = request.param, golden.load("superresolution")
    seeds = arrays[f"r{side}_seeds"]
    rgb, features = golden.seeded(seeds[0], [2, 3, side, side]), golden.seeded(seeds[1], [2, 32, side, side])
    w = golden.seeded(seeds[2], [2, 1, 512])[:, 0]
    assert rgb.flatten()[:4].tolist() == arrays[f"r{side}_rgb_check"].tolist()
    assert torch.equal(w, golden.tensor("superresolution", f"r{side}_ws"))
    with recorded(generator.superresolution, "block0") as calls, torch.no_grad():
        image = generator.superresolution(rgb, features, w)
    return side, (rgb, features, w), calls["block0"][0].output, image


def check_image(case, image):
    golden.check("superresolution", f"{case}_s7", image[:, :, ::7, ::7])
    golden.check("superresolution", f"{case}_stat", golden.stat(image))


def test_matches_golden(upscaled):
    side, _, (x, rgb), image = upscaled
    check_image(f"r{side}_out", image)
    golden.check("superresolution", f"r{side}_block0_rgb_s7", rgb[:, :, ::7, ::7])
    golden.check("superresolution", f"r{side}_block0_x_stat", golden.stat(x))


@pytest.mark.parametrize("upscaled", [64], indirect=True)
def test_matches_golden_with_noise(upscaled, generator):
    with torch.no_grad():
        check_image("r64_const_out", generator.superresolution(*upscaled[1], noise_mode="const"))


@pytest.mark.parametrize(
    "resolution, plan",
    [
        (1024, (256, (128, 64), (2, 2))),
        (512, (128, (256, 128), (2, 2))),
        (256, (128, (128, 64), (1, 2))),
        (128, (64, (128, 64), (1, 2))),
        (64, (32, (128, 64), (1, 2))),
    ],
)
def test_plan_of_the_blocks(resolution, plan):
    input_resolution, channels, up = plan
    assert block_plan(resolution, None) == BlockPlan(input_resolution, channels, up)
    assert block_plan(resolution, (7, 5)) == BlockPlan(input_resolution, (7, 5), up)


@pytest.mark.parametrize("resolution", [16, 64, 128, 512])
@pytest.mark.parametrize("side", [8, 40])
def test_every_size_comes_out_of_any_size(resolution, side):
    with seeded(0):
        network = SuperResolution(2, resolution, 4, block_channels=(3, 2)).requires_grad_(False)
    rgb, features, w = normal(0, 2, 3, side, side), normal(1, 2, 2, side, side), normal(2, 2, 4)
    image = network(rgb, features, w)
    assert image.shape == (2, 3, resolution, resolution)
    torch.testing.assert_close(network(rgb, features, w[:1])[0], image[0], atol=1e-5, rtol=1e-5)


def test_image_is_summed_in_full_precision():
    """The raw image passes by the convolutions, whatever their type."""
    with seeded(0):
        network = SuperResolution(2, 32, 4, block_channels=(3, 2)).requires_grad_(False)
    rgb, features, w = normal(0, 2, 3, 16, 16), normal(1, 2, 2, 16, 16), normal(2, 2, 4)
    exact = network(rgb, features, w)
    with recorded(network, "block0", "block1") as calls:
        half = network(rgb, features, w, dtype=torch.bfloat16)
    assert [calls[name][0].output[0].dtype for name in calls] == [torch.bfloat16] * 2
    assert half.dtype == torch.float32 and 0 < (half - exact).norm() < 0.05 * exact.norm()
