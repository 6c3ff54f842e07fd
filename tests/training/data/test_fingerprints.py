"""training.data.fingerprints: a dataset is known by its content, which one process reads once."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from dnnlib import content
from tests.helpers.noise import SIZE, edit_frame, edit_index, make, store_uncompressed
from training.data.dataset import ClipDataset
from training.data.frames import encode_depth


@pytest.fixture
def uncompressed(folder) -> Path:
    store_uncompressed(folder)
    sizes = {path.stat().st_size for path in folder.rglob("*.png")}
    assert len(sizes) == 1
    return folder


def test_a_frame_edited_in_place_makes_another_dataset(uncompressed):
    before = ClipDataset(uncompressed)
    known = before.fingerprint(), before.names_and_sizes
    edit_frame(uncompressed / "00001" / "00003.png")
    after = ClipDataset(uncompressed)
    assert after.fingerprint() != known[0]
    assert after.names_and_sizes == known[1], "which is why they do not do"


def swap_cameras(index: dict) -> None:
    labels = index["labels"]
    labels[0][1], labels[1][1] = labels[1][1], labels[0][1]


def leave_a_frame_out(index: dict) -> None:
    del index["labels"][4]


@pytest.mark.parametrize("change", [swap_cameras, leave_a_frame_out])
def test_the_index_counts(folder, change):
    before = ClipDataset(folder).fingerprint()
    edit_index(folder, change)
    assert ClipDataset(folder).fingerprint() != before


def test_frames_that_changed_places_count(uncompressed):
    before = ClipDataset(uncompressed).fingerprint()
    one, two = uncompressed / "00000" / "00001.png", uncompressed / "00000" / "00002.png"
    content_of_one = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content_of_one)
    assert ClipDataset(uncompressed).fingerprint() != before


def test_a_folder_and_its_zip_agree_also_on_a_frame_that_is_missing(folder, tmp_path):
    fingerprints = []
    for stage in ("whole", "a frame is missing"):
        archive = Path(shutil.make_archive(str(tmp_path / stage), "zip", folder))
        assert ClipDataset(folder).fingerprint() == ClipDataset(archive).fingerprint(), stage
        fingerprints.append(ClipDataset(archive).fingerprint())
        (folder / "00001" / "00003.png").unlink(missing_ok=True)
    assert len(set(fingerprints)) == 2


def test_files_that_are_not_listed_do_not_count(folder):
    before = ClipDataset(folder).fingerprint()
    (folder / "00000" / "00099.png").write_bytes(b"not listed")
    (folder / "00000" / "._00001.png").write_bytes(b"left behind")
    (folder / "00000" / "00004.depth.png").write_bytes(encode_depth(np.full([SIZE, SIZE], 2.5)))
    assert ClipDataset(folder).fingerprint() == before


def test_content_is_read_once(folder, monkeypatch):
    reads = []
    read = content._read_crc
    monkeypatch.setattr(content, "_read_crc", lambda path: reads.append(path) or read(path))
    monkeypatch.setattr(content, "RACY_NS", -(10**18))  # as if all were written long ago
    dataset = ClipDataset(folder)
    first = dataset.fingerprint()
    assert len(reads) == dataset.num_frames
    assert dataset.fingerprint() == ClipDataset(folder).fingerprint() == first
    assert len(reads) == dataset.num_frames, "nothing is read again, now or by a later process"


def test_a_zip_is_not_read(tmp_path, monkeypatch):
    dataset = ClipDataset(make(tmp_path / "clips.zip"))
    monkeypatch.setattr(dataset._files, "read", None)
    monkeypatch.setattr(content, "_read_crc", None)
    assert len(dataset.fingerprint()) == 64


def test_the_fingerprint_of_earlier_versions_goes_by_the_text_of_names(tmp_path):
    """They read frame10 before frame2."""
    folder = make(tmp_path / "clips", lengths=(16,))
    clip = folder / "00000"
    for place in range(16):
        os.rename(clip / f"{place:05d}.png", clip / f"{place}.png")

    def rename(index: dict) -> None:
        index["labels"] = [[f"00000/{place}.png", label] for place, (_, label) in enumerate(index["labels"])]

    edit_index(folder, rename)
    index = json.loads((folder / "dataset.json").read_text())
    labels = sorted(index["labels"])
    assert [name for name, _ in labels[:3]] == ["00000/0.png", "00000/1.png", "00000/10.png"]
    expected = hashlib.sha256(str(SIZE).encode())
    expected.update("\0".join(["00000", *(name for name, _ in labels), ""]).encode())
    expected.update(np.array([(folder / name).stat().st_size for name, _ in labels], dtype="<i8").tobytes())
    expected.update(np.array([label for _, label in labels], dtype=np.float32).tobytes())
    dataset = ClipDataset(folder)
    assert dataset.names_and_sizes == expected.hexdigest()
    assert dataset.is_reordered
    assert not ClipDataset(make(tmp_path / "padded", lengths=(16,))).is_reordered
