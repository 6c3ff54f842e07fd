"""upfirdn2d for 4 x 4 taps on its own kernels: values, derivatives, every layout, and that the networks reach them."""

import itertools

import pytest
import torch

from tests.helpers import host_kernels
from tests.helpers.host_kernels import lanes_of_last_kernel
from tests.helpers.tiny import normal
from torch_utils import custom_ops
from torch_utils.ops import upfirdn2d as ops
from training.networks.backbone import SynthesisBlock
from training.networks.discriminators import ResidualBlock

SCALES = [(1, 1), (2, 1), (1, 2)]  # up, down
# even and odd, unequal, crops, taps that meet nothing but padding
PADDINGS = [[2, 1, 2, 1], [1, 1, 1, 1], [2, 2, 2, 2], [-1, 3, 0, -2], [-2, -1, -3, 1], [5, 0, 1, 7], [0, 6, 8, 0]]
SIZES = [(7, 9), (16, 7), (6, 8)]  # height, width
FILTERS = {
    "smooth": ops.setup_filter([1, 3, 3, 1]),
    "any": normal(3, 4, 4),
    "zero sum": ops.setup_filter([1, -1, 1, -1], normalize=False),
}
PACK = {torch.float32: 4, torch.bfloat16: 8, torch.float16: 8}
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2**-7, torch.float16: 2**-10}  # of 16-bit types: one rounding


def image(dtype, channels, size, layout="nhwc"):
    """Return [2, channels, *size]; "shifted": channels-last at addresses that are no multiple of 16 bytes."""
    x = normal(1, 2, channels + 1, *size).to(dtype)
    if layout == "shifted":
        return x.contiguous(memory_format=torch.channels_last)[:, 1:]
    memory_format = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    return x[:, 1:].contiguous(memory_format=memory_format)


def in_both(monkeypatch, library, x, f, **options):
    """Return value, gradient and gradient of the gradient by (plain PyTorch in float64, the library)."""
    results = []
    for use, kind in ((None, torch.float64), (library, x.dtype)):
        host_kernels.use(monkeypatch, use)
        own = x.detach().to(kind)
        own = own.requires_grad_()
        y = ops.upfirdn2d(own, f, **options)
        upstream = normal(2, *y.shape).to(x.dtype).to(kind).requires_grad_()
        (dx,) = torch.autograd.grad(y, own, upstream, create_graph=True)
        (ddy,) = torch.autograd.grad(dx, upstream, x.detach().to(kind))
        results.append((y, dx, ddy))
    return zip(*results, strict=True)


def assert_near(found, expected, dtype):
    assert found.dtype == dtype
    error = (found.double() - expected).abs().max()
    assert error <= TOLERANCE[dtype] * expected.abs().max()


@pytest.mark.parametrize("dtype", PACK)
@pytest.mark.parametrize("up, down", SCALES)
@pytest.mark.parametrize("taps", FILTERS)
def test_kernels_equal_native(dtype, up, down, taps, monkeypatch):
    library = host_kernels.host_library()
    cases = itertools.product(SIZES, PADDINGS, (False, True))
    for size, padding, flip in cases:
        x = image(dtype, 16, size)
        options = {"up": up, "down": down, "padding": padding, "flip_filter": flip, "gain": 1.7}
        for expected, found in in_both(monkeypatch, library, x, FILTERS[taps], **options):
            assert_near(found, expected, dtype)
        assert lanes_of_last_kernel(library) == PACK[dtype]


@pytest.mark.parametrize("dtype", PACK)
@pytest.mark.parametrize("up, down", SCALES)
@pytest.mark.parametrize("channels, layout", [(16, "shifted"), (16, "nchw"), (13, "nhwc"), (3, "nchw"), (1, "nhwc")])
def test_layouts_without_packs_take_single_channels(dtype, up, down, channels, layout, monkeypatch):
    library = host_kernels.host_library()
    x = image(dtype, channels, (7, 6), layout)
    f = FILTERS["smooth"]
    for expected, found in in_both(monkeypatch, library, x, f, up=up, down=down, padding=[2, 1, 2, 1]):
        assert_near(found, expected, dtype)
    ops.upfirdn2d(x, f, up=up, down=down, padding=2)
    assert lanes_of_last_kernel(library) == 1


