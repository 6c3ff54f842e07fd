"""training.runs.health: one warning for each trouble when it begins, with the kimg, and again if it comes back."""

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


@pytest.mark.parametrize("change, words", TROUBLES)
def test_a_trouble_is_warned_of_when_it_begins_and_when_it_comes_back(change, words):
    health = Health()
    assert health.update(FINE, 1.0) == []
    (warning,) = health.update(FINE | change, 2.0)
    assert warning.startswith("Since 2.000 kimg")
    assert words in warning
    assert health.update(FINE | change, 3.0) == []
    assert list(health.troubles.values()) == [2.0]
    assert health.update(FINE, 4.0) == []
    (again,) = health.update(FINE | change, 5.0)
    assert again.startswith("Since 5.000 kimg")


def test_several_troubles_are_several_sentences():
    stats = dict(FINE)
    for change, _ in TROUBLES:
        stats |= change
    health = Health()
    health.update(FINE, 1.0)
    assert len(health.update(stats, 2.0)) == 5, "both explosions in one"


def test_what_never_moved_has_not_stopped_moving():
    health = Health()
    for value in (0.4, 0.01, 0.0):
        stats = FINE | {"health/motion": value, "health/diversity": value}
        assert health.update(stats, 1.0) == []


def test_statistics_without_diversity_and_motion():
    assert Health().update({"loss/g": 1.0}, 1.0) == []


def test_probe_sees_appearances_and_motion():
    G = tiny.generator()
    seen = probe(G)
    assert seen == probe(G)
    assert seen["health/diversity"] > 0
    assert seen["health/motion"] > 0


def test_probe_stays_within_the_trained_time():
    G = tiny.generator()
    G.max_time = 0.0
    assert probe(G)["health/motion"] == pytest.approx(0, abs=1e-4)


def test_probe_sees_that_no_motion_code_comes_through():
    G = tiny.generator()
    for name, parameter in G.named_parameters():
        if "motion_time_fuser.affine" in name:
            parameter.data.zero_()
    assert probe(G)["health/motion"] == pytest.approx(0, abs=1e-4)


def test_probe_sees_that_no_code_comes_through():
    G = tiny.generator()
    for name, parameter in G.named_parameters():
        if "motion_time_fuser.affine" in name or name.startswith("backbone.mapping."):
            parameter.data.zero_()
    assert probe(G)["health/diversity"] == pytest.approx(0, abs=1e-3)
