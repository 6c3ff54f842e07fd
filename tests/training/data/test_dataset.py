"""training.data.dataset: what is on disk comes out right, the training stream is pure, mistakes are named."""

import io
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from dnnlib.errors import UserError
from training.cameras import frontal_label, mirror_label
from training.data import dataset as data
from training.data.dataset import (
    CameraSampler,
    ClipDataset,
    camera_bank,
    draw_frames,
    draw_pair,
    draw_times,
    training_batches,
)
from training.data.files import decode_depth, decode_frame, encode_depth, encode_png
from training.data.writer import ClipRecord, write_dataset

SIZE = 16


def record(index: int, frames: int, seed: int = 0) -> ClipRecord:
    """A clip of noise with cameras of its own; pixel [0, 0, 0] is the frame's number."""
    rng = np.random.default_rng([seed, index])
    pictures = rng.integers(0, 256, [frames, 3, SIZE, SIZE], dtype=np.uint8)
    pictures[:, 0, 0, 0] = np.arange(frames)
    cameras = frontal_label(torch.from_numpy(rng.uniform(-0.4, 0.4, frames)).float()).numpy()
    return ClipRecord(
        f"{index:05d}",
        [(f"{i:05d}.png", encode_png(p)) for i, p in enumerate(pictures)],
        cameras,
        30.0,
        identity=f"person {index}",
    )


def make(path: Path, lengths=(20, 16, 30), seed: int = 0) -> Path:
    with write_dataset(path) as writer:
        for index, length in enumerate(lengths):
            writer.add(record(index, length, seed))
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """A folder that no test changes."""
    return make(tmp_path_factory.mktemp("data") / "clips")


@pytest.fixture
def folder(clips, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(clips, tmp_path / "clips"))


def edit_index(folder: Path, change) -> None:
    index = json.loads((folder / "dataset.json").read_text())
    change(index)
    (folder / "dataset.json").write_text(json.dumps(index))


def test_folder_and_zip_hold_the_same(clips, tmp_path):
    one, two = ClipDataset(clips), ClipDataset(make(tmp_path / "clips.zip"))
    assert one.num_clips == two.num_clips == 3 and one.num_frames == 66 and one.resolution == SIZE
    assert one.fingerprint() == two.fingerprint() != ClipDataset(make(tmp_path / "other", seed=1)).fingerprint()
    clip = one.clips[1]
    assert (clip.name, clip.fps, clip.identity, len(clip.frames)) == ("00001", 30.0, "person 1", 16)
    assert clip.frames[3] == "00001/00003.png" and clip.cameras.shape == (16, 25) and clip.cameras.dtype == np.float32
    expected = decode_frame(record(1, 16).frames[3][1])
    for dataset in (one, two, pickle.loads(pickle.dumps(two))):
        assert np.array_equal(dataset.read_frame(1, 3), expected)
    assert np.allclose(clip.cameras, record(1, 16).cameras)
    with zipfile.ZipFile(tmp_path / "clips.zip") as archive:
        assert all(item.compress_type == zipfile.ZIP_STORED for item in archive.infolist())


@pytest.mark.parametrize("as_object", [False, True])
def test_an_image_dataset_opens_as_clips_of_one_frame(folder, as_object):
    def only_labels(index):
        del index["clips"]
        if as_object:
            index["labels"] = dict(index["labels"])

    edit_index(folder, only_labels)
    dataset = ClipDataset(folder)
    assert dataset.num_clips == dataset.num_frames == 66
    pair = draw_pair(np.random.default_rng(0), dataset, 5)
    assert np.array_equal(pair.frames[0], pair.frames[1]) and (pair.times == 0).all()
    assert np.array_equal(pair.cameras[0], pair.cameras[1])
    assert camera_bank(dataset).shape == (66, 16, 25)


def test_jpeg_grey_and_alpha_frames_become_rgb(folder):
    picture = PIL.Image.fromarray(np.full([SIZE, SIZE, 3], (200, 100, 50), np.uint8))
    kinds = [(picture, "jpeg"), (picture.convert("L"), "png"), (picture.convert("RGBA"), "png")]
    for number, (image, kind) in enumerate(kinds):
        image.save(folder / "00000" / f"{number:05d}.png", format=kind)
    dataset = ClipDataset(folder)
    assert np.abs(dataset.read_frame(0, 0).mean(axis=(1, 2)) - (200, 100, 50)).max() < 4
    assert np.ptp(dataset.read_frame(0, 1), axis=0).max() == 0
    assert (dataset.read_frame(0, 2).mean(axis=(1, 2)) == (200, 100, 50)).all()


