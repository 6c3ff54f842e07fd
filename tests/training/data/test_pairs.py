"""training.data.pairs: the training stream is a pure function of the seed, cameras for fakes are training cameras."""

import multiprocessing
import os
import shutil
import signal

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from tests.helpers.noise import SIZE, damage_missing, damage_size, damage_truncated, edit_index, make
from training.cameras import mirror_label
from training.data import pairs
from training.data.dataset import ClipDataset
from training.data.pairs import (
    CameraSampler,
    camera_bank,
    clips_with,
    draw_frames,
    draw_pair,
    draw_times,
    greatest_time,
    moving_clips,
    training_batches,
)

WINDOW = 16


def test_times_are_the_papers():
    """One of Beta(2, 1), one of Beta(1, 2), sorted: the distribution of the smaller and the larger one."""
    rng = np.random.default_rng(0)
    times = np.array([draw_times(rng) for _ in range(20000)])
    assert (times[:, 0] <= times[:, 1]).all() and times.min() >= 0 and times.max() <= 1
    reference = np.sort(np.stack([np.maximum(*rng.random([2, 20000])), np.minimum(*rng.random([2, 20000]))], axis=1))
    assert np.allclose(times.mean(axis=0), reference.mean(axis=0), atol=0.01)
    assert np.allclose(times.std(axis=0), reference.std(axis=0), atol=0.01)


def test_frames_come_from_a_window():
    rng = np.random.default_rng(1)
    draws = [draw_frames(rng, 40, window=WINDOW) for _ in range(3000)]
    starts = np.array([start for start, _, _ in draws])
    offsets = np.array([offset for _, offset, _ in draws])
    assert set(starts) == set(range(25)) and offsets.min() == 0 and offsets.max() == 15
    assert all((offset == (moments * 16).astype(int)).all() for _, offset, moments in draws)
    short = np.array([draw_frames(rng, 5, window=WINDOW)[:2] for _ in range(500)], dtype=object)
    assert set(short[:, 0]) == {0} and set(np.concatenate(short[:, 1])) == set(range(5))


def test_pairs_have_their_frames_times_and_cameras(clips):
    dataset = ClipDataset(clips)
    for seed in range(20):
        pair = draw_pair(np.random.default_rng(seed), dataset, 2, window=WINDOW, mirror=0.0)
        numbers = pair.frames[:, 0, 0, 0].astype(int)
        assert np.array_equal(pair.cameras, dataset.clips[2].cameras[numbers])
        assert np.array_equal(pair.frames[1], dataset.read_frame(2, numbers[1]))
        assert pair.times[1] - pair.times[0] == pytest.approx((numbers[1] - numbers[0]) / 15)
        mirrored = draw_pair(np.random.default_rng(seed), dataset, 2, window=WINDOW, mirror=1.0)
        assert np.array_equal(mirrored.frames, pair.frames[..., ::-1]) and np.array_equal(mirrored.times, pair.times)
        assert np.array_equal(mirrored.cameras, mirror_label(torch.from_numpy(pair.cameras)).numpy())


# --- Short clips ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [16, 64])
@pytest.mark.parametrize("length", [1, 2, 5, 20])
def test_fakes_have_the_times_of_reals(length, window):
    """What the two have in common: the greatest time, and how often a moment falls on each frame."""
    span = min(length, window)
    rng = np.random.default_rng([length, window])
    reals = np.array([draw_frames(rng, length, window=window)[1] for _ in range(4000)]) / (window - 1)
    sampler = CameraSampler([np.zeros([length, 25], np.float32)], window=window, mirror=False)
    fakes = sampler.sample(length, 4000)[0].double().numpy()

    greatest = greatest_time([length], window)
    assert greatest == (span - 1) / (window - 1)
    assert reals.max() == greatest and reals.min() == 0
    assert fakes.max() <= greatest and fakes.min() >= 0
    if greatest == 0:
        return
    assert fakes.max() > 0.97 * greatest, "all of the time is used"
    # Real times are those of whole frames; those that the moments of fakes fall on are as frequent, and as far apart.
    real_frames = (reals * (window - 1)).round()
    fake_frames = np.floor(fakes / greatest * span)
    for real, fake in zip(real_frames.T, fake_frames.T, strict=True):
        counts = [np.bincount(frames.astype(int), minlength=span) for frames in (real, fake)]
        assert np.abs(np.subtract(*counts)).max() < 5 * np.sqrt(2 * np.max(counts))
    apart = [np.diff(frames) for frames in (real_frames, fake_frames)]
    error = np.std(apart) * np.sqrt(2 / 4000)
    assert apart[0].mean() == pytest.approx(apart[1].mean(), abs=5 * error)


