"""metrics.per_video: in order, kept in pieces, resumed, shared among processes, honest about what is missing."""

import numpy as np
import pytest

from dnnlib.errors import UserError
from metrics import per_video
from metrics.per_video import PIECE_VIDEOS, PerVideoJob, PerVideoNumbers, compute_per_video

VIDEOS = 2 * PIECE_VIDEOS + 5


class Work:
    """Numbers of video i are (i, i squared); remembers what it was asked for."""

    def __init__(self, bad=(), stop_at=None):
        self.bad = bad
        self.stop_at = stop_at
        self.loaded = []
        self.batches = []

    def load(self, index: int) -> int:
        if index == self.stop_at:
            raise KeyboardInterrupt
        if index in self.bad:
            raise UserError(f"video {index} is bad")
        self.loaded.append(index)
        return index

    def compute(self, videos: list[int]) -> np.ndarray:
        self.batches.append(len(videos))
        return squares(videos)

    def job(self, **changes) -> PerVideoJob:
        options = {
            "label": "test",
            "key": {"seed": 0},
            "videos": VIDEOS,
            "width": 2,
            "load": self.load,
            "compute": self.compute,
            "batch": 4,
        }
        return PerVideoJob(**options | changes)


def squares(videos) -> np.ndarray:
    return np.array([[video, video**2] for video in videos], dtype=float)


EXPECTED = squares(range(VIDEOS))


def test_numbers_are_in_order_and_computed_in_batches():
    work = Work()
    found = compute_per_video(work.job())
    assert np.array_equal(found.values, EXPECTED)
    assert found.skipped == {}
    assert work.loaded == list(range(VIDEOS))
    assert work.batches == [4] * 8 + [4, 1], "batches end with a piece"


# --- The cache --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path):
    """A folder with the pieces of a finished job."""
    compute_per_video(Work().job(), tmp_path)
    return tmp_path


@pytest.mark.parametrize("refusal", [UserError("No space left"), FileNotFoundError("/proc/x")])
@pytest.mark.parametrize("writer", ["write_json", "atomic_path"])
def test_what_cannot_be_kept_is_computed_all_the_same(tmp_path, monkeypatch, capsys, writer, refusal):
    def refuse(*arguments):
        raise refusal

    monkeypatch.setattr(per_video, writer, refuse)
    found = compute_per_video(Work().job(), tmp_path)
    assert np.array_equal(found.values, EXPECTED)
    (told,) = capsys.readouterr().err.splitlines()
    assert "not kept" in told and "PV3D_CACHE_DIR" in told
    assert list(tmp_path.rglob("*.npz")) == []


def test_finished_pieces_are_not_computed_again(cache):
    work = Work()
    found = compute_per_video(work.job(), cache)
    assert np.array_equal(found.values, EXPECTED)
    assert work.loaded == []


def test_whole_pieces_serve_larger_numbers_too(cache):
    work = Work()
    compute_per_video(work.job(videos=VIDEOS + 20), cache)
    assert work.loaded[0] == 2 * PIECE_VIDEOS


def test_another_key_has_a_cache_of_its_own(cache):
    work = Work()
    compute_per_video(work.job(key={"seed": 1}), cache)
    assert len(work.loaded) == VIDEOS


def test_another_width_has_a_cache_of_its_own(cache):
    work = Work()
    zeros = lambda videos: np.zeros([len(videos), 3])  # noqa: E731
    compute_per_video(work.job(width=3, compute=zeros), cache)
    assert len(work.loaded) == VIDEOS


def test_another_version_of_the_cache_is_not_read(cache, monkeypatch):
    monkeypatch.setattr(per_video, "CACHE_VERSION", 99)
    work = Work()
    compute_per_video(work.job(), cache)
    assert len(work.loaded) == VIDEOS


def test_an_interrupted_job_goes_on(tmp_path):
    interrupted = Work(stop_at=PIECE_VIDEOS + 3)
    with pytest.raises(KeyboardInterrupt):
        compute_per_video(interrupted.job(), tmp_path)
    work = Work()
    found = compute_per_video(work.job(), tmp_path)
    assert np.array_equal(found.values, EXPECTED)
    assert work.loaded[0] == PIECE_VIDEOS


def cut_short(content: bytes) -> bytes:
    return content[:50]


def emptied(content: bytes) -> bytes:
    return b""


def replaced(content: bytes) -> bytes:
    return b"no zip at all" * 9