def test_a_larger_dataset_shrinks_by_whole_factors(clips):
    full, half = ClipDataset(clips), ClipDataset(clips, resolution=8)
    expected = full.read_frame(0, 2).reshape(3, 8, 2, 8, 2).mean(axis=(2, 4))
    assert half.read_frame(0, 2).shape == (3, 8, 8) and np.abs(half.read_frame(0, 2) - expected).max() <= 0.5
    assert half.fingerprint() != full.fingerprint()
    for wrong in (32, 12):
        with pytest.raises(UserError, match=f"--resolution={wrong}"):
            ClipDataset(clips, resolution=wrong)


@pytest.mark.parametrize("fps", [0, -25, 1000, 10**400, float("inf"), float("nan"), "30", [30], None])
def test_impossible_frame_rates_count_as_unknown(folder, fps):
    edit_index(folder, lambda index: index["clips"]["00000"].update(fps=fps))
    assert [clip.fps for clip in ClipDataset(folder).clips] == [25.0, 30.0, 30.0]


def test_an_identity_is_a_text_or_a_number(folder):
    for given, read in (("Zoë", "Zoë"), (7, "7"), ([["deep"]], None), ({}, None)):
        edit_index(folder, lambda index, given=given: index["clips"]["00000"].update(identity=given))
        assert ClipDataset(folder).clips[0].identity == read


def test_depth_survives_storage(folder):
    depth = np.random.default_rng(0).uniform(2.25, 3.3, [SIZE, SIZE]).astype(np.float32)
    assert np.abs(decode_depth(encode_depth(depth)) - depth).max() < 2e-5
    (folder / "00000" / "00004.depth.png").write_bytes(encode_depth(depth))
    assert np.abs(ClipDataset(folder).read_depth(0, 4) - depth).max() < 2e-5
    with pytest.raises(UserError, match="00005.depth.png"):
        ClipDataset(folder).read_depth(0, 5)


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
    draws = [draw_frames(rng, 40) for _ in range(3000)]
    starts = np.array([start for start, _, _ in draws])
    offsets = np.array([offset for _, offset, _ in draws])
    assert set(starts) == set(range(25)) and offsets.min() == 0 and offsets.max() == 15
    assert all((offset == (moments * 16).astype(int)).all() for _, offset, moments in draws)
    short = np.array([draw_frames(rng, 5)[:2] for _ in range(500)], dtype=object)
    assert set(short[:, 0]) == {0} and set(np.concatenate(short[:, 1])) == set(range(5))


def test_pairs_have_their_frames_times_and_cameras(clips):
    dataset = ClipDataset(clips)
    for seed in range(20):
        pair = draw_pair(np.random.default_rng(seed), dataset, 2, mirror=0.0)
        numbers = pair.frames[:, 0, 0, 0].astype(int)
        assert np.array_equal(pair.cameras, dataset.clips[2].cameras[numbers])
        assert np.array_equal(pair.frames[1], dataset.read_frame(2, numbers[1]))
        assert pair.times[1] - pair.times[0] == pytest.approx((numbers[1] - numbers[0]) / 15)
        mirrored = draw_pair(np.random.default_rng(seed), dataset, 2, mirror=1.0)
        assert np.array_equal(mirrored.frames, pair.frames[..., ::-1]) and np.array_equal(mirrored.times, pair.times)
        assert np.array_equal(mirrored.cameras, mirror_label(torch.from_numpy(pair.cameras)).numpy())


def take(dataset, count, **options) -> dict[str, torch.Tensor]:
    batches = training_batches(dataset, options.pop("batch"), **{"seed": 3, "workers": 0} | options)
    rows = [next(batches) for _ in range(count)]
    return {key: torch.cat([row[key] for row in rows]) for key in rows[0]}