@pytest.mark.parametrize("window", [1, 16, 20])
def test_fakes_of_long_clips_have_the_moments_that_were_drawn(window):
    """To the bit, as ever: a factor of 1 changes nothing; in a window of one frame there is no time."""
    sequences = [np.full([length, 25], length, np.float32) for length in (20, 33)]
    times, _ = CameraSampler(sequences, window=window, mirror=True).sample((3, 5), 40)
    rng = np.random.default_rng([pairs.First.CAMERAS, 3, 5])
    for row in times.numpy():
        sequence = sequences[int(rng.integers(2))]
        _, _, moments = draw_frames(rng, len(sequence), window=window)
        rng.random()
        assert np.array_equal(row, moments.astype(np.float32) if window > 1 else [0, 0])


def test_which_clips_move():
    assert moving_clips([1, 2, 1, 40], 16) == [1, 3]
    assert moving_clips([5, 20], 1) == [] == moving_clips([1, 1], 16)
    assert greatest_time([1, 5, 2], 16) == 4 / 15 and greatest_time([1, 16], 16) == 1 and greatest_time([9], 1) == 0


def test_more_than_two_frames_follow_each_other(clips):
    """Each of the places in a clip as likely; frames, times and cameras are those of the clip."""
    starts = set()
    for seed in range(40):
        start, offsets, moments = draw_frames(np.random.default_rng(seed), 12, window=8, frames=8)
        assert offsets.tolist() == list(range(8))
        assert np.allclose(moments, np.arange(8) / 7)
        starts.add(start)
    assert starts == set(range(5))
    data = ClipDataset(clips)
    pair = draw_pair(np.random.default_rng(3), data, 0, window=4, mirror=0.0, frames=4)
    start = next(n for n in range(20) if np.array_equal(data.read_frame(0, n), pair.frames[0]))
    for place in range(4):
        assert np.array_equal(pair.frames[place], data.read_frame(0, start + place))
        assert np.array_equal(pair.cameras[place], data.clips[0].cameras[start + place])
    assert np.allclose(pair.times, [0, 1 / 3, 2 / 3, 1])


def test_clips_that_are_too_short_are_left_out(mixed):
    lengths = mixed.lengths
    enough = clips_with(3, lengths)
    assert enough == [1, 3]
    assert clips_with(2, lengths) == clips_with(1, lengths) == list(range(len(lengths)))
    stream = pairs.PairStream(mixed, seed=1, window=3, mirror=True, frames=3)
    count = len(enough)
    for epoch in range(3):
        assert sorted(stream.clip_index(epoch * count + item) for item in range(count)) == enough
    batch = take(mixed, 3, batch=count, window=3, frames=3)
    assert batch.keys() == {"frames", "times", "cameras"}, "no stand-ins"
    assert batch["frames"].shape[:2] == (3 * count, 3)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> ClipDataset:
    """Clips of 1, 20, 1 and 3 frames."""
    return ClipDataset(make(tmp_path_factory.mktemp("mixed") / "clips", lengths=(1, 20, 1, 3)))