@pytest.mark.parametrize("damage", [cut_short, emptied, replaced])
def test_damaged_pieces_are_computed_again(cache, damage):
    pieces = sorted(cache.rglob("*.npz"))
    content = pieces[1].read_bytes()
    pieces[1].write_bytes(damage(content))
    work = Work()
    found = compute_per_video(work.job(), cache)
    assert np.array_equal(found.values, EXPECTED)
    assert work.loaded == list(range(PIECE_VIDEOS, 2 * PIECE_VIDEOS))


# --- Bad videos, many processes ---------------------------------------------------------------------------------------


LAST = VIDEOS - 1
BAD = {3: "video 3 is bad", LAST: f"video {LAST} is bad"}


def test_bad_videos_are_named_and_cost_no_others(tmp_path):
    for source in ("computed", "from the cache"):
        work = Work(BAD)
        found = compute_per_video(work.job(), tmp_path)
        assert found.skipped == BAD, source
        assert np.isnan(found.values[[3, LAST]]).all()
        assert np.array_equal(found.without_skipped, np.delete(EXPECTED, [3, LAST], axis=0))
    assert work.loaded == []


def test_a_video_that_failed_is_tried_again(tmp_path):
    compute_per_video(Work(BAD).job(), tmp_path)
    work = Work({LAST})
    found = compute_per_video(work.job(), tmp_path)
    assert found.skipped == {LAST: BAD[LAST]}
    assert np.array_equal(found.values[:LAST], EXPECTED[:LAST])
    assert set(work.loaded) == set(range(PIECE_VIDEOS)), "its piece alone"
    assert work.batches == [4] * 4, "in the batches that it has without any failure"
    again = Work({LAST})
    compute_per_video(again.job(), tmp_path)
    assert again.loaded == []


def test_why_a_video_fails_is_what_is_true_today(tmp_path, monkeypatch):
    compute_per_video(Work({3}).job(), tmp_path)
    work = Work({3})

    def load(index: int) -> int:
        raise UserError("another reason")

    assert compute_per_video(work.job(load=load), tmp_path).skipped == {3: "another reason"}


@pytest.mark.parametrize(
    "skipped, least, sentence",
    [
        ({}, 9, None),
        ({1: "a"}, 4, None),
        ({1: "a.mp4 has 5 frames: the protocol needs 16."}, 5, "4 of 5 .* 5 or more .*: a.mp4 has 5 frames: .* 16.$"),
        (dict.fromkeys(range(5), "no ffmpeg."), 1, "^None of 5 videos can be scored, .*: no ffmpeg.$"),
        ({place: f"{place} is bad." for place in range(5)}, 1, r": 0 is bad; 1 is bad; 2 is bad \(and 2 more\).$"),
    ],
)
def test_too_few_are_refused_with_the_first_reasons(skipped, least, sentence):
    numbers = PerVideoNumbers(np.zeros([5, 1]), skipped)
    if sentence is None:
        numbers.require_left(least)
    else:
        with pytest.raises(UserError, match=sentence):
            numbers.require_left(least)


def test_processes_share_the_pieces(monkeypatch):
    pieces = []
    works = [Work({5}), Work({5})]
    for rank, work in enumerate(works):
        with monkeypatch.context() as patch:
            patch.setattr(per_video.distributed, "rank", lambda rank=rank: rank)
            patch.setattr(per_video.distributed, "world_size", lambda: 2)
            pieces.append(per_video._own_pieces(work.job(), None))
    first = set(works[0].loaded)
    second = set(works[1].loaded)
    assert not first & second
    assert first | second == set(range(VIDEOS)) - {5}

    def gather(value, group=None) -> list:
        is_pieces = isinstance(value, dict) and all(isinstance(start, int) for start in value)
        return pieces if is_pieces else [value]

    alone = compute_per_video(Work({5}).job())
    monkeypatch.setattr(per_video.distributed, "gather", gather)
    together = compute_per_video(Work({5}).job())
    assert np.array_equal(together.values, alone.values, equal_nan=True)
    assert together.skipped == alone.skipped


def test_processes_that_see_other_files_do_not_share(monkeypatch):
    def gather(value, group=None) -> list:
        return [value, value | {"checksum": "of another file"}] if isinstance(value, dict) else [value]

    monkeypatch.setattr(per_video.distributed, "gather", gather)
    work = Work()
    with pytest.raises(UserError, match="see checksum"):
        compute_per_video(work.job(key={"seed": 0, "checksum": "of this file"}))
    assert work.loaded == []
