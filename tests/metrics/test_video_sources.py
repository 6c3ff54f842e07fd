"""Sources of videos: pure functions of their numbers, the right windows, one sentence for each bad file."""

import os

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from dnnlib.video import read_frames, write_video
from metrics.video_sources import (
    PV3D_STORAGE,
    STYLEGAN_V_STORAGE,
    DatasetVideos,
    FolderVideos,
    GeneratedVideos,
    Window,
    code_spec,
    through_h264,
    to_uint8_pv3d,
)
from training.cameras import frontal_label
from training.checkpoints.opener import load_generator
from training.data.dataset import ClipDataset
from training.data.files import encode_png
from training.data.writer import ClipRecord, write_dataset
from training.sampling.clips import clip_spec

pytestmark = pytest.mark.usefixtures("one_thread")
SHORT = Window(4)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory) -> ClipDataset:
    """Clips of 20, 3 and 9 frames; pixel 0 of a frame is its number, pixel 1 its clip's."""
    path = tmp_path_factory.mktemp("numbered") / "clips"
    with write_dataset(path) as writer:
        for clip, length in enumerate((20, 3, 9)):
            frames = np.zeros([length, 3, 8, 8], np.uint8)
            frames[:, 0, 0, 0], frames[:, 0, 0, 1] = np.arange(length), clip
            files = [(f"{i:05d}.png", encode_png(frame)) for i, frame in enumerate(frames)]
            cameras = frontal_label().expand(length, -1).numpy()
            writer.add(ClipRecord(name=f"{clip:05d}", frames=files, cameras=cameras, fps=25.0))
    return ClipDataset(path)


@pytest.fixture(scope="module")
def generated(snapshot, heads) -> GeneratedVideos:
    cameras = [clip.cameras for clip in ClipDataset(heads).clips]
    return GeneratedVideos(load_generator(snapshot), "abc", cameras=cameras, window=SHORT, storage=STYLEGAN_V_STORAGE)


def test_windows_of_a_dataset_are_whole_and_all_clips_take_turns(numbered):
    source = DatasetVideos(numbered, Window(4, 2))
    seen = [source.video(index)[:, 0, 0, :2] for index in range(40)]
    for pixels in seen:
        assert (np.diff(pixels[:, 0].astype(int)) == 2).all() and len(set(pixels[:, 1])) == 1
    clips = [int(pixels[0, 1]) for pixels in seen]
    assert all({first, second} == {0, 2} for first, second in zip(clips[::2], clips[1::2], strict=True))
    starts = {int(pixels[0, 0]) for pixels, clip in zip(seen, clips, strict=True) if clip == 0}
    assert len(starts) > 5 and max(starts) <= 13 and source.count == 14 + 3
    assert np.array_equal(source.video(7), DatasetVideos(numbered, Window(4, 2)).video(7))
    other = DatasetVideos(numbered, Window(4, 2), seed=1)
    assert any(not np.array_equal(source.video(index), other.video(index)) for index in range(8))


def test_every_clip_once_goes_clip_by_clip(numbered):
    source = DatasetVideos(numbered, SHORT, every_clip_once=True)
    assert source.count == 2 and [source.video(i)[0, 0, 0, 1] for i in range(2)] == [0, 2]


def test_a_dataset_of_short_clips_is_refused(numbered):
    with pytest.raises(UserError, match="21 frames"):
        DatasetVideos(numbered, Window(21))
    with pytest.raises(UserError, match="25 frames"):
        DatasetVideos(numbered, Window(4, 8))


def test_identities_follow_everything(numbered, generated):
    same = DatasetVideos(numbered, SHORT).identity
    assert same == DatasetVideos(numbered, SHORT).identity
    others = [
        DatasetVideos(numbered, Window(5)),
        DatasetVideos(numbered, SHORT, seed=1),
        DatasetVideos(numbered, SHORT, every_clip_once=True),
    ]
    assert all(other.identity != same for other in others)
    parts = {
        "snapshot": generated.snapshot,
        "checksum": "abc",
        "cameras": generated.cameras,
        "window": SHORT,
        "storage": PV3D_STORAGE,
        "seed": 0,
    }
    others = {
        "checksum": "other",
        "cameras": generated.cameras[:1],
        "window": Window(5),
        "storage": STYLEGAN_V_STORAGE,
        "seed": 1,
    }
    whole = GeneratedVideos(**parts).identity
    for name, value in others.items():
        assert GeneratedVideos(**parts | {name: value}).identity != whole, name


