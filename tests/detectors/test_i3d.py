"""detectors.i3d: the reference's preprocessing, end points and logits; two ways to resize frames; short clips."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from detectors.i3d import (
    MIN_FRAMES,
    TENSORFLOW_EPS,
    I3DEmbedder,
    InceptionI3D,
    preprocess_cropped,
    preprocess_stretched,
    same_padding,
)
from dnnlib.errors import UserError
from tests.helpers import golden
from tests.helpers.detector_weights import channels_first, clips, crc32
from tests.helpers.golden_metrics import array, hold
from tests.helpers.tiny import normal

CASES = ("base", "x2", "x8", "wide", "tall", "sq", "t9", "t17", "t20", "t32")
LOGITS = 5e-5
INPUT = 2e-6
pytestmark = pytest.mark.usefixtures("one_thread")


def prepared(case: str) -> torch.Tensor:
    return preprocess_cropped(channels_first(clips(case)))


def picked(values: torch.Tensor, places: np.ndarray) -> np.ndarray:
    """Values at places [P, dimensions]."""
    return values.numpy()[tuple(places.T)]


# --- The reference's numbers ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(i3d) -> dict[str, torch.Tensor]:
    """Outputs of all parts of the network for the case base, by name; the whole network's is called ''."""
    outputs = {}
    hooks = []
    for name, module in [("", i3d), *i3d.named_children()]:

        def remember(module, inputs, output, name=name) -> None:
            outputs[name] = output

        hooks.append(module.register_forward_hook(remember))
    with torch.inference_mode():
        i3d(prepared("base"))
    for hook in hooks:
        hook.remove()
    return outputs


def test_state_dict_has_the_public_names_and_shapes(i3d):
    listing = golden.FOLDER / "metrics" / "i3d_state_dict_keys.txt"
    lines = [line.split("\t") for line in listing.read_text().splitlines()]
    listed = {name: shape for name, shape, *_ in lines}
    shapes = {name: str(tuple(tensor.shape)) for name, tensor in i3d.state_dict().items()}
    assert shapes == listed


@pytest.mark.parametrize("case", CASES)
def test_preprocessing(case):
    frames = clips(case)
    hold("i3d", f"crc32_{case}", crc32(frames))
    x = preprocess_cropped(channels_first(frames))
    hold("i3d", f"pre_{case}_shape", x.shape)
    places = array("i3d", f"pre_{case}_idx")
    hold("i3d", f"pre_{case}_val", picked(x, places), atol=INPUT)
    exact = x.double()
    deviation = exact.std(unbiased=False)
    stats = [exact.min(), exact.max(), exact.mean(), deviation]
    hold("i3d", f"pre_{case}_stats", stats, atol=INPUT)


@pytest.mark.parametrize("case", CASES[1:])
def test_logits(case, i3d):
    with torch.inference_mode():
        logits = i3d(prepared(case))
    hold("i3d", f"logits_{case}", logits, atol=LOGITS)


def test_logits_of_base(base):
    hold("i3d", "logits_base", base[""], atol=LOGITS)
    hold("i3d", "pooled_base", base["pool"].flatten(1), atol=LOGITS)


def test_end_points(base):
    names = array("i3d", "ep_names").tolist()
    golden.HELD.add(("metrics/i3d", "ep_names"))
    assert list(base)[: len(names)] == names
    for name in names:
        values = base[name][:1].contiguous()
        hold("i3d", f"ep_{name}_shape", values.shape)
        places = array("i3d", f"ep_{name}_idx")
        hold("i3d", f"ep_{name}_val", picked(values, places), atol=LOGITS)
        exact = values.double()
        deviation = exact.std(unbiased=False)
        stats = [exact.mean(), deviation, exact.abs().max()]
        hold("i3d", f"ep_{name}_stats", stats, atol=LOGITS)


@pytest.mark.slow
def test_logits_in_float64(i3d):
    exact = copy.deepcopy(i3d).double()
    with torch.inference_mode():
        logits = exact(prepared("base").double())
    hold("i3d", "logits_base_f64", logits, atol=1e-5)


def test_logits_with_the_original_epsilon(i3d):
    other = InceptionI3D(TENSORFLOW_EPS)
    other.load_state_dict(i3d.state_dict())
    with torch.inference_mode():
        logits = other(prepared("base"))
    hold("i3d", "logits_base_bneps1e-3", logits, atol=LOGITS)


# --- Layers -----------------------------------------------------------------------------------------------------------


def test_folding_equals_the_parts(i3d):
    """Convolution, BatchNorm and ReLU one after the other, from zeros around."""
    unit = copy.deepcopy(i3d.Mixed_3b.b1b).double().eval()
    x = normal(0, 2, 96, 3, 6, 5, dtype=torch.float64)
    convolved = torch.nn.functional.conv3d(x, unit.conv3d.weight, padding=1)
    expected = unit.bn(convolved).relu()
    assert_close(unit(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel, stride", [(7, 2), (3, 2), (3, 1), (2, 2), (1, 1), (1, 2)])
def test_same_padding(kernel, stride):
    for size in range(kernel, 30):
        front, back = same_padding(size, kernel, stride)
        assert back - front in (0, 1)
        steps = (size + front + back - kernel) // stride
        assert steps + 1 == math.ceil(size / stride)


# --- Frames that are not square, short clips --------------------------------------------------------------------------


def test_stretching_equals_cropping_where_frames_are_square():
    square = channels_first(clips("base"))[:, :2]
    assert_close(preprocess_stretched(square), preprocess_cropped(square))


def test_stretched_frames_keep_both_ends():
    columns = torch.arange(64, dtype=torch.uint8)
    wide = columns.expand(1, 2, 3, 48, 64)
    stretched = preprocess_stretched(wide)
    assert stretched.shape == (1, 3, 2, 224, 224)
    row = stretched[0, 0, 0, 0]
    expected = torch.tensor([0, 63]) / 255 * 2 - 1
    assert_close(row[[0, -1]], expected)


def test_features_of_a_clip_do_not_depend_on_the_others(i3d):
    detector = I3DEmbedder(i3d, prepare=preprocess_cropped, name="test", checksum="")
    both = channels_first(clips("base"))[:, :MIN_FRAMES, :, ::2, ::2]
    apart = torch.cat([detector(clip[None]) for clip in both])
    assert apart.shape == (2, detector.dim)
    assert apart.dtype == torch.float32
    assert_close(detector(both), apart, rtol=0, atol=LOGITS)


def test_short_clips_are_refused(i3d):
    with pytest.raises(UserError, match="8 frames are too short .* 9 or more"):
        i3d(torch.zeros(1, 3, 8, 224, 224))