@pytest.mark.parametrize("up, down", SCALES)
@pytest.mark.parametrize("height", [60, 33, 31])
def test_long_strips(up, down, height, monkeypatch):
    """As on large images, where a thread completes up to 32 steps; and in several launches."""
    library = host_kernels.host_library(small=True)
    x = normal(0, 3, 4, height, 1).contiguous(memory_format=torch.channels_last)
    for expected, found in in_both(monkeypatch, library, x, FILTERS["smooth"], up=up, down=down, padding=[1, 2, 2, 0]):
        assert_near(found, expected, torch.float32)


@pytest.mark.parametrize(
    "options",
    [
        {"up": 2, "down": 2},
        {"up": [2, 1]},
        {"down": [1, 2]},
        {"up": 3},
        {"f": torch.ones(4, 3)},
        {"f": torch.ones(5, 5)},
        {"f": torch.ones(4)},
        {"dtype": torch.float64},
    ],
    ids=str,
)
def test_everything_else_takes_the_generic_kernel(options, monkeypatch):
    library = host_kernels.host_library()
    host_kernels.use(monkeypatch, library)
    options = {"f": torch.ones(4, 4)} | options
    x = image(options.pop("dtype", torch.float32), 16, (8, 8))
    ops.upfirdn2d(x, options.pop("f"), padding=3, **options)
    assert lanes_of_last_kernel(library) == 0


@pytest.mark.parametrize("spoiled", [float("nan"), float("inf")])
@pytest.mark.parametrize("up, down", SCALES)
def test_a_bad_pixel_spoils_what_is_within_reach(spoiled, up, down, monkeypatch):
    """At the image's edge, too, where the taps that lie outside of it must not meet it."""
    x = image(torch.float32, 8, (6, 6))
    x[0, 3, 0, 0] = x[1, 2, 5, 5] = spoiled
    options = {"up": up, "down": down, "padding": [7, 7, 8, 8]}
    expected = ops.upfirdn2d(x.contiguous().double(), FILTERS["smooth"], **options).isfinite()
    host_kernels.use(monkeypatch, host_kernels.host_library())
    assert torch.equal(ops.upfirdn2d(x, FILTERS["smooth"], **options).isfinite(), expected)
    assert not expected.all() and expected.any()


# --- The networks -----------------------------------------------------------------------------------------------------


@pytest.fixture
def launched(monkeypatch):
    """Return a list of the lanes of every filter that runs from now on, on the host's kernels."""
    library = host_kernels.host_library()
    host_kernels.use(monkeypatch, library)
    found = []
    launch = custom_ops.launch

    def noting(function, params, like):
        launch(function, params, like)
        if function.__name__ == "pv3d_upfirdn2d":
            found.append(lanes_of_last_kernel(library))

    monkeypatch.setattr(custom_ops, "launch", noting)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_discriminators_filter_in_packs(dtype, launched):
    """Forwards, backwards, and the backward pass of a penalty on gradients."""
    block = ResidualBlock(16, 16, 32, 6)
    x = image(dtype, 16, (16, 16)).requires_grad_()
    (gradient,) = torch.autograd.grad(block(x).sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert launched == [PACK[dtype]] * 7


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_generators_filter_in_packs(dtype, launched):
    """Features, and images of planes, which are in float32."""
    block = SynthesisBlock(16, 16, w_dim=8, resolution=16, img_channels=96)
    x = image(dtype, 16, (8, 8)).requires_grad_()
    planes = image(torch.float32, 96, (8, 8)).requires_grad_()
    features, painted = block(x, planes, normal(0, 2, 3, 8))
    (features.float().sum() + painted.square().sum()).backward()
    assert sorted(launched) == [4, 4, PACK[dtype], PACK[dtype]]