def test_workers_outlive_the_termination_that_reaches_the_whole_job(clips):
    batches = training_batches(ClipDataset(clips), 2, seed=3, workers=1)
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
    stream = data.PairStream(ClipDataset(clips), seed=0)
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
    sampler = CameraSampler(dataset, mirror=False)
    times, cameras = sampler.sample((7, 1), 50)
    assert times.shape == (50, 2) and cameras.shape == (50, 2, 25) and (times[:, 0] <= times[:, 1]).all()
    again, other = sampler.sample((7, 1), 50), sampler.sample((7, 2), 50)
    assert torch.equal(times, again[0]) and torch.equal(cameras, again[1]) and not torch.equal(times, other[0])
    tables = [clip.cameras for clip in dataset.clips]
    for row in cameras.numpy():
        found = [[np.flatnonzero((table == camera).all(axis=1)) for camera in row] for table in tables]
        assert any(len(first) and len(second) and first[0] <= second[0] < first[0] + 16 for first, second in found)
    bank = CameraSampler(camera_bank(dataset, clips=2))
    assert bank.sample(0, 4)[1].shape == (4, 2, 25) and len(bank.sequences) == 2


def test_the_camera_bank_holds_windows(clips, tmp_path):
    dataset = ClipDataset(make(tmp_path / "short", lengths=(4, 30)))
    bank = camera_bank(dataset, frames=10, seed=1).numpy()
    to_and_fro = dataset.clips[0].cameras[[0, 1, 2, 3, 2, 1, 0, 1, 2, 3]]
    long = dataset.clips[1].cameras
    assert bank.shape == (2, 10, 25) and any(np.array_equal(row, to_and_fro) for row in bank)
    assert any(np.array_equal(row, long[s : s + 10]) for row in bank for s in range(21))
    assert torch.equal(camera_bank(dataset, seed=2), camera_bank(dataset, seed=2))


def damage_missing(folder):
    (folder / "00000" / "00000.png").unlink()


def damage_truncated(folder):
    frame = folder / "00000" / "00000.png"
    frame.write_bytes(frame.read_bytes()[:400])


def damage_text(folder):
    (folder / "00000" / "00000.png").write_text("not a picture")


def damage_size(folder):
    (folder / "00000" / "00000.png").write_bytes(encode_png(np.zeros([3, SIZE, 2 * SIZE], np.uint8)))


@pytest.mark.parametrize("damage", [damage_missing, damage_truncated, damage_text, damage_size])
def test_a_broken_first_frame_is_named(folder, damage):
    damage(folder)
    with pytest.raises(UserError, match=r"00000/00000\.png") as error:
        ClipDataset(folder)
    assert "\n" not in str(error.value)


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
    monkeypatch.setattr(data, "draw_pair", lambda *_: os._exit(1))
    with pytest.raises(UserError, match="fewer --workers") as error:
        take(ClipDataset(clips), 1, batch=2, workers=1)
    assert "\n" not in str(error.value)


def label(value):
    return lambda index: index["labels"][0].__setitem__(1, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index.update(labels=None), "no cameras"),
        (lambda index: index.update(labels=[]), "no cameras"),
        (lambda index: index.pop("labels"), "no cameras"),
        (lambda index: index.update(labels=["00000/00000.png"]), "list of"),
        (lambda index: index.update(clips=[]), "must be an object"),
        (label(None), "00000/00000.png"),
        (label([0.0] * 24), "00000/00000.png"),
        (label([float("nan")] * 25), "00000/00000.png"),
        (label(["x"] * 25), "00000/00000.png"),
        (lambda index: index["labels"][0].__setitem__(0, "../secret.png"), "unsafe"),
        (lambda index: index["labels"][0].__setitem__(0, "/etc/passwd"), "unsafe"),
    ],
)
def test_a_bad_index_is_named(folder, change, message):
    edit_index(folder, change)
    with pytest.raises(UserError, match=message) as error:
        ClipDataset(folder)
    assert "\n" not in str(error.value)


def test_what_is_no_dataset_is_named(clips, tmp_path):
    whole = make(tmp_path / "whole.zip").read_bytes()
    (tmp_path / "truncated.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.zip").write_bytes(b"")
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "dataset.json").write_text('{"labels": [')
    broken_zip = "not a whole zip"
    for name, message in {
        "absent": "does not exist",
        "absent.zip": "does not exist",
        "truncated.zip": broken_zip,
        "empty.zip": broken_zip,
        "text.txt": "neither",
        "empty": "no dataset.json",
        "json": "unreadable",
    }.items():
        with pytest.raises(UserError, match=message) as error:
            ClipDataset(tmp_path / name)
        assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["/absolute.png", "../up.png", "a/../../up.png", "C:\\drive.png"])
def test_zips_with_tricks_in_their_paths_are_refused(tmp_path, name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"")
    (tmp_path / "trick.zip").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="unsafe path"):
        ClipDataset(tmp_path / "trick.zip")
