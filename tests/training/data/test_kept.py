"""training.data.kept: a large zip is read once on a machine, then mapped; nothing that training sees changes."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from dnnlib.files import MAX_JSON_BYTES
from tests.helpers.dataset_command import run
from tests.helpers.noise import make
from training.data import files, kept, zips
from training.data.dataset import ClipDataset
from training.data.pairs import camera_bank, training_batches

LONG_AGO = -(10**18)  # as if everything had been written long ago


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The cache's folder, in which zips of any size are kept."""
    monkeypatch.setenv("PV3D_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "KEPT_FILES", 1)
    monkeypatch.setattr(kept, "RACY_NS", LONG_AGO)
    return tmp_path / "cache" / "datasets"


@pytest.fixture
def path(tmp_path, cache) -> Path:
    return make(tmp_path / "clips.zip")


def kept_files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.suffix != ".lock")


def in_memory(path: Path, monkeypatch) -> ClipDataset:
    """Open a dataset without the cache, as small ones are."""
    with monkeypatch.context() as patch:
        patch.setattr(files, "KEPT_FILES", 10**9)
        return ClipDataset(path)


def first_batches(dataset: ClipDataset, workers: int = 0) -> list[dict[str, torch.Tensor]]:
    batches = training_batches(dataset, 2, seed=3, workers=workers, window=16, mirror=True)
    found = [{name: value.clone() for name, value in next(batches).items()} for _ in range(3)]
    batches.close()
    return found


def test_kept_or_not_training_sees_the_same(path, cache, monkeypatch):
    small = in_memory(path, monkeypatch)
    assert not cache.exists()
    built, again = ClipDataset(path), ClipDataset(path)
    assert len(kept_files(cache)) == 2
    for dataset in (built, again, pickle.loads(pickle.dumps(again)), pickle.loads(pickle.dumps(small))):
        assert dataset.fingerprint() == small.fingerprint()
        assert dataset.names_and_sizes == small.names_and_sizes
        assert dataset.lengths == small.lengths == [20, 16, 30]
        assert (dataset.notes, dataset.is_reordered) == (small.notes, small.is_reordered)
        assert torch.equal(camera_bank(dataset, seed=1), camera_bank(small, seed=1))
        for mine, theirs in zip(dataset.clips, small.clips, strict=True):
            assert (mine.name, mine.frames, mine.fps, mine.identity) == (
                (theirs.name, theirs.frames, theirs.fps, theirs.identity)
            )
            assert np.array_equal(mine.cameras, theirs.cameras)
        for batch, expected in zip(first_batches(dataset), first_batches(small), strict=True):
            assert batch.keys() == expected.keys()
            assert all(torch.equal(batch[name], expected[name]) for name in batch)


def test_a_folder_and_a_kept_zip_of_it_are_one_dataset(path, tmp_path):
    assert ClipDataset(path).fingerprint() == ClipDataset(make(tmp_path / "folder")).fingerprint()


def test_workers_deliver_the_same_and_get_little(path, monkeypatch):
    dataset = ClipDataset(path)
    for batch, expected in zip(first_batches(dataset, workers=1), first_batches(dataset), strict=True):
        assert all(torch.equal(batch[name], expected[name]) for name in batch)
    assert len(pickle.dumps(dataset)) < 2000 < len(pickle.dumps(in_memory(path, monkeypatch)))


def test_a_zip_is_read_once(path, monkeypatch):
    ClipDataset(path)
    monkeypatch.setattr(zips, "entries", None)
    monkeypatch.setattr(files, "parse_json", None)
    assert ClipDataset(path).num_frames == 66


def rewrite(path: Path, change) -> None:
    """Write a zip again in place with other contents, and the times that it had."""
    about = path.stat()
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    change(contents)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def flip_frame(contents: dict[str, bytes]) -> None:
    contents["00001/00003.png"], contents["00001/00004.png"] = contents["00001/00004.png"], contents["00001/00003.png"]


def other_camera(contents: dict[str, bytes]) -> None:
    contents["dataset.json"] = contents["dataset.json"].replace(b'"fps": 30.0', b'"fps": 31.0')


