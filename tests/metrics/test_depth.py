"""metrics.depth: true depths reach the floor, flat ones fail, and what agreement means on constructed maps."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.nn.functional import adaptive_avg_pool2d

from metrics import depth
from metrics.depth import CAMERAS, MAP_SIDE, Effort, agreement, background_score, depth_row, depth_score
from training import synthetic
from training.cameras import canonical_label, frontal_label
from training.checkpoints.opener import load_generator
from training.checkpoints.snapshots import Snapshot
from training.sampling.clips import generate_views
from training.synthetic.room import room_depth

pytestmark = pytest.mark.usefixtures("one_thread")
HASTY = Effort(frames=6, steps=3, people=2)


@pytest.fixture(scope="module")
def learned() -> depth.DepthRegressor:
    """A regressor that has learned for a few seconds: less sure of persons, and of the depth of a head."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depth, "SURE", 0.75)
        return depth.train_depth_regressor(effort=Effort(frames=120, steps=120, people=4))


@pytest.fixture
def easily_sure(monkeypatch) -> None:
    monkeypatch.setattr(depth, "SURE", 0.75)


def dim_is_near() -> depth.DepthRegressor:
    """A regressor for which the middle of a frame is the person, and the dark is near."""
    regressor = depth.DepthRegressor()
    person = np.zeros([MAP_SIDE, MAP_SIDE])
    person[8:24, 8:24] = 1

    def read(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        brightness = adaptive_avg_pool2d(torch.from_numpy(frames).double().mean(dim=1, keepdim=True), MAP_SIDE)
        return 2 + brightness[:, 0].numpy() / 255, np.broadcast_to(person, [len(frames), MAP_SIDE, MAP_SIDE])

    regressor.read = read
    return regressor


# --- Agreement on constructed maps ------------------------------------------------------------------------------------


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray]:
    """A bump in front of a wall: depth, and where the person is."""
    y, x = np.mgrid[-1 : 1 : MAP_SIDE * 1j, -1 : 1 : MAP_SIDE * 1j]
    person = (x**2 + y**2 < 0.5).astype(float)
    seen = np.where(person == 1, 2.4 + 0.2 * (x**2 + y**2), 3.0)
    return seen, person


def test_the_depth_that_is_seen_agrees(scene):
    seen, person = scene
    correlation, relief, error, gap, seen_gap = agreement(seen, seen, person)
    assert_allclose([correlation, relief, error], [1, 1, 0], atol=1e-7)
    assert gap == seen_gap == pytest.approx(0.55, abs=0.01)


def test_scale_and_shift_change_the_relief_alone(scene):
    seen, person = scene
    correlation, relief, error, *_ = agreement(0.3 * seen + 1, seen, person)
    assert_allclose([correlation, relief, error], [1, 0.3, 0], atol=1e-7)
    correlation, relief, *_ = agreement(5 - seen, seen, person)
    assert_allclose([correlation, relief], [-1, -1], atol=1e-7)


def test_a_flat_picture_has_no_agreement(scene):
    seen, person = scene
    found = agreement(np.full_like(seen, 2.7), seen, person)
    deviation = seen[person == 1].std()
    assert_allclose(found[:4], [0, 0, deviation, 0], atol=1e-9)


def test_the_room_counts_for_the_gap_alone(scene):
    seen, person = scene
    behind = np.where(person == 1, seen, 3.4)
    found = agreement(behind, seen, person)
    assert_allclose(found[:3], [1, 1, 0], atol=1e-7)
    assert found[3] == pytest.approx(found[4] + 0.4)


def test_unrelated_depths_leave_the_whole_error(scene):
    seen, person = scene
    noise = np.random.default_rng(0).normal(size=seen.shape)
    correlation, _, error, *_ = agreement(noise, seen, person)
    assert abs(correlation) < 0.15
    assert error == pytest.approx(seen[person == 1].std(), rel=0.02)


def test_frames_without_a_person_count_as_wrong(scene):
    seen, person = scene
    nothing = agreement(seen, seen, np.zeros_like(person))
    assert np.isnan(nothing).all()
    right = agreement(seen, seen, person)
    rows = np.stack([np.concatenate([right] * CAMERAS), np.concatenate([right, nothing])])
    score = depth_score(rows)
    assert score.value == pytest.approx((1 + 0.5) / 2)
    assert score.details["without_person"] == pytest.approx(1 / 4)
    assert background_score(rows).value == pytest.approx(right[3])
    assert np.isnan(background_score(rows * np.nan).value)


