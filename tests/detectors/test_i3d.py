"""detectors.i3d: the reference's preprocessing, end points and logits; the two protocols; short clips."""

import copy

import numpy as np
import pytest
import torch

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
LOGITS = {"atol": 5e-5}
INPUT = {"atol": 2e-6}
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(i3d) -> dict[str, torch.Tensor]:
    """Outputs of all parts of the network for the case base, by name; the whole network's is called ''."""
    outputs = {}
    hooks = [
        module.register_forward_hook(lambda _, x, y, name=name: outputs.update({name: y}))
        for name, module in [("", i3d), *i3d.named_children()]
    ]
    with torch.inference_mode():
        i3d(preprocess_cropped(channels_first(clips("base"))))
    for hook in hooks:
        hook.remove()
    return outputs


def sample(values: torch.Tensor, indices: np.ndarray) -> np.ndarray:
    return values.numpy()[tuple(indices.T)]


def test_state_dict_has_the_public_names_and_shapes(i3d):
    lines = (golden.FOLDER / "metrics" / "i3d_state_dict_keys.txt").read_text().splitlines()
    listed = {name: shape for name, shape, *_ in (line.split("\t") for line in lines)}
    assert listed == {name: str(tuple(tensor.shape)) for name, tensor in i3d.state_dict().items()}


@pytest.mark.parametrize("case", CASES)
def test_preprocessing(case):
    frames = clips(case)
    hold("i3d", f"crc32_{case}", crc32(frames))
    x = preprocess_cropped(channels_first(frames))
    hold("i3d", f"pre_{case}_shape", x.shape)
    hold("i3d", f"pre_{case}_val", sample(x, array("i3d", f"pre_{case}_idx")), **INPUT)
    exact = x.double()
    hold("i3d", f"pre_{case}_stats", [exact.min(), exact.max(), exact.mean(), exact.std(unbiased=False)], **INPUT)


@pytest.mark.parametrize("case", CASES[1:])
def test_logits(case, i3d):
    with torch.inference_mode():
        hold("i3d", f"logits_{case}", i3d(preprocess_cropped(channels_first(clips(case)))), **LOGITS)


def test_logits_of_base(base):
    hold("i3d", "logits_base", base[""], **LOGITS)
    hold("i3d", "pooled_base", base["pool"].flatten(1), **LOGITS)


def test_end_points(base):
    names = array("i3d", "ep_names").tolist()
    assert list(base)[: len(names)] == names
    golden.HELD.add(("metrics/i3d", "ep_names"))
    for name in names:
        values = base[name][:1].contiguous()
        hold("i3d", f"ep_{name}_shape", values.shape)
        hold("i3d", f"ep_{name}_val", sample(values, array("i3d", f"ep_{name}_idx")), **LOGITS)
        exact = values.double()
        hold("i3d", f"ep_{name}_stats", [exact.mean(), exact.std(unbiased=False), exact.abs().max()], **LOGITS)


@pytest.mark.slow
def test_logits_in_float64(i3d):
    with torch.inference_mode():
        x = preprocess_cropped(channels_first(clips("base"))).double()
        hold("i3d", "logits_base_f64", copy.deepcopy(i3d).double()(x), atol=1e-5)


def test_logits_with_the_original_epsilon(i3d):
    other = InceptionI3D(TENSORFLOW_EPS)
    other.load_state_dict(i3d.state_dict())
    with torch.inference_mode():
        hold("i3d", "logits_base_bneps1e-3", other(preprocess_cropped(channels_first(clips("base")))), **LOGITS)


def test_folding_equals_the_parts(i3d):
    """Convolution, BatchNorm and ReLU one after the other, from zeros around."""
    unit, x = copy.deepcopy(i3d.Mixed_3b.b1b).double(), normal(0, 2, 96, 3, 6, 5, dtype=torch.float64)
    apart = unit.eval().bn(torch.nn.functional.conv3d(x, unit.conv3d.weight, padding=1)).relu()
    torch.testing.assert_close(unit(x), apart, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel, stride", [(7, 2), (3, 2), (3, 1), (2, 2), (1, 1), (1, 2)])
def test_same_padding(kernel, stride):
    for size in range(kernel, 30):
        front, back = same_padding(size, kernel, stride)
        assert (size + front + back - kernel) // stride + 1 == -(-size // stride)
        assert back - front in (0, 1)


def test_stretched_protocol_differs_only_where_frames_are_not_square():
    square = channels_first(clips("base"))[:, :2]
    torch.testing.assert_close(preprocess_stretched(square), preprocess_cropped(square))
    wide = channels_first(clips("wide"))[:, :2]
    assert preprocess_stretched(wide).shape == (1, 3, 2, 224, 224)
    constant_rows = torch.arange(64, dtype=torch.uint8).expand(1, 1, 3, 48, 64)
    ends = preprocess_stretched(constant_rows)[0, 0, 0, 0, [0, -1]]
    torch.testing.assert_close(ends, torch.tensor([0, 63]) / 255 * 2 - 1, msg="both ends are still there")


def test_features_of_a_clip_do_not_depend_on_the_others(i3d):
    detector = I3DEmbedder(i3d, prepare=preprocess_cropped, name="test", checksum="")
    both = channels_first(clips("base"))[:, :MIN_FRAMES, :, ::2, ::2]
    apart = torch.cat([detector(clip[None]) for clip in both])
    assert apart.shape == (2, detector.dim) and apart.dtype == torch.float32
    torch.testing.assert_close(detector(both), apart, rtol=0, **LOGITS)


def test_short_clips_are_refused(i3d):
    with pytest.raises(UserError, match="8 frames are too short .* 9 or more"):
        i3d(torch.zeros(1, 3, 8, 224, 224))
