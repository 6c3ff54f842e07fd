"""metrics.folder_content: what is scored is known by the content of its files, and of no others."""

import os
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from dnnlib import content
from metrics.folder_content import FolderContent
from metrics.multiview import GEOMETRY_FILE, FolderViews
from metrics.video_sources import FolderVideos, Window
from tests.helpers.noise import edit_frame, make, store_uncompressed
from training.data.fingerprints import Fingerprinted

WINDOW = Window(4)


def videos(folder: Path) -> Fingerprinted:
    return FolderVideos(folder, WINDOW).content


def views(folder: Path) -> Fingerprinted:
    return FolderViews(folder).content


def write_raw_video(path: Path, seed: int) -> None:
    """Write five frames of noise without compression."""
    pixels = np.random.default_rng(seed).integers(0, 256, [5, 16, 16, 3], dtype=np.uint8)
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "16x16", "-i", "-"]
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", *source, "-c:v", "rawvideo", str(path)],
        input=pixels.tobytes(),
        check=True,
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    """A raw video, and two folders of uncompressed frames."""
    folder = make(tmp_path / "videos", lengths=(4, 4))
    store_uncompressed(folder)
    write_raw_video(folder / "raw.avi", seed=0)
    return folder


def test_a_frame_edited_in_place_is_another_video(folder):
    before = videos(folder)
    fingerprint = before.fingerprint(), before.at_a_glance()
    edit_frame(folder / "00001" / "00003.png")
    assert videos(folder).fingerprint() != fingerprint[0]
    assert videos(folder).at_a_glance() == fingerprint[1]


def test_a_raw_video_written_again_is_another_one(folder):
    before = videos(folder)
    fingerprint = before.fingerprint(), before.at_a_glance()
    write_raw_video(folder / "raw.avi", seed=1)
    assert videos(folder).fingerprint() != fingerprint[0]
    assert videos(folder).at_a_glance() == fingerprint[1]


def test_geometry_that_changed_makes_other_views(folder):
    geometry = folder / "00000" / GEOMETRY_FILE
    np.savez(geometry, depth=np.ones(5))
    before = views(folder)
    fingerprint = before.fingerprint(), before.at_a_glance()
    np.savez(geometry, depth=np.full(5, 2.0))
    assert views(folder).fingerprint() != fingerprint[0]
    assert views(folder).at_a_glance() == fingerprint[1]
    geometry.unlink()
    assert views(folder).at_a_glance() != fingerprint[1]


@pytest.mark.parametrize("look", [videos, views])
def test_other_files_do_not_count(folder, look):
    before = look(folder).fingerprint()
    (folder / "notes.txt").write_text("no video")
    (folder / "00000" / "notes.txt").write_text("no frame")
    (folder / ".DS_Store").write_bytes(b"left behind")
    (folder / "00000" / ".DS_Store").write_bytes(b"left behind")
    (folder / "00000" / "Thumbs.db").write_bytes(b"left behind")
    assert look(folder).fingerprint() == before


def test_names_count(folder):
    before = videos(folder)
    fingerprint = before.fingerprint(), before.at_a_glance()
    (folder / "raw.avi").rename(folder / "other.avi")
    after = videos(folder)
    assert after.fingerprint() != fingerprint[0]
    assert after.at_a_glance() != fingerprint[1]


def test_files_are_read_once(folder, monkeypatch):
    reads = []
    read = content._read_crc
    monkeypatch.setattr(content, "_read_crc", lambda path: reads.append(path) or read(path))
    monkeypatch.setattr(content, "RACY_NS", -(10**18))  # as if all were written long ago
    first = videos(folder).fingerprint()
    assert len(reads) == 9
    assert videos(folder).fingerprint() == first
    assert len(reads) == 9


def test_names_of_any_bytes(tmp_path):
    file = tmp_path / os.fsdecode(b"odd \xff.mp4")
    file.write_bytes(b"abc")
    data = FolderContent(tmp_path, [file])
    assert len(data.fingerprint()) == len(data.at_a_glance()) == 64