def test_clips_of_one_frame_have_a_stand_in_before_the_video_discriminator(mixed):
    stream = pairs.PairStream(mixed, seed=2, window=WINDOW, mirror=True)
    cameras = [{camera.tobytes() for camera in clip.cameras} for clip in mixed.clips]
    seen = []
    for item in range(200):
        clip = stream.clip_index(item)
        pair = stream[item]
        rng = np.random.default_rng([pairs.First.PAIRS, 2, item])
        alone = draw_pair(rng, mixed, clip, window=WINDOW, mirror=0.5)
        for name in ("frames", "times", "cameras"):
            value = getattr(alone, name)
            assert np.array_equal(getattr(pair, name), value), "the image discriminator sees what it would without them"
            if clip in (1, 3):
                assert np.array_equal(getattr(pair, f"stand_in_{name}"), value)
        judged = pair.stand_in_cameras, _mirrored(pair.stand_in_cameras)
        (judged_clip,) = {index for index in range(4) if any(rows[0].tobytes() in cameras[index] for rows in judged)}
        seen.append((clip, judged_clip))
    assert {judged for _, judged in seen} == {1, 3}
    in_place = [judged for clip, judged in seen if clip in (0, 2)]
    assert len(in_place) == 100
    assert 30 < in_place.count(1) < 70, "either one as often"


def _mirrored(cameras: np.ndarray) -> np.ndarray:
    return mirror_label(torch.from_numpy(cameras)).numpy()


def test_a_mixed_stream_does_not_depend_on_ranks_either(mixed):
    whole = take(mixed, 3, batch=4)
    assert whole["stand_in_frames"].shape == (12, 2, 3, SIZE, SIZE)
    ranks = [take(mixed, 3, batch=2, rank=rank, world=2) for rank in range(2)]
    for key, value in whole.items():
        assert torch.equal(torch.stack([rank[key] for rank in ranks], dim=1).flatten(0, 1), value)


# --- The stream -------------------------------------------------------------------------------------------------------


def take(dataset: ClipDataset, count: int, **options) -> dict[str, torch.Tensor]:
    """Batches of the training stream, together."""
    defaults = {"seed": 3, "workers": 0, "window": WINDOW, "mirror": True}
    batches = training_batches(dataset, options.pop("batch"), **defaults | options)
    rows = [next(batches) for _ in range(count)]
    return {key: torch.cat([row[key] for row in rows]) for key in rows[0]}


def test_workers_go_on_after_the_termination_that_reaches_the_whole_job(clips):
    batches = training_batches(ClipDataset(clips), 2, seed=3, workers=1, window=WINDOW, mirror=True)
    next(batches)
    (worker,) = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGTERM)
    for _ in range(5):
        assert next(batches)["frames"].shape[0] == 2
    batches.close()
    worker.join(10)
    assert not worker.is_alive()


def test_the_stream_is_the_same_for_any_ranks_workers_and_resumption(clips):
    dataset = ClipDataset(clips)
    whole = take(dataset, 4, batch=4)
    assert whole["frames"].shape == (16, 2, 3, SIZE, SIZE) and whole["frames"].dtype == torch.uint8
    assert whole["times"].shape == (16, 2) and whole["cameras"].shape == (16, 2, 25)
    again = take(dataset, 8, batch=2, workers=2)
    ranks = [take(dataset, 4, batch=2, rank=rank, world=2) for rank in range(2)]
    later = take(dataset, 2, batch=4, start=8)
    for key, value in whole.items():
        assert torch.equal(again[key], value)
        assert torch.equal(torch.stack([rank[key] for rank in ranks], dim=1).flatten(0, 1), value)
        assert torch.equal(later[key], value[8:])
    assert not torch.equal(take(dataset, 4, batch=4, seed=4)["frames"], whole["frames"])


def test_every_epoch_shows_every_clip_once(clips):
    stream = pairs.PairStream(ClipDataset(clips), seed=0, window=WINDOW, mirror=True)
    order = [[stream.clip_index(3 * epoch + item) for item in range(3)] for epoch in range(20)]
    assert all(sorted(epoch) == [0, 1, 2] for epoch in order) and len({tuple(epoch) for epoch in order}) > 3


