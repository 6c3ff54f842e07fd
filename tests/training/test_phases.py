"""training.loss: which phase trains what, how often, and the optimisers' correction for it."""

import pytest

from dnnlib.options import override
from tests.helpers import tiny
from training.checkpoints.snapshots import build_optimizers
from training.config import Config
from training.phases import build_phases


def test_the_four_phases_of_the_paper():
    """PV3D A.1: regularisation of the generator in every 4th iteration, of the discriminators in every 16th."""
    g_main, g_reg, d_main, d_reg = build_phases(Config())
    assert g_main.networks == ("G",)
    assert g_reg.networks == ("G",)
    assert d_main.networks == ("D_img", "D_vid")
    assert d_reg.networks == ("D_img", "D_vid")
    assert g_main.interval == 1
    assert g_reg.interval == 4
    assert d_main.interval == 1
    assert d_reg.interval == 16


def test_indices_are_part_of_the_keys_of_random_numbers():
    """Another index would give every run other numbers."""
    phases = build_phases(Config())
    indices = {phase.name: phase.index for phase in phases}
    assert indices == {"g_main": 0, "g_reg": 1, "d_main": 2, "d_reg": 3}


def test_phases_without_weight_are_not_active():
    config = override(Config(), {"loss.lambda_reg": 0.0, "loss.gamma": 0.0})
    phases = build_phases(config)
    active = [phase.name for phase in phases if phase.active]
    assert active == ["g_main", "d_main"]


@pytest.mark.parametrize("absent, left", [("image", "D_vid"), ("video", "D_img")])
def test_phases_without_one_discriminator(absent, left):
    config = override(Config(), {f"discriminator.{absent}": False})
    g_main, g_reg, d_main, d_reg = build_phases(config)
    assert g_main.networks == ("G",)
    assert g_reg.networks == ("G",)
    assert d_main.networks == (left,)
    assert d_reg.networks == (left,)


@pytest.mark.parametrize(
    "name, rate, beta2", [("G", 0.002, 0.99199), ("D_img", 0.00188235, 0.990585), ("D_vid", 0.00188235, 0.990585)]
)
def test_optimizers_are_corrected_for_lazy_regularisation(name, rate, beta2):
    """What Adam gets at the paper's configuration (PV3D section 4).

    With c = interval / (interval + 1), 4 / 5 and 16 / 17: learning rate times c, betas to the power of c.
    """
    networks = tiny.networks(tiny.config())
    optimizers = build_optimizers(networks, Config())
    assert optimizers.keys() == {"G", "D_img", "D_vid"}
    (group,) = optimizers[name].param_groups
    assert group["lr"] == pytest.approx(rate, rel=1e-5)
    assert group["betas"] == pytest.approx((0, beta2), abs=5e-6)
    assert group["eps"] == 1e-8
    assert group["weight_decay"] == 0
