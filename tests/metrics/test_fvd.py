"""FVD and KVD from sources to results: numbers of a known detector, statistics files, what is said and refused."""

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from dnnlib.video import write_video
from metrics import fvd
from metrics.frechet import FeatureMoments, frechet_distance, kernel_distance
from metrics.fvd import VideoDistances
from metrics.options import EvaluationOptions, EvaluationSubject
from metrics.protocols import parse_requests
from metrics.video_sources import DatasetVideos, FolderVideos, Window
from tests.helpers.tiny import normal
from training.checkpoints.opener import load_generator
from training.data.dataset import ClipDataset

pytestmark = pytest.mark.usefixtures("one_thread")


class Means:
    """Features of a clip: its mean colour in three thirds of time."""

    name, checksum, dim = "means", "f00d", 9

    def __init__(self):
        self.clips = 0

    def __call__(self, clips: torch.Tensor) -> torch.Tensor:
        self.clips += len(clips)
        return torch.cat([part.float().mean(dim=(1, 3, 4)) for part in clips.tensor_split(3, dim=1)], dim=1)


@pytest.fixture
def detector(monkeypatch) -> Means:
    means = Means()
    monkeypatch.setattr(VideoDistances, "_detector", lambda self, request: means)
    return means


@pytest.fixture
def movies(tmp_path):
    """A folder of six noisy videos."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "movies"
    folder.mkdir()
    for index in range(6):
        frames = rng.integers(0, 256, [16, 16, 16, 3]) // 4 + rng.integers(0, 190, [16, 1, 1, 3])
        write_video(folder / f"{index}.mp4", frames.astype(np.uint8), 25)
    return folder


def features(source, count) -> torch.Tensor:
    return Means()(torch.from_numpy(np.stack([source.video(index) for index in range(count)]))).double()


def test_distances_are_those_of_the_features(detector, movies, heads, tmp_path):
    data = ClipDataset(heads)
    setting = EvaluationOptions(dataset=data, cache_folder=tmp_path / "cache")
    results = list(
        VideoDistances(EvaluationSubject(video_folder=movies), setting).results(parse_requests("fvd6_9f,kvd6_9f"))
    )
    fake, real = (features(source, 6) for source in (FolderVideos(movies, Window(9)), DatasetVideos(data, Window(9))))
    assert results[0].value == pytest.approx(
        frechet_distance(FeatureMoments.of(fake), FeatureMoments.of(real)).value, rel=1e-6
    )
    assert results[1].value == pytest.approx(kernel_distance(fake, real).value, rel=1e-6)
    assert detector.clips == 12, "both distances share the features"
    again = list(VideoDistances(EvaluationSubject(video_folder=movies), setting).results(parse_requests("fvd6_9f")))
    assert again[0].value == results[0].value and detector.clips == 12, "from the cache"
    assert results[0].dataset == data.fingerprint() and results[0].detector == "means"
    assert any("too few for a covariance" in warning for warning in results[0].warnings)


def test_bad_and_missing_videos_are_told(detector, movies, heads):
    (movies / "2.mp4").write_bytes(b"no video")
    (result,) = VideoDistances(
        EvaluationSubject(video_folder=movies), EvaluationOptions(dataset=ClipDataset(heads))
    ).results(parse_requests("fvd9_9f"))
    assert result.samples == 5 and result.skipped == 1
    assert any("5 scored videos in place of 9" in text for text in result.warnings)
    assert any("2.mp4" in text for text in result.warnings)


def test_statistics_stand_for_the_dataset(detector, movies, heads, tmp_path):
    path, requests = tmp_path / "real.npz", parse_requests("fvd6_9f,kvd6_9f")
    subject = EvaluationSubject(video_folder=movies)
    first = list(
        VideoDistances(subject, EvaluationOptions(dataset=ClipDataset(heads), save_real_stats=path)).results(requests)
    )
    second = list(VideoDistances(subject, EvaluationOptions(real_stats=path)).results(requests))
    assert [r.value for r in first] == [r.value for r in second]
    with pytest.raises(UserError, match="protocol"):
        VideoDistances(subject, EvaluationOptions(real_stats=path)).check(parse_requests("fvd7_9f"))


def test_generated_videos_take_their_cameras_from_the_dataset_or_the_snapshot(detector, snapshot, heads):
    subject = EvaluationSubject(snapshot=load_generator(snapshot), checksum="abc")
    (request,) = parse_requests("fvd4_9f")
    with_data = VideoDistances(subject, EvaluationOptions(dataset=ClipDataset(heads)))._scored_videos(request)
    assert [len(path) for path in with_data.cameras] == [16, 16, 16]
    without = VideoDistances(subject, EvaluationOptions())._scored_videos(request)
    assert np.array_equal(np.stack(without.cameras), subject.snapshot.camera_bank.numpy())


@pytest.mark.parametrize(
    "subject, setting, told",
    [
        (EvaluationSubject(), EvaluationOptions(), "--network or --videos"),
        (EvaluationSubject(video_folder="somewhere"), EvaluationOptions(), "--data or --real-stats"),
    ],
)
def test_what_is_missing_is_told_before_any_work(detector, subject, setting, told):
    with pytest.raises(UserError, match=told):
        VideoDistances(subject, setting).check(parse_requests("fvd4_9f"))


def test_the_kernel_distance_needs_features(detector, movies, heads, tmp_path, monkeypatch):
    distances = VideoDistances(
        EvaluationSubject(video_folder=movies), EvaluationOptions(real_stats=tmp_path / "official.pkl")
    )
    known = FeatureMoments.of(normal(0, 50, 9))
    monkeypatch.setattr(fvd, "read_reference_pickle", lambda path: known)
    (value,) = distances.results(parse_requests("fvd6_9f"))
    assert np.isfinite(value.value) and value.details["real_videos"] == 50
    with pytest.raises(UserError, match="give --data"):
        list(distances.results(parse_requests("kvd6_9f")))
