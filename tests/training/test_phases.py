"""training.phases: which phase trains what, how often, and the optimisers' correction for it."""

import pytest
import torch

from tests.helpers import tiny
from training.checkpoints.snapshots import build_networks
from training.config import Config, override
from training.phases import build_optimizers, build_phases


def test_the_four_phases_of_the_paper():
    """PV3D A.1: regularisation of the generator in every 4th iteration, of the discriminators in every 16th."""
    phases = build_phases(Config())
    discriminators = ("D_img", "D_vid")
    assert [(phase.name, phase.index, phase.networks, phase.interval) for phase in phases] == [
        ("g_main", 0, ("G",), 1),
        ("g_reg", 1, ("G",), 4),
        ("d_main", 2, discriminators, 1),
        ("d_reg", 3, discriminators, 16),
    ]
    assert all(phase.active for phase in phases)


def test_phases_without_weight_are_not_active():
    config = override(Config(), {"loss.lambda_reg": 0.0, "loss.gamma": 0.0})
    assert [phase.name for phase in build_phases(config) if phase.active] == ["g_main", "d_main"]


@pytest.mark.parametrize("absent, left", [("image", "D_vid"), ("video", "D_img")])
def test_phases_without_one_discriminator(absent, left):
    config = override(Config(), {f"discriminator.{absent}": False})
    assert [phase.networks for phase in build_phases(config)] == [("G",), ("G",), (left,), (left,)]


def test_optimizers_are_corrected_for_lazy_regularisation():
    """What Adam gets at the paper's configuration (PV3D section 4).

    With c = interval / (interval + 1), 4 / 5 and 16 / 17: learning rate times c, betas to the power of c.
    """
    small = {key: value for key, value in tiny.SIZES.items() if not key.startswith("training.")}
    options = override(Config(), small)
    optimizers = build_optimizers(build_networks(options, 0, torch.device("cpu")), options)
    expected = {"G": (0.002, 0.99199), "D_img": (0.00188235, 0.990585), "D_vid": (0.00188235, 0.990585)}
    assert optimizers.keys() == expected.keys()
    for name, (rate, beta2) in expected.items():
        (group,) = optimizers[name].param_groups
        assert group["lr"] == pytest.approx(rate, rel=1e-5)
        assert group["betas"] == pytest.approx((0, beta2), abs=5e-6)
        assert group["eps"] == 1e-8
        assert group["weight_decay"] == 0
