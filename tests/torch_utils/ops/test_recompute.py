"""Every op inside an activation checkpoint: saved tensors are read once, gradients stay as they are."""

import pytest

from tests.helpers.recompute import check_gradients
from tests.helpers.tiny import normal, uniform
from torch_utils.ops.activations import activation_funcs
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.conv2d import conv2d, conv_transpose2d
from torch_utils.ops.conv2d_resample import conv2d_resample
from torch_utils.ops.depthwise import depthwise_conv2d
from torch_utils.ops.plane_sampling import sample_planes, sample_planes_mean
from torch_utils.ops.upfirdn2d import downsample2d, setup_filter, upsample2d

F4 = setup_filter([1, 3, 3, 1])


def image(seed, *shape):
    return normal(seed, *shape).requires_grad_()


@pytest.mark.parametrize("act", activation_funcs)
@pytest.mark.parametrize("clamp", [None, 0.7])
def test_bias_and_activation(act, clamp, path):
    check_gradients(lambda x, b: bias_act(x, b, act=act, clamp=clamp), [image(0, 2, 3, 4, 4), image(1, 3)])


@pytest.mark.parametrize("op", [upsample2d, downsample2d])
def test_resampling(op, path):
    check_gradients(lambda x: op(x, F4), [image(0, 2, 3, 8, 8)])


@pytest.mark.parametrize("op", [conv2d, conv_transpose2d])
@pytest.mark.parametrize("options", [{"padding": 1}, {"stride": 2}, {"groups": 2}])
def test_convolutions(op, options):
    w = image(1, 4, 4 // options.get("groups", 1), 3, 3)
    check_gradients(lambda x, w: op(x, w, **options), [image(0, 2, 4, 8, 8), w])


@pytest.mark.parametrize("options", [{"up": 2}, {"down": 2}])
def test_convolutions_that_resample(options, path):
    part = lambda x, w: conv2d_resample(x, w, F4, padding=1, **options)  # noqa: E731
    check_gradients(part, [image(0, 2, 4, 8, 8), image(1, 4, 4, 3, 3)])


@pytest.mark.parametrize("transposed", [False, True])
def test_depthwise_convolutions(transposed):
    f = normal(1, 4, 4)
    check_gradients(lambda x: depthwise_conv2d(x, f, (2, 2), (1, 1), transposed), [image(0, 2, 3, 8, 8)])


@pytest.mark.parametrize("op", [sample_planes, sample_planes_mean])
def test_lookups(op):
    uv = (uniform(1, 2, 3, 7, 2) * 2 - 1).requires_grad_()
    check_gradients(op, [image(0, 2, 3, 4, 5, 5), uv])