# --- Frames whose truth is known --------------------------------------------------------------------------------------


def test_a_person_is_what_is_nearer_than_the_room():
    identity = synthetic.random_identity(3)
    expression = synthetic.random_motion(4, 1).expressions[0]
    label = canonical_label().numpy()
    _, found = synthetic.render_frame(identity, expression, label, 64)
    person = synthetic.is_person(found, label)
    assert person[28:36, 28:36].all(), "the face is in the middle"
    assert not person[:4, :4].any() and not person[:4, -4:].any()
    ahead = np.array([[0.0], [0.0], [-1.0]], dtype=np.float32)
    assert found[person].max() < room_depth(np.array([0.0, 0.0, 2.7]), ahead)[0]


@pytest.mark.usefixtures("easily_sure")
def test_true_depths_reach_the_floor_and_flat_ones_do_not(learned):
    floor = learned.floor["depth"]
    assert floor.value > 0.7
    assert floor.details["without_person"] == 0
    gap = learned.floor["background"]
    assert gap.details["seen"] == pytest.approx(gap.value, rel=0.25)
    assert 0.3 < gap.value < 0.8

    frames, truth = depth._procedural_frames(0, 99, 4, CAMERAS, 1.0, False)
    flat = np.full_like(truth[:CAMERAS, 0], 2.7)
    row = depth._row(flat, learned, frames[:CAMERAS])
    assert depth_score(row[None]).value == pytest.approx(0, abs=1e-9)


def test_mirrored_frames_have_mirrored_depths(learned):
    frames, _ = depth._procedural_frames(0, 99, 2, 1, 1.0, False)
    seen, person = learned.read(frames)
    mirrored_seen, mirrored_person = learned.read(frames[..., ::-1].copy())
    both = (person > 0.75) & (mirrored_person[..., ::-1] > 0.75)
    assert both.mean() > 0.1
    assert np.abs(seen - mirrored_seen[..., ::-1])[both].mean() < 0.05


def test_learning_repeats():
    first, second = (depth.train_depth_regressor(effort=HASTY) for _ in range(2))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


# --- A generator's videos ---------------------------------------------------------------------------------------------


@pytest.fixture
def subject(snapshot) -> Snapshot:
    return load_generator(snapshot)


def test_rows_depend_on_seed_and_index_alone(subject):
    regressor = dim_is_near()
    row = depth_row(subject, regressor, 0, 2)
    assert row.shape == (depth.WIDTH,)
    depth_row(subject, regressor, 0, 1)
    assert np.isfinite(row).all()
    assert np.array_equal(depth_row(subject, regressor, 0, 2), row)
    assert not np.array_equal(depth_row(subject, regressor, 1, 2), row)


def test_rows_judge_the_depth_that_was_rendered(subject, monkeypatch):
    """A generator that renders one depth everywhere has no correlation, and no gap."""

    def flat(*arguments, **keywords) -> list[list[dict[str, torch.Tensor]]]:
        (views,) = generate_views(*arguments, **keywords)
        return [[view | {"image_depth": torch.full_like(view["image_depth"], 2.7)} for view in views]]

    monkeypatch.setattr(depth, "generate_views", flat)
    numbers = depth_row(subject, dim_is_near(), 0, 0).reshape(CAMERAS, 5)
    assert_allclose(numbers[:, [0, 1, 3]], 0, atol=1e-9)


@pytest.mark.parametrize("side", [8, 16, 32, 64, 128])
def test_depths_of_any_size_are_brought_to_the_places(side):
    """Of a plane that is tilted to one side: the middle of each place."""
    centres = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    tilted = centres.expand(1, 1, side, side)
    expected = (np.arange(MAP_SIDE) + 0.5) / MAP_SIDE
    found = depth.coarse(tilted)
    inside = slice(4, -4)  # of fewer pixels than places, the edges have no neighbours
    assert_allclose(found[0, 5, inside], expected[inside], atol=1e-9)


def test_the_network_takes_frames_of_any_size(learned):
    identity = synthetic.random_identity(3)
    expression = synthetic.random_motion(4, 1).expressions[0]
    image, _ = synthetic.render_frame(identity, expression, frontal_label(0.2).numpy(), 128)
    seen, person = learned.read(image[None])
    assert seen.shape == person.shape == (1, MAP_SIDE, MAP_SIDE)
    assert person[0, 16, 16] > 0.5
