"""metrics.fvd: numbers of a known detector, statistics files, what is said and refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from dnnlib.video import read_frames, write_video
from metrics import fvd
from metrics.frechet import FeatureMoments, frechet_distance, kernel_distance
from metrics.fvd import VideoDistances
from metrics.options import EvaluationOptions, EvaluationSubject
from metrics.protocols import parse_request, parse_requests
from metrics.results import Result
from metrics.video_sources import DatasetVideos, FolderVideos, VideoSource, Window
from tests.helpers.noise import edit_frame, make, store_uncompressed
from tests.helpers.tiny import normal
from training.checkpoints.opener import load_generator
from training.data.dataset import ClipDataset
from training.data.frames import encode_png

pytestmark = pytest.mark.usefixtures("one_thread")


class Means:
    """Features of a clip: its mean colour in three thirds of time."""

    name = "means"
    checksum = "f00d"
    dim = 9

    def __init__(self):
        self.clips = 0

    def __call__(self, clips: torch.Tensor) -> torch.Tensor:
        self.clips += len(clips)
        thirds = clips.float().tensor_split(3, dim=1)
        return torch.cat([third.mean(dim=(1, 3, 4)) for third in thirds], dim=1)


@pytest.fixture
def detector(monkeypatch) -> Means:
    means = Means()
    monkeypatch.setattr(VideoDistances, "_detector", lambda self, request: means)
    return means


@pytest.fixture
def movies(tmp_path) -> Path:
    """A folder of six noisy videos."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "movies"
    folder.mkdir()
    for index in range(6):
        noise = rng.integers(0, 64, [16, 16, 16, 3])
        colours = rng.integers(0, 190, [16, 1, 1, 3])
        frames = (noise + colours).astype(np.uint8)
        write_video(folder / f"{index}.mp4", frames, 25)
    return folder


def score(movies: Path, names: str, **options) -> list[Result]:
    """Results for the videos of a folder."""
    subject = EvaluationSubject(video_folder=movies)
    distances = VideoDistances(subject, EvaluationOptions(**options))
    return list(distances.results(parse_requests(names)))


def features(source: VideoSource, count: int) -> torch.Tensor:
    videos = np.stack([source.video(index) for index in range(count)])
    return Means()(torch.from_numpy(videos)).double()


def test_distances_are_those_of_the_features(detector, movies, heads):
    data = ClipDataset(heads)
    frechet, kernel = score(movies, "fvd6_9f,kvd6_9f", dataset=data)
    scored = features(FolderVideos(movies, Window(9)), 6)
    real = features(DatasetVideos(data, Window(9)), 6)
    expected = frechet_distance(FeatureMoments.of(scored), FeatureMoments.of(real))
    assert frechet.value == pytest.approx(expected.value, rel=1e-6)
    assert kernel.value == pytest.approx(kernel_distance(scored, real).value, rel=1e-6)
    assert detector.clips == 12, "both distances share the features"


def test_results_say_what_they_come_from(detector, movies, heads):
    data = ClipDataset(heads)
    (result,) = score(movies, "fvd6_9f", dataset=data)
    assert result.dataset == data.fingerprint()
    assert result.detector == "means"
    assert result.detector_checksum == "f00d"
    assert "too few for a covariance" in result.warnings[0]


def test_features_are_kept(detector, movies, heads, tmp_path):
    options = {"dataset": ClipDataset(heads), "cache_folder": tmp_path / "cache"}
    (first,) = score(movies, "fvd6_9f", **options)
    seen = detector.clips
    (again,) = score(movies, "fvd6_9f", **options)
    assert again.value == first.value
    assert detector.clips == seen


@pytest.fixture
def frames(movies, tmp_path) -> Path:
    """The videos as folders of uncompressed frames."""
    folder = tmp_path / "frames"
    for movie in movies.iterdir():
        (folder / movie.stem).mkdir(parents=True)
        for index, frame in enumerate(read_frames(movie)):
            path = folder / movie.stem / f"{index:05d}.png"
            path.write_bytes(encode_png(frame.transpose(2, 0, 1)))
    store_uncompressed(folder)
    return folder


