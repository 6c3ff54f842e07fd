"""metrics.controls: results for a snapshot, complete and repeatable, with what procedural heads have beside them."""

import json
import math

import numpy as np
import pytest

from dnnlib.errors import UserError
from metrics import controls, depth, motion_share, pose, variety
from metrics.controls import Controls
from metrics.frame_regressor import FrameRegressor
from metrics.options import EvaluationOptions, EvaluationSubject
from metrics.protocols import parse_requests
from metrics.results import Result
from metrics.variety import Estimate
from training.checkpoints.opener import load_generator
from training.data.dataset import ClipDataset

pytestmark = pytest.mark.usefixtures("one_thread")
REQUESTS = parse_requests("pose3,pose-side2,depth3,background2,diversity4,motion3,motion-share2")


@pytest.fixture(scope="module")
def regressor() -> FrameRegressor:
    hasty = pose.Effort(frames=6, steps=3, people=2)
    return pose.train_pose_regressor(32, effort=hasty)


@pytest.fixture(scope="module")
def depth_regressor() -> depth.DepthRegressor:
    """An untrained one, that says that all is a person but the edges."""
    regressor = depth.DepthRegressor().eval().requires_grad_(False)
    regressor.floor = {"depth": Estimate(0.97, 0.01), "background": Estimate(0.6, 0.02, {"seen": 0.61})}
    person = np.zeros([depth.MAP_SIDE, depth.MAP_SIDE])
    person[4:-4, 4:-4] = 1
    see = regressor.read
    regressor.read = lambda frames: (see(frames)[0], np.stack([person] * len(frames)))
    return regressor


@pytest.fixture
def subject(snapshot) -> EvaluationSubject:
    return EvaluationSubject(snapshot=load_generator(snapshot), checksum="abc")


@pytest.fixture
def score(subject, regressor, depth_regressor, monkeypatch):
    """A function of options that gives results by name."""
    monkeypatch.setattr(controls, "_trained_regressor", lambda side, yaw_range: regressor)
    monkeypatch.setattr(controls, "_trained_depth_regressor", lambda: depth_regressor)
    monkeypatch.setattr(controls, "PROCEDURAL_VIDEOS", 3)

    def run(**options) -> dict[str, Result]:
        family = Controls(subject, EvaluationOptions(**options))
        family.check(REQUESTS)
        return {result.metric: result for result in family.results(REQUESTS)}

    return run


def numbers(results: dict[str, Result]) -> list:
    return [(result.value, result.standard_error, result.details) for result in results.values()]


def test_results_are_complete(score, heads):
    results = score(dataset=ClipDataset(heads))
    samples = {name: result.samples for name, result in results.items()}
    assert samples == {request.metric: request.videos for request in REQUESTS}
    for result in results.values():
        assert math.isfinite(result.value)
        assert result.standard_error > 0
        assert result.source["snapshot"] == "abc"
        line = json.loads(result.json())
        assert line["details"] == result.details


def test_procedural_heads_stand_beside_the_generator(score, heads, regressor, depth_regressor):
    results = score(dataset=ClipDataset(heads))
    assert results["pose3"].details["floor"] == regressor.floor.value
    assert results["depth3"].details["floor"] == depth_regressor.floor["depth"].value
    assert results["background2"].details["floor_error"] == depth_regressor.floor["background"].standard_error
    assert 0.3 < results["motion-share2"].details["procedural"] < 0.7
    diversity = results["diversity4"].details["procedural"]
    motion = results["motion3"].details["procedural"]
    assert diversity > 10 > motion > 0


def test_results_depend_on_the_seed_alone(score):
    first = score()
    assert numbers(score()) == numbers(first)
    other = score(seed=1)
    for name, result in other.items():
        assert result.value != first[name].value


def test_results_are_kept(score, tmp_path, monkeypatch):
    first = score(cache_folder=tmp_path)

    def fail(*arguments) -> None:
        pytest.fail("it is in the cache")

    monkeypatch.setattr(pose, "pose_row", fail)
    monkeypatch.setattr(variety, "diversity_row", fail)
    monkeypatch.setattr(variety, "motion_row", fail)
    monkeypatch.setattr(depth, "depth_row", fail)
    monkeypatch.setattr(motion_share, "motion_share_row", fail)
    assert numbers(score(cache_folder=tmp_path)) == numbers(first)


def test_files_cannot_be_asked_for_views(tmp_path):
    family = Controls(EvaluationSubject(video_folder=tmp_path), EvaluationOptions())
    with pytest.raises(UserError, match="--network"):
        family.check(REQUESTS)
    family.check([])


def test_the_regressor_is_trained_once(subject, monkeypatch, regressor):
    calls = []

    def train(side: int, yaw_range: tuple[float, float], progress: bool) -> FrameRegressor:
        calls.append((side, yaw_range))
        return regressor

    monkeypatch.setattr(pose, "train_pose_regressor", train)
    controls._trained_regressor.cache_clear()
    family = Controls(subject, EvaluationOptions())
    results = list(family.results(parse_requests("pose2,pose-side2,pose3")))
    assert len(results) == 3
    assert calls == [(32, pose.FRONT), (32, pose.SIDES)]
    controls._trained_regressor.cache_clear()
