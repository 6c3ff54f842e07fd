"""metrics.controls: results for a snapshot, complete and repeatable, with what procedural heads have beside them."""

import json
import math

import pytest

from dnnlib.errors import UserError
from metrics import controls, pose, variety
from metrics.controls import Controls
from metrics.options import EvaluationOptions, EvaluationSubject
from metrics.protocols import parse_requests
from training.checkpoints.opener import load_generator
from training.data.dataset import ClipDataset

pytestmark = pytest.mark.usefixtures("one_thread")
REQUESTS = parse_requests("pose3,diversity4,motion3")


@pytest.fixture(scope="module")
def regressor() -> pose.PoseRegressor:
    return pose.train_pose_regressor(32, effort=pose.Effort(frames=6, steps=3, people=2))


@pytest.fixture
def scored(snapshot, regressor, monkeypatch):
    """A function of a setting to results by name."""
    monkeypatch.setattr(controls, "_trained_regressor", lambda *_: regressor)
    monkeypatch.setattr(controls, "PROCEDURAL_VIDEOS", 3)

    def run(setting: EvaluationOptions) -> dict:
        family = Controls(EvaluationSubject(snapshot=load_generator(snapshot), checksum="abc"), setting)
        family.check(REQUESTS)
        return {result.metric: result for result in family.results(REQUESTS)}

    return run


def numbers(results: dict) -> dict:
    return {name: (result.value, result.standard_error, result.details) for name, result in results.items()}


def test_results_are_complete(scored, heads, regressor):
    results = scored(EvaluationOptions(dataset=ClipDataset(heads)))
    assert list(results) == ["pose3", "diversity4", "motion3"]
    assert [result.samples for result in results.values()] == [3, 4, 3]
    for result in results.values():
        assert math.isfinite(result.value) and result.standard_error > 0
        assert result.source["snapshot"] == "abc"
        assert json.loads(result.json())["details"] == result.details
    assert results["pose3"].details["floor"] == regressor.floor.value
    assert results["diversity4"].details["procedural"] > 10 > results["motion3"].details["procedural"] > 0


def test_results_depend_on_the_seed_alone(scored, tmp_path, monkeypatch):
    first = numbers(scored(EvaluationOptions(cache_folder=tmp_path)))
    assert numbers(scored(EvaluationOptions())) == first
    other = numbers(scored(EvaluationOptions(seed=1)))
    assert all(other[name][0] != first[name][0] for name in first)
    for module, row in ((pose, "pose_row"), (variety, "diversity_row"), (variety, "motion_row")):
        monkeypatch.setattr(module, row, lambda *_: pytest.fail("it is in the cache"))
    assert numbers(scored(EvaluationOptions(cache_folder=tmp_path))) == first


def test_files_cannot_be_asked_for_views(tmp_path):
    with pytest.raises(UserError, match="--network"):
        Controls(EvaluationSubject(video_folder=tmp_path), EvaluationOptions()).check(REQUESTS)
    Controls(EvaluationSubject(video_folder=tmp_path), EvaluationOptions()).check([])


def test_the_regressor_is_trained_once(snapshot, monkeypatch, regressor):
    calls = []
    monkeypatch.setattr(pose, "train_pose_regressor", lambda *_, **__: calls.append(0) or regressor)
    controls._trained_regressor.cache_clear()
    family = Controls(EvaluationSubject(snapshot=load_generator(snapshot), checksum="abc"), EvaluationOptions())
    assert len(list(family.results(parse_requests("pose2,pose3")))) == 2 and len(calls) == 1
    controls._trained_regressor.cache_clear()
