"""All phases with the CUDA kernels' source and the GPU's arrangement of convolutions, on the CPU."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from tests.helpers import host_kernels
from tests.helpers.phase_gradients import gradients, looking_at, networks_in, noting_places, procedural_clips
from tests.helpers.recording import spy
from torch_utils import custom_ops
from training.networks import layers

pytestmark = pytest.mark.usefixtures("one_thread")
NEVER = 2**60  # activations from which there would be a convolution a sample
# Least cosine with float32's gradients; what is left is rounding at the kinks of activations.
LIMITS = {None: 0.999999, torch.bfloat16: 0.93}


@pytest.mark.parametrize("dtype", LIMITS)
def test_gradients_are_those_of_plain_pytorch_in_float32(dtype, monkeypatch):
    clips = procedural_clips()
    with noting_places() as places:
        expected = gradients(networks_in(None), clips, 0)
    monkeypatch.setattr(layers, "WORTH_A_CALL", NEVER)
    host_kernels.use(monkeypatch, host_kernels.host_library())
    launched = spy(monkeypatch, custom_ops, "launch")
    with looking_at(places):
        found = gradients(networks_in(dtype), clips, 0)
    assert {call.inputs[0].__name__ for call in launched} == {"pv3d_bias_act", "pv3d_scale_act", "pv3d_upfirdn2d"}
    for phase, by_name in expected.items():
        assert len(by_name) >= 10
        for name, gradient in by_name.items():
            cosine = cosine_similarity(gradient.flatten(), found[phase][name].flatten(), dim=0)
            assert cosine > LIMITS[dtype], (phase, name)
            assert found[phase][name].norm() == pytest.approx(gradient.norm().item(), rel=0.1 if dtype else 1e-3)