def test_half_of_the_pairs_are_mirrored(clips):
    dataset = ClipDataset(clips)
    known = {camera.tobytes() for clip in dataset.clips for camera in clip.cameras}
    cameras = take(dataset, 10, batch=30)["cameras"][:, 0].numpy()
    plain = np.mean([camera.tobytes() in known for camera in cameras])
    assert 0.4 < plain < 0.6
    cameras = take(dataset, 4, batch=30, mirror=False)["cameras"][:, 0].numpy()
    assert all(camera.tobytes() in known for camera in cameras)


def test_cameras_for_fakes_are_training_cameras(clips):
    dataset = ClipDataset(clips)
    tables = [clip.cameras for clip in dataset.clips]
    sampler = CameraSampler(tables, window=WINDOW, mirror=False)
    times, cameras = sampler.sample((7, 1), 50)
    assert times.shape == (50, 2) and cameras.shape == (50, 2, 25) and (times[:, 0] <= times[:, 1]).all()
    again, other = sampler.sample((7, 1), 50), sampler.sample((7, 2), 50)
    assert torch.equal(times, again[0]) and torch.equal(cameras, again[1]) and not torch.equal(times, other[0])
    for row in cameras.numpy():
        found = [[np.flatnonzero((table == camera).all(axis=1)) for camera in row] for table in tables]
        assert any(len(first) and len(second) and first[0] <= second[0] < first[0] + 16 for first, second in found)
    bank = camera_bank(dataset, seed=0, clips=2).numpy()
    assert len(bank) == 2
    assert CameraSampler(list(bank), window=WINDOW, mirror=True).sample(0, 4)[1].shape == (4, 2, 25)


def test_images_make_pairs_and_banks_of_one_frame(folder):
    edit_index(folder, lambda index: index.pop("clips"))
    dataset = ClipDataset(folder)
    pair = draw_pair(np.random.default_rng(0), dataset, 5, window=WINDOW, mirror=0.5)
    assert np.array_equal(pair.frames[0], pair.frames[1]) and (pair.times == 0).all()
    assert np.array_equal(pair.cameras[0], pair.cameras[1])
    assert camera_bank(dataset, seed=0).shape == (66, 16, 25)


def test_the_camera_bank_holds_windows(clips, tmp_path):
    dataset = ClipDataset(make(tmp_path / "short", lengths=(4, 30)))
    bank = camera_bank(dataset, frames=10, seed=1).numpy()
    to_and_fro = dataset.clips[0].cameras[[0, 1, 2, 3, 2, 1, 0, 1, 2, 3]]
    long = dataset.clips[1].cameras
    assert bank.shape == (2, 10, 25) and any(np.array_equal(row, to_and_fro) for row in bank)
    assert any(np.array_equal(row, long[s : s + 10]) for row in bank for s in range(21))
    assert torch.equal(camera_bank(dataset, seed=2), camera_bank(dataset, seed=2))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("damage", [damage_missing, damage_truncated, damage_size])
def test_a_broken_frame_ends_training_with_one_sentence(folder, damage, workers):
    for clip in ("00001", "00002"):
        shutil.rmtree(folder / clip)
    edit_index(folder, lambda index: index.update(labels=index["labels"][:20]))
    dataset = ClipDataset(folder)
    damage(folder)
    with pytest.raises(UserError, match=r"00000/00000\.png") as error:
        take(dataset, 100, batch=4, workers=workers)
    assert "\n" not in str(error.value) and "Traceback" not in str(error.value)


def test_a_dead_worker_ends_training_with_one_sentence(clips, monkeypatch):
    monkeypatch.setattr(pairs, "draw_pair", lambda *_, **options: os._exit(1))
    with pytest.raises(UserError, match="fewer --workers") as error:
        take(ClipDataset(clips), 1, batch=2, workers=1)
    assert "\n" not in str(error.value)
