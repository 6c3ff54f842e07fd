"""Rows: in order, kept in pieces, resumed, shared among processes, honest about what is missing."""

import numpy as np
import pytest

from dnnlib.errors import UserError
from metrics import per_video
from metrics.per_video import PerVideoJob, compute_per_video

COUNT = 2 * per_video.PIECE_VIDEOS + 5


class Work:
    """Row i of video i is (i, i squared); remembers what it was asked for."""

    def __init__(self, bad=(), stop_at=None):
        self.bad, self.stop_at, self.loaded, self.batches = bad, stop_at, [], []

    def load(self, index: int) -> int:
        if index == self.stop_at:
            raise KeyboardInterrupt
        if index in self.bad:
            raise UserError(f"video {index} is bad")
        self.loaded.append(index)
        return index

    def compute(self, videos: list[int]) -> np.ndarray:
        self.batches.append(len(videos))
        return np.array([[video, video**2] for video in videos], dtype=float)

    def job(self, **changes) -> PerVideoJob:
        return PerVideoJob(
            **{
                "label": "test",
                "key": {"seed": 0},
                "videos": COUNT,
                "width": 2,
                "load": self.load,
                "compute": self.compute,
                "batch": 4,
            }
            | changes
        )


def expected(count: int = COUNT) -> np.ndarray:
    return np.array([[i, i**2] for i in range(count)], dtype=float)


def test_rows_are_in_order_and_computed_in_batches():
    work = Work()
    found = compute_per_video(work.job())
    assert np.array_equal(found.values, expected()) and found.skipped == {} and work.loaded == list(range(COUNT))
    assert work.batches == [4] * 8 + [4, 1], "batches end with a piece"


def test_finished_pieces_are_not_computed_again(tmp_path):
    compute_per_video(Work().job(), tmp_path)
    again = Work()
    assert np.array_equal(compute_per_video(again.job(), tmp_path).values, expected()) and again.loaded == []
    longer = Work()
    compute_per_video(longer.job(videos=COUNT + 20), tmp_path)
    assert longer.loaded[0] == 2 * per_video.PIECE_VIDEOS, "whole pieces serve larger numbers, too"


@pytest.mark.parametrize("change", [{"key": {"seed": 1}}, {"width": 3}])
def test_another_job_has_a_cache_of_its_own(tmp_path, change):
    compute_per_video(Work().job(), tmp_path)
    work = Work()
    widths = (lambda videos: np.zeros([len(videos), 3])) if "width" in change else work.compute
    compute_per_video(work.job(**change, compute=widths), tmp_path)
    assert len(work.loaded) == COUNT


def test_another_version_of_the_cache_is_not_read(tmp_path, monkeypatch):
    compute_per_video(Work().job(), tmp_path)
    monkeypatch.setattr(per_video, "CACHE_VERSION", 99)
    work = Work()
    compute_per_video(work.job(), tmp_path)
    assert len(work.loaded) == COUNT


def test_an_interrupted_job_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        compute_per_video(Work(stop_at=per_video.PIECE_VIDEOS + 3).job(), tmp_path)
    work = Work()
    assert np.array_equal(compute_per_video(work.job(), tmp_path).values, expected())
    assert work.loaded[0] == per_video.PIECE_VIDEOS


@pytest.mark.parametrize("damage", [lambda data: data[:50], lambda data: b"", lambda data: b"no zip at all" * 9])
def test_damaged_pieces_are_computed_again(tmp_path, damage):
    compute_per_video(Work().job(), tmp_path)
    piece = sorted(tmp_path.rglob("*.npz"))[1]
    piece.write_bytes(damage(piece.read_bytes()))
    work = Work()
    assert np.array_equal(compute_per_video(work.job(), tmp_path).values, expected())
    assert work.loaded == list(range(per_video.PIECE_VIDEOS, 2 * per_video.PIECE_VIDEOS))


def test_bad_videos_are_named_and_cost_no_others(tmp_path):
    bad = {3: "video 3 is bad", COUNT - 1: f"video {COUNT - 1} is bad"}
    for work in (Work(bad), Work(bad)):  # computed, then from the cache
        found = compute_per_video(work.job(), tmp_path)
        assert found.skipped == bad and np.isnan(found.values[[3, COUNT - 1]]).all()
        assert np.array_equal(found.without_skipped, np.delete(expected(), list(bad), axis=0))


def test_processes_share_the_pieces(monkeypatch):
    parts, works = [], [Work({5}), Work({5})]
    for rank, work in enumerate(works):
        monkeypatch.setattr(per_video.distributed, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(per_video.distributed, "world_size", lambda: 2)
        parts.append(per_video._own_pieces(work.job(), None))
    assert sorted(works[0].loaded + works[1].loaded) == [i for i in range(COUNT) if i != 5]
    assert not set(works[0].loaded) & set(works[1].loaded)
    monkeypatch.setattr(per_video.distributed, "gather", lambda value: parts if isinstance(value, dict) else [value])
    together = compute_per_video(Work({5}).job())
    alone = Work({5})
    monkeypatch.undo()
    whole = compute_per_video(alone.job())
    assert np.array_equal(together.values, whole.values, equal_nan=True) and together.skipped == whole.skipped