def test_generated_videos_are_those_of_gen_videos(generated):
    video = generated.video(3)
    assert video.shape == (4, 3, 32, 32) and video.dtype == np.uint8
    assert np.array_equal(video, generated.video(3)) and not np.array_equal(video, generated.video(4))
    spec = code_spec(generated.snapshot, 0, 3, torch.zeros(4, 25))
    expected = clip_spec(generated.snapshot.G, 3, 3, torch.zeros(4, 25))
    assert torch.equal(spec.z, expected.z) and torch.equal(spec.z_motion, expected.z_motion)
    assert not torch.equal(code_spec(generated.snapshot, 1, 3, torch.zeros(4, 25)).z, spec.z)


def test_frames_become_bytes_as_each_protocol_has_it():
    x = torch.tensor([-2, -1, -0.999, 0, 0.5, 1, 3])
    assert to_uint8_pv3d(x).tolist() == [0, 0, 0, 127, 191, 255, 255]
    assert STYLEGAN_V_STORAGE.to_uint8(x).tolist() == [0, 0, 0, 128, 191, 255, 255]


def test_h264_keeps_size_and_changes_little():
    frames = np.zeros([5, 3, 31, 33], np.uint8) + np.arange(33, dtype=np.uint8) * 5
    back = through_h264(frames)
    assert back.shape == frames.shape and 0 < np.abs(back.astype(int) - frames).mean() < 4


def test_folders_hold_files_and_frames(tmp_path):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, [6, 16, 16, 3], dtype=np.uint8)
    write_video(tmp_path / "a.mp4", frames, 25)
    (tmp_path / "b").mkdir()
    for i, frame in enumerate(frames):
        (tmp_path / "b" / f"{i}.png").write_bytes(encode_png(frame.transpose(2, 0, 1)))
    (tmp_path / "notes.txt").write_text("no video")
    (tmp_path / "empty").mkdir()
    source = FolderVideos(tmp_path, SHORT)
    assert source.count == 2
    decoded = np.stack(list(read_frames(tmp_path / "a.mp4")))[:4].transpose(0, 3, 1, 2)
    assert np.array_equal(source.video(0), decoded)
    assert np.array_equal(source.video(1), frames[:4].transpose(0, 3, 1, 2))
    assert np.array_equal(FolderVideos(tmp_path, Window(2, 3)).video(1), frames[:4:3].transpose(0, 3, 1, 2))
    before = source.identity
    os.truncate(tmp_path / "b" / "5.png", 20)
    assert FolderVideos(tmp_path, SHORT).identity != before


def test_bad_files_are_a_sentence_each(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match="no folder|no videos"):
            FolderVideos(folder, SHORT)
    frames = np.zeros([3, 16, 16, 3], np.uint8)
    write_video(tmp_path / "short.mp4", frames, 25)
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "mixed").mkdir()
    for i, side in enumerate((8, 8, 16, 8)):
        (tmp_path / "mixed" / f"{i}.png").write_bytes(encode_png(np.zeros([3, side, side], np.uint8)))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "0.png").write_bytes(encode_png(np.zeros([3, 8, 8], np.uint8))[:30])
    (tmp_path / "waiting").mkdir()
    os.mkfifo(tmp_path / "waiting" / "0.png")
    (tmp_path / "zero.mp4").symlink_to("zero.mp4")
    source = FolderVideos(tmp_path, SHORT)
    assert source.identity["source"] == "folder"
    reasons = ("different sizes", "3 frames", "Cannot read", "unreadable", "a pipe", "cannot be reached")
    for index, reason in enumerate(reasons):
        with pytest.raises(UserError, match=reason):
            source.video(index)