@pytest.mark.parametrize("change", [flip_frame, other_camera])
def test_a_zip_changed_in_place_is_another(path, change):
    before = ClipDataset(path)
    known = before.fingerprint(), before.clips[0].fps
    rewrite(path, change)
    after = ClipDataset(path)
    assert (after.fingerprint(), after.clips[0].fps) != known


def test_an_index_overwritten_in_place_is_noticed(path):
    """The directory stays as it was; only the times of the file tell."""
    ClipDataset(path)
    data = path.read_bytes()
    with open(path, "r+b") as file:
        file.seek(data.index(b'"fps": 30.0'))
        file.write(b'"fps": 31.0')
    os.utime(path)
    with pytest.raises(UserError, match="CRC"):
        ClipDataset(path)


def test_what_was_just_written_is_not_kept(path, cache, monkeypatch):
    monkeypatch.setattr(kept, "RACY_NS", 10**6)
    os.utime(path, (2**32, 2**32))  # far in the future: no wait would do
    assert ClipDataset(path).num_frames == 66
    assert not cache.exists()


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-5], lambda data: b"", lambda data: data[: len(data) // 2].ljust(len(data), b"\0")]
)
def test_a_damaged_file_of_the_cache_is_made_again(path, cache, damage):
    expected = ClipDataset(path).fingerprint()
    whole = [file.read_bytes() for file in kept_files(cache)]
    for file, data in zip(kept_files(cache), whole, strict=True):
        file.write_bytes(damage(data))
    assert ClipDataset(path).fingerprint() == expected
    assert [file.read_bytes() for file in kept_files(cache)] == whole


def test_without_a_cache_that_can_be_written_all_is_read_each_time(path, cache):
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    dataset = ClipDataset(path)
    assert dataset.num_frames == 66 and dataset.read_frame(0, 5)[0, 0, 0] == 5


def test_old_files_of_the_cache_are_dropped(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(kept, "MOST_KEPT", 4)
    for seed in range(4):
        ClipDataset(make(tmp_path / f"{seed}.zip", seed=seed))
    assert len(kept_files(cache)) == 4


def test_a_large_index_is_read_label_by_label(path, monkeypatch):
    expected = in_memory(path, monkeypatch)
    monkeypatch.setattr(files, "MAX_JSON_BYTES", 100)
    monkeypatch.setattr(files, "INDEX_BYTES_PER_FILE", MAX_JSON_BYTES)
    monkeypatch.setattr(files, "parse_json", None)
    streamed = in_memory(path, monkeypatch)
    assert streamed.fingerprint() == expected.fingerprint()
    assert [clip.identity for clip in streamed.clips] == [clip.identity for clip in expected.clips]
    assert run("check", path, "--workers", 1).exit_code == 0


def test_members_behind_other_bytes_and_before_a_comment_are_found(path, tmp_path):
    """As zipfile finds them: a zip may stand behind a program, and end in a comment."""
    buffer = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"a comment" * 3
    moved = tmp_path / "moved.zip"
    moved.write_bytes(b"#!/bin/sh\n" + buffer.getvalue())
    with zipfile.ZipFile(moved) as archive:
        assert archive.testzip() is None
    assert ClipDataset(moved).fingerprint() == ClipDataset(path).fingerprint()
    assert ClipDataset(moved).read_frame(2, 7)[0, 0, 0] == 7


def test_digests_are_computed_once_a_machine_and_resolution(path, cache, monkeypatch):
    small = in_memory(path, monkeypatch)
    first = ClipDataset(path)
    digests = first.fingerprint(), first.names_and_sizes
    assert digests == (small.fingerprint(), small.names_and_sizes)
    before = set(kept_files(cache))

    def again(self: ClipDataset) -> str:
        raise AssertionError("digested again")

    with monkeypatch.context() as patch:
        patch.setattr(ClipDataset, "_digest_content", again)
        patch.setattr(ClipDataset, "_digest_names_and_sizes", again)
        dataset = ClipDataset(path)
        assert (dataset.fingerprint(), dataset.names_and_sizes) == digests
    shrunk = ClipDataset(path, resolution=first.resolution // 2)
    assert shrunk.fingerprint() != digests[0]
    assert shrunk.names_and_sizes != digests[1]
    assert before < set(kept_files(cache))
