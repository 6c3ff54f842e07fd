"""Troubles of a run: each is told once when it begins, with the kimg, and again if it comes back."""

import pytest

from tests.helpers import tiny
from training.runs.health import Health, probe

pytestmark = pytest.mark.usefixtures("one_thread")
FINE = {
    "loss/g": 1.0,
    "loss/d": 1.2,
    "scores/real_img": 0.5,
    "scores/fake_img": -0.5,
    "health/nonfinite_gradients": 0.0,
    "health/diversity": 20.0,
    "health/motion": 4.0,
    "time/data_share": 0.01,
}
TROUBLES = [
    ({"health/nonfinite_gradients": 0.5}, "not finite"),
    ({"loss/g": 1e4}, "loss/g exploded"),
    ({"scores/real_img": float("nan")}, "scores/real_img exploded"),
    ({"health/diversity": 0.4}, "collapsed"),
    ({"health/motion": 0.1}, "stand still"),
    ({"time/data_share": 0.5}, "50% of the time"),
]


@pytest.mark.parametrize("change, told", TROUBLES)
def test_a_trouble_is_told_when_it_begins_and_when_it_comes_back(change, told):
    health = Health()
    assert health.update(FINE, 1.0) == []
    (warning,) = health.update(FINE | change, 2.0)
    assert warning.startswith("Since 2.000 kimg") and told in warning
    assert health.update(FINE | change, 3.0) == [] and health.troubles == {next(iter(health.troubles)): 2.0}
    assert health.update(FINE, 4.0) == []
    assert health.update(FINE | change, 5.0)[0].startswith("Since 5.000 kimg")


def test_several_troubles_are_several_sentences():
    changes = {name: value for change, _ in TROUBLES for name, value in change.items()}
    health = Health()
    health.update(FINE, 1.0)
    assert len(health.update(FINE | changes, 2.0)) == 5, "both explosions in one"


def test_what_never_moved_has_not_stopped_moving():
    health = Health()
    assert all(
        health.update(FINE | {"health/motion": value, "health/diversity": value}, 1.0) == []
        for value in (0.4, 0.01, 0.0)
    )


def test_probe_sees_appearances_and_motion():
    G = tiny.generator()
    seen = probe(G)
    assert seen == probe(G) and seen["health/diversity"] > 0 and seen["health/motion"] > 0
    for name, parameter in G.named_parameters():
        if "motion_time_fuser.affine" in name:
            parameter.data.zero_()
    assert probe(G)["health/motion"] == pytest.approx(0, abs=1e-4), "no motion code comes through"
    for parameter in G.backbone.mapping.parameters():
        parameter.data.zero_()
    assert probe(G)["health/diversity"] == pytest.approx(0, abs=1e-3), "no appearance code either"
