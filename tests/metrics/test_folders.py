"""metrics.folders: every video of a folder is taken in its order or named; one sentence for each bad file."""

import os
from pathlib import Path

import numpy as np
import pytest

from dnnlib.errors import UserError
from dnnlib.video import read_frames, write_video
from metrics.video_sources import FolderVideos, Window
from training.data.frames import encode_png

SHORT = Window(4)


def frame_numbers(video: np.ndarray) -> np.ndarray:
    return video[:, 0, 0, 0].astype(int)


def write_frames(folder: Path, frames: np.ndarray) -> None:
    """Write frames uint8 [T, 3, H, W] as a folder of images."""
    folder.mkdir()
    for index, frame in enumerate(frames):
        path = folder / f"{index}.png"
        path.write_bytes(encode_png(frame))


@pytest.fixture
def frames() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, [6, 3, 16, 16], dtype=np.uint8)


@pytest.fixture
def folder(frames, tmp_path) -> Path:
    """A folder with a video file, a folder of frames, and what is no video."""
    write_video(tmp_path / "a.mp4", frames.transpose(0, 2, 3, 1), 25)
    write_frames(tmp_path / "b", frames)
    (tmp_path / "notes.txt").write_text("no video")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_folders_hold_files_and_frames(folder, frames):
    source = FolderVideos(folder, SHORT)
    assert source.count == 2
    decoded = np.stack(list(read_frames(folder / "a.mp4")))
    assert np.array_equal(source.video(0), decoded[:4].transpose(0, 3, 1, 2))
    assert np.array_equal(source.video(1), frames[:4])


def test_a_stride_skips_frames(folder, frames):
    source = FolderVideos(folder, Window(2, 3))
    assert np.array_equal(source.video(1), frames[:4:3])


def test_a_changed_file_changes_the_identity(folder):
    before = FolderVideos(folder, SHORT).identity
    os.truncate(folder / "b" / "5.png", 20)
    assert FolderVideos(folder, SHORT).identity != before


def test_frames_and_videos_are_in_the_order_of_their_numbers(tmp_path):
    frames = np.zeros([12, 3, 8, 8], np.uint8)
    frames[:, 0, 0, 0] = np.arange(12)
    for video in range(12):
        write_frames(tmp_path / str(video), frames)
    source = FolderVideos(tmp_path, Window(12))
    assert [path.name for path in source.paths] == [str(video) for video in range(12)]
    assert frame_numbers(source.video(0)).tolist() == list(range(12))


def test_leftovers_and_depth_are_no_videos_and_no_frames(folder, frames):
    for name in ("._a.mp4", "__MACOSX/a.mp4", "Thumbs.db", "b/._0.png", "b/desktop.ini", "b/0.depth.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"left behind")
    source = FolderVideos(folder, SHORT)
    assert source.count == 2
    assert np.array_equal(source.video(1), frames[:4])


def test_every_video_is_taken_or_named(folder):
    for name in ("c.M4V", "d.MKV", "e.mpg", "f.mpeg", "more/a.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((folder / "a.mp4").read_bytes())
    source = FolderVideos(folder, SHORT)
    assert [path.name for path in source.paths] == ["a.mp4", "b", "c.M4V", "d.MKV"]
    assert source.notes == [
        f"Not taken: what else is in {folder} (5): e.mpg, empty/, f.mpeg, more/, notes.txt.",
    ]
    assert source.video(2).shape == source.video(3).shape == source.video(0).shape


def test_videos_of_one_name_are_named(folder):
    (folder / "a").mkdir()
    (folder / "a" / "0.png").write_bytes((folder / "b" / "0.png").read_bytes())
    notes = FolderVideos(folder, SHORT).notes[1:]
    assert notes == ["Counted each, though only their suffixes differ (2): a, a.mp4."]


def test_what_lies_among_frames_is_named(folder):
    (folder / "b" / "more").mkdir()
    (folder / "b" / "a.txt").touch()
    (folder / "b" / "0_mask.png").write_bytes((folder / "b" / "0.png").read_bytes())
    taken, order = FolderVideos(folder, SHORT).notes[1:]
    assert taken == "Not taken: what else is in folders of frames (2): b/a.txt, b/more."
    assert "in order in 1 folders" in order and "b is read as 0.png, 0_mask.png, 1.png" in order


def test_a_folder_of_other_things_says_what_it_holds(tmp_path):
    (tmp_path / "more").mkdir()
    for number in range(9):
        (tmp_path / f"{number}.png").touch()
    with pytest.raises(UserError, match="no folders of frames, but 0.png, 1.png, 2.png, 3.png, 4.png and 5 more"):
        FolderVideos(tmp_path, SHORT)


@pytest.mark.parametrize("folder", [".", "missing"])
def test_folders_without_videos_are_refused(tmp_path, folder):
    with pytest.raises(UserError, match="no folder|no videos"):
        FolderVideos(tmp_path / folder, SHORT)


def make_mixed(path: Path) -> None:
    path.mkdir()
    for index, side in enumerate((8, 8, 16, 8)):
        image = np.zeros([3, side, side], np.uint8)
        (path / f"{index}.png").write_bytes(encode_png(image))


def make_torn(path: Path) -> None:
    path.mkdir()
    image = encode_png(np.zeros([3, 8, 8], np.uint8))
    (path / "0.png").write_bytes(image[:30])


def make_waiting(path: Path) -> None:
    path.mkdir()
    os.mkfifo(path / "0.png")


BAD_VIDEOS = [
    ("mixed", make_mixed, "different sizes"),
    ("short.mp4", lambda path: write_video(path, np.zeros([3, 16, 16, 3], np.uint8), 25), "3 frames"),
    ("text.mp4", lambda path: path.write_text("not a video"), "Cannot read"),
    ("torn", make_torn, "unreadable"),
    ("waiting", make_waiting, "a pipe"),
    ("circle.mp4", lambda path: path.symlink_to("circle.mp4"), "cannot be reached"),
]


@pytest.mark.parametrize("name, make, reason", BAD_VIDEOS)
def test_bad_files_are_a_sentence_each(tmp_path, name, make, reason):
    make(tmp_path / name)
    source = FolderVideos(tmp_path, SHORT)
    assert source.identity["source"] == "folder"
    with pytest.raises(UserError, match=reason):
        source.video(0)
