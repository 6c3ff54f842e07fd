"""metrics.multiview_scores: means over pairs of views by hand, with missing pairs, and through a generator."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from metrics.multiview import GEOMETRY_FILE, FourViews, protocol_cameras
from metrics.multiview_scores import MultiviewScores, definition_means, identity_metric, mean_over_pairs, warping_metric
from metrics.options import EvaluationOptions, EvaluationSubject
from metrics.protocols import parse_requests
from metrics.results import Result
from tests.helpers.tiny import pixels
from training import synthetic
from training.checkpoints.opener import load_generator
from training.data.frames import encode_png

pytestmark = pytest.mark.usefixtures("one_thread")
NAN = float("nan")


# --- Means ------------------------------------------------------------------------------------------------------------


def test_means_are_over_pairs_and_errors_over_videos():
    values = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]])
    found = mean_over_pairs(values)
    assert found.value == 4
    assert found.pairs == 6
    assert found.videos == 3
    means_of_videos = values.mean(axis=1)
    expected = means_of_videos.std(ddof=1) / 3**0.5
    assert found.standard_error == pytest.approx(expected)


def test_missing_pairs_and_videos_do_not_count():
    found = mean_over_pairs(np.array([[1.0, NAN], [3.0, 5.0], [NAN, NAN]]))
    assert found.value == 3
    assert found.pairs == 3
    assert found.videos == 2
    assert found.standard_error > 0


def test_nothing_has_no_mean():
    nothing = mean_over_pairs(np.full([2, 4], NAN))
    assert np.isnan(nothing.value)
    assert nothing.standard_error is None
    assert nothing.videos == 0


def test_one_video_has_no_error():
    one = mean_over_pairs(np.array([[1.0, 2.0]]))
    assert one.standard_error is None


def test_columns_are_grouped_by_definition():
    metric = warping_metric()
    columns = len(metric.columns)
    values = np.arange(2 * columns, dtype=float).reshape(2, columns)
    means = definition_means(metric, values)
    assert list(means) == ["we", "reference", "zbuffer", "no_warp"]
    own = values[:, :4]
    assert means["we"].value == own.mean()


# --- Numbers of one video ---------------------------------------------------------------------------------------------


class Faces:
    """Looks at the first pixel's red: 0 and 255 are opposite directions."""

    name = "faces"
    checksum = "f00d"
    dim = 2

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        red = frames[:, 0, 0, 0].double()
        angle = red / 255 * torch.pi
        return torch.stack([angle.cos(), angle.sin()], dim=1)


def test_identity_compares_all_six_pairs():
    metric = identity_metric("id", Faces())
    assert metric.key == {"detector": "faces", "checksum": "f00d"}
    images = np.zeros([4, 3, 8, 8], np.uint8)
    images[3, 0] = 255
    similarities = metric.measure(FourViews(images))
    assert np.allclose(similarities, [1, -1, 1, -1, -1, 1])


# --- Results ----------------------------------------------------------------------------------------------------------


def score(subject: EvaluationSubject, names: str, **options) -> dict[str, Result]:
    scores = MultiviewScores(subject, EvaluationOptions(**options))
    return {result.metric: result for result in scores.results(parse_requests(names))}


def test_one_pass_serves_all_metrics_of_a_snapshot(snapshot, tmp_path):
    subject = EvaluationSubject(snapshot=load_generator(snapshot), checksum="abc")
    results = score(subject, "cd3,we2", cache_folder=tmp_path)
    chamfer = results["cd3"]
    warping = results["we2"]
    assert chamfer.samples + chamfer.skipped <= 3
    assert warping.samples == 2
    assert set(chamfer.details) == {"pairs", "reference", "reference_sum"}
    assert set(warping.details) == {"pairs", "reference", "zbuffer", "no_warp"}

    alone = score(subject, "we2", cache_folder=tmp_path)
    assert alone["we2"].value == warping.value
    folders = list(tmp_path.iterdir())
    assert len(folders) == 2, "what is measured together is kept together"


def test_nothing_is_kept_of_a_snapshot_that_is_no_file(snapshot, tmp_path):
    subject = EvaluationSubject(snapshot=load_generator(snapshot))
    score(subject, "we2", cache_folder=tmp_path)
    assert not list(tmp_path.iterdir())


def write_images(folder: Path, images: np.ndarray) -> None:
    """Write four images uint8 [4, 3, R, R] as a folder of views."""
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        (folder / f"{index}.png").write_bytes(encode_png(image))


def test_faces_that_are_not_found_are_counted_in_a_warning(tmp_path):
    """Pure noise scores 0.98, for dlib's embeddings have a large mean; heads are found where people see one."""
    pytest.importorskip("dlib")
    pytest.importorskip("face_recognition_models")
    heads = [synthetic.render_clip(0, 128, 2).frames[0]] * 4
    write_images(tmp_path / "views" / "a", np.stack(heads))
    write_images(tmp_path / "views" / "b", pixels(1, 4, 3, 128, 128).numpy())
    results = score(EvaluationSubject(multiview_folder=tmp_path / "views"), "id-dlib1,id-dlib2")
    assert results["id-dlib1"].warnings == () and results["id-dlib1"].details["views_without_face"] == 0
    assert results["id-dlib2"].value > 0.9
    assert results["id-dlib2"].warnings == (
        "no face was found in 4 of 8 frames, which were embedded whole: their similarities are not those of faces.",
    )


def write_views(folder: Path, *, depth: float = 2.7, scale: float = 1.0) -> None:
    """Write a video's four images, and a geometry of points at random around the origin."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(4):
        grey = np.full([3, 8, 8], index * 9, np.uint8)
        (folder / f"{index}.png").write_bytes(encode_png(grey))
    points = np.random.default_rng(0).normal(0, 0.1 * scale, [4, 8, 8, 3])
    cameras = protocol_cameras()[[0, 1, 1, 0]].numpy()
    ones = np.ones([4, 8, 8])
    np.savez(folder / GEOMETRY_FILE, depth=depth * ones, points=points, opacity=ones, cameras=cameras)


def test_another_geometry_of_the_same_size_is_measured(tmp_path):
    subject = EvaluationSubject(multiview_folder=tmp_path / "views")
    write_views(tmp_path / "views" / "a")
    first = score(subject, "cd1", cache_folder=tmp_path / "cache")["cd1"]
    (tmp_path / "views" / "notes.txt").touch()
    write_views(tmp_path / "views" / "a", scale=2.0)
    second = score(subject, "cd1", cache_folder=tmp_path / "cache")["cd1"]
    assert second.value == pytest.approx(4 * first.value, rel=1e-4), "it is a squared length"
    assert first.warnings == () and "(1): notes.txt." in second.warnings[0]


def test_videos_without_any_geometry_are_refused_with_the_reason(tmp_path):
    write_views(tmp_path / "views" / "a")
    (tmp_path / "views" / "a" / GEOMETRY_FILE).unlink()
    subject = EvaluationSubject(multiview_folder=tmp_path / "views")
    with pytest.raises(UserError, match=f"^None of 1 videos can be scored, .*: CD and WE need {GEOMETRY_FILE}"):
        score(subject, "cd1", cache_folder=tmp_path / "cache")
    write_views(tmp_path / "views" / "a")
    assert score(subject, "cd1", cache_folder=tmp_path / "cache")["cd1"].samples == 1


def test_views_are_needed():
    scores = MultiviewScores(EvaluationSubject(), EvaluationOptions())
    with pytest.raises(UserError, match="--network or --multiview"):
        scores.check(parse_requests("cd"))