def test_frames_edited_in_place_are_looked_at_again(detector, frames, heads, tmp_path):
    """All that their names and sizes say is as it was."""
    data = tmp_path / "data"
    shutil.copytree(heads, data)
    store_uncompressed(data)
    options = {"cache_folder": tmp_path / "cache"}
    (first,) = score(frames, "fvd6_9f", dataset=ClipDataset(data), **options)
    value = first.value
    for folder in (frames, data):
        for path in folder.rglob("*.png"):
            edit_frame(path, lambda pixels: 255 - pixels // 2)
        (result,) = score(frames, "fvd6_9f", dataset=ClipDataset(data), **options)
        (alone,) = score(frames, "fvd6_9f", dataset=ClipDataset(data))
        assert result.value == alone.value != value
        value = result.value


def test_an_ffmpeg_that_is_mended_is_noticed(detector, movies, heads, tmp_path, monkeypatch):
    broken = tmp_path / "ffmpeg"
    broken.write_text('#!/bin/sh\ncase "$*" in *-version) ;; *) echo it has no decoders >&2; exit 1;; esac\n')
    broken.chmod(0o755)
    options = {"dataset": ClipDataset(heads), "cache_folder": tmp_path / "cache"}
    with monkeypatch.context() as patch:
        patch.setenv("IMAGEIO_FFMPEG_EXE", str(broken))
        with pytest.raises(UserError, match=r"^None of 6 videos .*0\.mp4.*it has no decoders.* \(and 3 more\)\.$"):
            score(movies, "fvd6_9f", **options)
    (result,) = score(movies, "fvd6_9f", **options)
    assert (result.samples, result.skipped) == (6, 0)


def test_videos_that_are_too_short_are_named_with_their_lengths(detector, tmp_path, heads):
    movies = tmp_path / "movies"
    movies.mkdir()
    for length in (5, 16):
        write_video(movies / f"{length}.mp4", np.zeros([length, 16, 16, 3], np.uint8), 25)
    sentence = r"^1 of 2 videos can be scored, and 2 or more are needed: .*/5.mp4 has 5 frames: the protocol needs 9\.$"
    with pytest.raises(UserError, match=sentence):
        score(movies, "fvd6_9f", dataset=ClipDataset(heads))


def test_where_videos_are_too_few_what_is_not_taken_is_named(detector, movies, heads, tmp_path):
    (tmp_path / "few").mkdir()
    for name in ("a.mp4", "more/b.mp4", "c.mpg"):
        (tmp_path / "few" / name).parent.mkdir(exist_ok=True)
        shutil.copy(movies / "0.mp4", tmp_path / "few" / name)
    with pytest.raises(
        UserError, match=r"2 or more are needed, and there is 1: .* Not taken: .* \(2\): c\.mpg, more/\.$"
    ):
        score(tmp_path / "few", "fvd6_9f", dataset=ClipDataset(heads))


def test_bad_and_missing_videos_are_named(detector, movies, heads):
    (movies / "2.mp4").write_bytes(b"no video")
    (movies / "7.mpg").write_bytes(b"not taken")
    (result,) = score(movies, "fvd9_9f", dataset=ClipDataset(heads))
    assert result.samples == 5
    assert result.skipped == 1
    warnings = "\n".join(result.warnings)
    assert "5 scored videos in place of 9" in warnings
    assert "2.mp4" in warnings
    assert "(1): 7.mpg." in warnings


# --- Statistics in place of the dataset -------------------------------------------------------------------------------


def test_statistics_stand_for_the_dataset(detector, movies, heads, tmp_path):
    path = tmp_path / "real.npz"
    first = score(movies, "fvd6_9f,kvd6_9f", dataset=ClipDataset(heads), save_real_stats=path)
    second = score(movies, "fvd6_9f,kvd6_9f", real_stats=path)
    assert [result.value for result in first] == [result.value for result in second]
    assert [result.dataset for result in second] == [ClipDataset(heads).fingerprint()] * 2


def test_results_name_the_dataset_that_the_statistics_are_of(detector, movies, heads, tmp_path):
    path = tmp_path / "real.npz"
    other = ClipDataset(make(tmp_path / "other", lengths=(16, 16)))
    score(movies, "fvd6_9f", dataset=other, save_real_stats=path)
    (result,) = score(movies, "fvd6_9f", dataset=ClipDataset(heads), real_stats=path)
    assert result.dataset == other.fingerprint()


def test_statistics_of_another_protocol_are_refused(detector, movies, heads, tmp_path):
    path = tmp_path / "real.npz"
    score(movies, "fvd6_9f", dataset=ClipDataset(heads), save_real_stats=path)
    subject = EvaluationSubject(video_folder=movies)
    distances = VideoDistances(subject, EvaluationOptions(real_stats=path))
    with pytest.raises(UserError, match="protocol"):
        distances.check(parse_requests("fvd7_9f"))


@pytest.mark.parametrize(
    "names, more, sentence",
    [
        (
            "fvd6_9f,fvd6_16f",
            {},
            r"one protocol's .* asks for 2 \(pv3d, 6 videos of 9 frames, .*; .* of 16 frames",
        ),
        ("kvd6_9f,kvd7_9f", {}, "asks for 2 .*6 videos.*7 videos"),
        ("fvd6_9f", {"real_stats": Path("other.npz")}, "without --real-stats"),
        ("cd", {}, "ask for one of them with --metrics"),
        ("fvd6_9f", {"save_real_stats": Path("real.pkl")}, "a name that ends in .npz"),
    ],
)
def test_statistics_that_would_be_lost_are_refused_before_any_work(detector, movies, heads, names, more, sentence):
    options = EvaluationOptions(**{"dataset": ClipDataset(heads), "save_real_stats": Path("real.npz"), **more})
    distances = VideoDistances(EvaluationSubject(video_folder=movies), options)
    requests = [request for request in parse_requests(names) if request.kind in distances.kinds]
    with pytest.raises(UserError, match=sentence):
        distances.check(requests)
    assert detector.clips == 0


def test_statistics_of_something_else_are_not_replaced(detector, movies, heads, tmp_path):
    path = tmp_path / "real.npz"
    score(movies, "fvd6_9f", dataset=ClipDataset(heads), save_real_stats=path)
    score(movies, "fvd6_9f", dataset=ClipDataset(heads), save_real_stats=path)  # the same command again
    kept = path.read_bytes()
    other = ClipDataset(make(tmp_path / "other", lengths=(16, 16)))
    for names, dataset in (("fvd7_9f", ClipDataset(heads)), ("fvd6_9f", other)):
        distances = VideoDistances(
            EvaluationSubject(video_folder=movies), EvaluationOptions(dataset=dataset, save_real_stats=path)
        )
        with pytest.raises(UserError, match="real.npz is there, and holds other statistics"):
            distances.check(parse_requests(names))
    assert path.read_bytes() == kept


def test_both_distances_of_one_protocol_share_a_file(detector, movies, heads, tmp_path):
    options = EvaluationOptions(dataset=ClipDataset(heads), save_real_stats=tmp_path / "real.npz")
    VideoDistances(EvaluationSubject(video_folder=movies), options).check(parse_requests("fvd6_9f,kvd6_9f"))


def test_the_kernel_distance_needs_features(detector, movies, tmp_path, monkeypatch):
    known = FeatureMoments.of(normal(0, 50, 9))
    monkeypatch.setattr(fvd, "read_reference_pickle", lambda path: known)
    official = tmp_path / "official.pkl"
    (result,) = score(movies, "fvd6_9f", real_stats=official)
    assert np.isfinite(result.value)
    assert result.details["real_videos"] == 50
    note = "official.pkl says neither protocol nor detector; wanted: pv3d, 6 videos of 9 frames, stride 1; means."
    assert note in result.warnings
    with pytest.raises(UserError, match="give --data"):
        score(movies, "kvd6_9f", real_stats=official)


# --- What is needed ---------------------------------------------------------------------------------------------------


def test_generated_videos_take_their_cameras_from_the_dataset_or_the_snapshot(detector, snapshot, heads):
    subject = EvaluationSubject(snapshot=load_generator(snapshot), checksum="abc")
    request = parse_request("fvd4_9f")
    with_data = VideoDistances(subject, EvaluationOptions(dataset=ClipDataset(heads)))
    paths = with_data._scored_videos(request).cameras
    assert [len(path) for path in paths] == [16, 16, 16]
    without_data = VideoDistances(subject, EvaluationOptions())
    paths = without_data._scored_videos(request).cameras
    assert np.array_equal(paths, subject.snapshot.camera_bank)


def test_cameras_of_generated_videos_come_from_the_clips_that_real_ones_come_from(detector, snapshot, tmp_path):
    data = ClipDataset(make(tmp_path / "clips", lengths=(1, 9, 20)))
    subject = EvaluationSubject(snapshot=load_generator(snapshot), checksum="abc")
    distances = VideoDistances(subject, EvaluationOptions(dataset=data))
    paths = distances._scored_videos(parse_request("fvd4_9f")).cameras
    assert [len(path) for path in paths] == [9, 20]


@pytest.mark.parametrize(
    "subject, missing",
    [
        (EvaluationSubject(), "--network or --videos"),
        (EvaluationSubject(video_folder=Path("somewhere")), "--data or --real-stats"),
    ],
)
def test_what_is_missing_is_named_before_any_work(detector, subject, missing):
    distances = VideoDistances(subject, EvaluationOptions())
    with pytest.raises(UserError, match=missing):
        distances.check(parse_requests("fvd4_9f"))
