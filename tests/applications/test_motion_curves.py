"""applications.motion_curves: closed forms, and models whose motion is known."""

import itertools
import json
import math

import pytest
import torch

from applications.motion_curves import LEVELS, MotionCurves, motion_curves
from dnnlib.errors import UserError
from dnnlib.progress import Counter
from tests.helpers import tiny
from training.cameras import frontal_label
from training.sampling.clips import clip_spec, generate
from training.sampling.options import SamplingOptions

pytestmark = pytest.mark.usefixtures("one_thread")

FRAMES = 3


def measure(G, seeds=(0, 1), motion_seeds=(5, 6, 7), frames=FRAMES, batch=4):
    with Counter(None, unit="frame", silent=True) as counter:
        curves = motion_curves(G, seeds, motion_seeds, frames, counter, SamplingOptions(frames_per_batch=batch))
    assert counter.n == len(seeds) * len(motion_seeds) * frames
    return curves


def curves_of(energy, common, motions=2):
    """Return curves of one appearance with these energies [T] and common parts [T]."""
    return MotionCurves(
        seeds=(0,),
        motion_seeds=tuple(range(motions)),
        times=torch.linspace(0, 1, len(energy)),
        change=torch.ones(1, motions, len(energy)),
        energy=torch.tensor([energy], dtype=torch.float64),
        common=torch.tensor([common], dtype=torch.float64),
    )


@pytest.fixture(scope="module")
def G():
    return tiny.generator()


@pytest.fixture(scope="module")
def curves(G):
    return measure(G)


def test_curves_are_the_changes_of_the_frames(G, curves):
    """All that is measured, by its definition: pairs of motions one by one."""
    cameras = frontal_label().expand(FRAMES, -1)
    for row, seed in enumerate(curves.seeds):
        changes = []
        for motion_seed in curves.motion_seeds:
            [out] = generate(G, clip_spec(G, seed, motion_seed, cameras))
            shown = (out["image"].double().clamp(-1, 1) + 1) * LEVELS
            changes.append(shown - shown[0])
        d = torch.stack(changes)
        torch.testing.assert_close(curves.change[row], d.abs().mean(dim=(2, 3, 4)), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(curves.energy[row], d.square().mean(dim=(0, 2, 3, 4)), rtol=1e-3, atol=1e-6)
        products = [(d[a] * d[b]).mean(dim=(1, 2, 3)) for a, b in itertools.permutations(range(3), 2)]
        torch.testing.assert_close(curves.common[row], torch.stack(products).mean(dim=0), rtol=1e-3, atol=1e-6)


def test_curves_begin_at_zero_and_move(curves):
    assert (curves.change[..., 0] == 0).all()
    assert (curves.change[..., 1:] > 0).all()
    assert 0 < curves.motion_share() <= 1.5


@pytest.mark.parametrize("batch", [1, 2])
def test_batches_do_not_matter(G, curves, batch):
    others = measure(G, batch=batch)
    for name in ("change", "energy", "common"):
        torch.testing.assert_close(getattr(others, name), getattr(curves, name), rtol=1e-3, atol=1e-4)


def test_a_model_without_motion_has_curves_of_zeros():
    G = tiny.generator(generator__motion_weight=True)
    for name, parameter in G.named_parameters():
        if name.endswith("motion_time_fuser.weight"):
            parameter.data.zero_()
    curves = measure(G, batch=1)
    assert (curves.change == 0).all()
    assert curves.motion_share() is None
    assert curves.summary()["mean_last_change"] == 0
    assert "nan" not in curves.chart()


def test_a_motion_that_the_appearance_drives_is_not_decided_by_the_motion_code():
    curves = measure(tiny.generator(generator__motion_code="z_a"))
    assert (curves.change == curves.change[:, :1]).all()
    assert curves.change[..., -1].min() > 0
    assert curves.motion_share() == pytest.approx(0, abs=1e-12)


SHARES = [
    ([0, 4, 4], [0, 4, 4], 0),  # all codes alike
    ([0, 4, 4], [0, 0, 0], 1),  # nothing in common
    ([0, 2, 6], [0, 2, 0], 0.75),
    ([0, 1, 1], [0, -1, -1], 2),  # two that are opposite
]


@pytest.mark.parametrize("energy, common, share", SHARES)
def test_the_share_is_what_codes_do_not_have_in_common(energy, common, share):
    curves = curves_of(energy, common)
    assert curves.motion_share() == pytest.approx(share)


def test_one_motion_says_nothing_about_the_share(G):
    curves = measure(G, motion_seeds=(5,))
    assert math.isnan(curves.common.sum())
    assert curves.summary()["motion_share"] is None


def test_times_end_where_training_did():
    G = tiny.generator()
    G.max_time = 0.5
    assert measure(G).times.tolist() == [0, 0.25, 0.5]


def test_the_summary_is_plain(curves):
    summary = json.loads(json.dumps(curves.summary(), allow_nan=False))
    assert summary["appearances"] == 2
    assert summary["motions"] == 3
    assert summary["times"] == [0, 0.5, 1]
    assert summary["mean_change"] == pytest.approx(curves.change.mean(dim=(0, 1)).tolist())
    assert summary["mean_last_change"] == pytest.approx(summary["mean_change"][-1])
    assert summary["std_last_change"] == pytest.approx(curves.change[..., -1].std(correction=0).item())


def test_the_chart_has_a_curve_for_each_clip(curves):
    chart = curves.chart()
    assert chart.count("<polyline") == 6
    assert "appearance 1" in chart


@pytest.mark.parametrize(
    "changes, message",
    [({"frames": 1}, "at least 2"), ({"seeds": ()}, "give seeds"), ({"motion_seeds": ()}, "give seeds")],
)
def test_nothing_to_measure_is_refused(G, changes, message):
    with pytest.raises(UserError, match=message):
        measure(G, **changes)
