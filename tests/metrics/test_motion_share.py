"""metrics.motion_share: constructed motions have the share that was put in; a frozen motion code has none."""

import numpy as np
import pytest

import metrics.motion_share
from metrics.motion_share import (
    MOMENTS,
    MOTIONS,
    PROCEDURAL_WIDTH,
    WIDTH,
    energies_and_variance,
    motion_share,
    motion_share_row,
    procedural_row,
    reachable_share,
    shared_energy,
)
from training.checkpoints.opener import load_generator
from training.checkpoints.snapshots import Snapshot

pytestmark = pytest.mark.usefixtures("one_thread")


def clips_of(common: float, own: float, seed: int) -> list[np.ndarray]:
    """Grey clips of one person whose changes are so much of a common one, and so much of their own, in grey levels."""
    rng = np.random.default_rng(seed)
    shape = [len(MOMENTS), 1, 64, 64]
    still = np.full(shape, 128.0)

    def change() -> np.ndarray:
        coarse = rng.normal(size=[len(MOMENTS), 1, 16, 16])
        coarse[0] = 0
        return np.kron(coarse, np.ones([1, 1, 4, 4]))

    together = common * change()
    clips = [still + together + own * change() for _ in range(MOTIONS)]
    return [np.clip(clip, 0, 255).round().astype(np.uint8).repeat(3, axis=1) for clip in clips]


@pytest.mark.parametrize("common, own, share", [(12, 0, 0.0), (0, 12, 1.0), (12, 12, 0.5), (16, 8, 0.2)])
def test_the_share_is_what_was_put_in(common, own, share):
    rows = np.stack([shared_energy(clips_of(common, own, seed)) for seed in range(8)])
    found = motion_share(rows)
    assert found.value == pytest.approx(share, abs=0.03)
    assert found.standard_error < 0.03


def test_what_does_not_move_has_no_share():
    rows = np.stack([shared_energy(clips_of(0, 0, 0))] * 2)
    assert motion_share(rows).value == 0
    assert motion_share(rows).standard_error is None


def test_the_standard_error_is_that_of_repeated_draws():
    rng = np.random.default_rng(0)

    def rows(count: int) -> np.ndarray:
        energy = rng.gamma(4, size=count)
        return np.stack([energy, energy * rng.uniform(0.2, 0.6, count)], axis=1)

    shares = [motion_share(rows(50)).value for _ in range(400)]
    estimated = np.mean([motion_share(rows(50)).standard_error for _ in range(50)])
    assert estimated == pytest.approx(np.std(shares), rel=0.15)


@pytest.fixture
def subject(snapshot) -> Snapshot:
    return load_generator(snapshot)


def test_rows_depend_on_seed_and_index_alone(subject):
    row = motion_share_row(subject, 0, 1)
    assert row.shape == (WIDTH,)
    assert row[0] > 0
    assert np.array_equal(motion_share_row(subject, 0, 1), row)
    assert not np.array_equal(motion_share_row(subject, 0, 2), row)
    assert not np.array_equal(motion_share_row(subject, 1, 1), row)


def test_no_two_rows_share_a_motion(subject, monkeypatch):
    """The standard error takes them for independent."""
    codes = set()

    def note(snapshot, spec):
        codes.add(spec.z_motion.numpy().tobytes())
        return np.zeros([len(spec.times), 3, 32, 32], np.uint8)

    monkeypatch.setattr(metrics.motion_share, "still_frames", note)
    for index in range(3):
        motion_share_row(subject, 0, index)
    assert len(codes) == 3 * MOTIONS


def test_a_generator_that_does_not_hear_its_motion_code_has_no_share(subject, monkeypatch):
    G = subject.G
    ours = G.motion_code
    monkeypatch.setattr(G, "motion_code", lambda z, z_motion: ours(z, z_motion * 0 + 1))
    energy, common = motion_share_row(subject, 0, 0)
    assert common == pytest.approx(energy)
    assert motion_share(np.array([[energy, common]])).value == pytest.approx(0, abs=1e-9)


def paths(correlation: float, count: int, features: int, rng: np.random.Generator) -> np.ndarray:
    """Features [count, T, features] of stationary motions whose neighbouring moments correlate, of variance 1 each."""
    steps = [rng.normal(size=[count, features])]
    for _ in MOMENTS[1:]:
        fresh = rng.normal(size=[count, features])
        steps.append(correlation * steps[-1] + np.sqrt(1 - correlation**2) * fresh)
    return np.stack(steps, axis=1)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_motions_with_one_first_frame_reach_what_motions_with_different_ones_foretell(correlation):
    """The truth: paths that go on from one first frame, in every way they can; the energy left to what differs."""
    rng = np.random.default_rng(3)
    foretold = reachable_share(np.stack([energies_and_variance(paths(correlation, 8, 400, rng)) for _ in range(20)]))
    own = np.array([1 - correlation ** (2 * step) for step in (1, 2, 3)])
    expected = np.array([(1 - correlation**step) ** 2 for step in (1, 2, 3)])
    assert foretold.value == pytest.approx(own.sum() / (own + expected).sum(), abs=0.01)
    assert 0 < foretold.standard_error < 0.01


def test_the_jackknife_is_the_spread_of_repeated_draws():
    rng = np.random.default_rng(5)

    def estimate():
        return reachable_share(np.stack([energies_and_variance(paths(0.5, 8, 4, rng)) for _ in range(20)]))

    drawn = [estimate() for _ in range(200)]
    spread = np.std([each.value for each in drawn])
    assert np.mean([each.standard_error for each in drawn]) == pytest.approx(spread, rel=0.2)


def test_what_does_not_move_reaches_nothing():
    assert reachable_share(np.zeros([2, PROCEDURAL_WIDTH])).value == 0


def test_procedural_heads_reach_about_half():
    rows = np.stack([procedural_row(25.0, 0, index) for index in range(2)])
    assert 0.35 < reachable_share(rows).value < 0.65
