"""Means over pairs of views: by hand, with missing pairs, and through a generator."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from metrics.multiview_scores import MultiviewScores, definition_means, identity_metric, mean_over_pairs, warping_metric
from metrics.options import EvaluationOptions, EvaluationSubject
from metrics.protocols import parse_requests
from training.checkpoints.opener import load_generator

pytestmark = pytest.mark.usefixtures("one_thread")
NAN = float("nan")


def test_means_are_over_pairs_and_errors_over_videos():
    values = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]])
    found = mean_over_pairs(values)
    assert found.value == 4 and (found.pairs, found.videos) == (6, 3)
    assert found.standard_error == pytest.approx(values.mean(axis=1).std(ddof=1) / 3**0.5)


def test_missing_pairs_and_videos_do_not_count():
    found = mean_over_pairs(np.array([[1.0, NAN], [3.0, 5.0], [NAN, NAN]]))
    assert found.value == 3 and (found.pairs, found.videos) == (3, 2) and found.standard_error > 0
    nothing = mean_over_pairs(np.full([2, 4], NAN))
    assert np.isnan(nothing.value) and nothing.standard_error is None and nothing.videos == 0
    assert mean_over_pairs(np.array([[1.0, 2.0]])).standard_error is None


def test_columns_are_grouped_by_definition():
    score = warping_metric()
    means = definition_means(score, np.arange(2 * len(score.columns), dtype=float).reshape(2, -1))
    assert list(means) == ["we", "reference", "zbuffer", "no_warp"]
    assert means["we"].value == np.mean([0, 1, 2, 3, 16, 17, 18, 19])


class Faces:
    """Looks at the first pixel's red: 0 and 255 are opposite directions."""

    name, checksum, dim = "faces", "f00d", 2

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        angle = frames[:, 0, 0, 0].double() / 255 * torch.pi
        return torch.stack([angle.cos(), angle.sin()], dim=1)


def test_identity_compares_all_six_pairs(snapshot):
    score = identity_metric("id", Faces())
    source = MultiviewScores(
        EvaluationSubject(snapshot=load_generator(snapshot), checksum="a"), EvaluationOptions()
    )._source
    views = replace(source.views(0), images=np.zeros([4, 3, 8, 8], np.uint8))
    views.images[3, 0] = 255
    assert np.allclose(score.measure(views), [1, -1, 1, -1, -1, 1])
    assert score.key == {"detector": "faces", "checksum": "f00d"}


def test_one_pass_serves_all_scores_of_a_snapshot(snapshot, tmp_path):
    subject, setting = (
        EvaluationSubject(snapshot=load_generator(snapshot), checksum="abc"),
        EvaluationOptions(detector_weights="random", cache_folder=tmp_path),
    )
    together = {r.metric: r for r in MultiviewScores(subject, setting).results(parse_requests("cd3,we2"))}
    assert together["cd3"].samples + together["cd3"].skipped <= 3 and together["we2"].samples == 2
    assert {"reference", "reference_sum", "pairs"} <= set(together["cd3"].details)
    assert {"reference", "zbuffer", "no_warp"} <= set(together["we2"].details)
    (alone,) = MultiviewScores(subject, setting).results(parse_requests("we2"))
    assert alone.value == together["we2"].value
    assert len(list(tmp_path.iterdir())) == 2, "what is measured together is kept together"


def test_nothing_is_kept_of_a_snapshot_that_is_no_file(snapshot, tmp_path):
    list(
        MultiviewScores(
            EvaluationSubject(snapshot=load_generator(snapshot)), EvaluationOptions(cache_folder=tmp_path)
        ).results(parse_requests("we2"))
    )
    assert not list(tmp_path.iterdir())


def test_views_are_needed():
    with pytest.raises(UserError, match="--network or --multiview"):
        MultiviewScores(EvaluationSubject(), EvaluationOptions()).check(parse_requests("cd"))
