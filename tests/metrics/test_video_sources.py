"""metrics.video_sources: pure functions of numbers, the right windows, one sentence for each bad file."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from dnnlib.options import override
from dnnlib.video import read_frames, write_video
from metrics import video_sources
from metrics.video_sources import (
    PV3D_STORAGE,
    STYLEGAN_V_STORAGE,
    DatasetVideos,
    FolderVideos,
    GeneratedVideos,
    Window,
    code_spec,
    through_h264,
)
from tests.helpers.recording import spy
from training.cameras import frontal_label
from training.checkpoints.opener import load_generator
from training.data.dataset import ClipDataset
from training.data.frames import encode_png
from training.data.writer import ClipRecord, write_dataset
from training.sampling.clips import clip_spec

pytestmark = pytest.mark.usefixtures("one_thread")
SHORT = Window(4)


# --- Datasets ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def numbered(tmp_path_factory) -> ClipDataset:
    """Clips of 20, 3 and 9 frames; pixel 0 of a frame is its number, pixel 1 its clip's."""
    path = tmp_path_factory.mktemp("numbered") / "clips"
    with write_dataset(path) as writer:
        for clip, length in enumerate((20, 3, 9)):
            frames = np.zeros([length, 3, 8, 8], np.uint8)
            frames[:, 0, 0, 0] = np.arange(length)
            frames[:, 0, 0, 1] = clip
            files = [(f"{index:05d}.png", encode_png(frame)) for index, frame in enumerate(frames)]
            cameras = frontal_label().expand(length, -1).numpy()
            writer.add(ClipRecord(name=f"{clip:05d}", frames=files, cameras=cameras, fps=25.0))
    return ClipDataset(path)


def frame_numbers(video: np.ndarray) -> np.ndarray:
    return video[:, 0, 0, 0].astype(int)


def clip_number(video: np.ndarray) -> int:
    (number,) = set(video[:, 0, 0, 1].tolist())
    return number


def test_windows_of_a_dataset_are_whole(numbered):
    source = DatasetVideos(numbered, Window(4, 2))
    assert source.count == 14 + 3
    starts = set()
    for index in range(40):
        video = source.video(index)
        numbers = frame_numbers(video)
        assert (np.diff(numbers) == 2).all()
        if clip_number(video) == 0:
            starts.add(numbers[0])
    assert len(starts) > 5
    assert max(starts) <= 13


def test_all_clips_that_are_long_enough_take_turns(numbered):
    source = DatasetVideos(numbered, Window(4, 2))
    clips = [clip_number(source.video(index)) for index in range(40)]
    for first, second in zip(clips[::2], clips[1::2], strict=True):
        assert {first, second} == {0, 2}


def test_windows_follow_from_the_seed_and_the_number(numbered):
    def videos(seed: int) -> np.ndarray:
        source = DatasetVideos(numbered, Window(4, 2), seed)
        return np.stack([source.video(index) for index in range(8)])

    assert np.array_equal(videos(0), videos(0))
    assert not np.array_equal(videos(0), videos(1))


def test_every_clip_once_goes_clip_by_clip(numbered):
    source = DatasetVideos(numbered, SHORT, every_clip_once=True)
    clips = [clip_number(source.video(index)) for index in range(source.count)]
    assert clips == [0, 2]


def test_clips_that_are_too_short_are_named(numbered):
    source = DatasetVideos(numbered, SHORT)
    assert source.notes == [f"Not taken: clips of {numbered.path} with fewer than 4 frames (1): 00001."]
    assert DatasetVideos(numbered, Window(3)).notes == []


@pytest.mark.parametrize("window", [Window(21), Window(6, 4)])
def test_a_dataset_of_short_clips_is_refused(numbered, window):
    with pytest.raises(UserError, match="21 frames"):
        DatasetVideos(numbered, window)


def test_identities_of_dataset_videos_follow_everything(numbered):
    identity = DatasetVideos(numbered, SHORT).identity
    assert identity == DatasetVideos(numbered, SHORT).identity
    others = [
        DatasetVideos(numbered, Window(5)),
        DatasetVideos(numbered, SHORT, seed=1),
        DatasetVideos(numbered, SHORT, every_clip_once=True),
    ]
    for other in others:
        assert other.identity != identity


# --- Generators -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generated(snapshot, heads) -> GeneratedVideos:
    return GeneratedVideos(
        snapshot=load_generator(snapshot),
        checksum="abc",
        cameras=[clip.cameras for clip in ClipDataset(heads).clips],
        window=SHORT,
        storage=STYLEGAN_V_STORAGE,
    )


def test_generated_videos_follow_from_their_number(generated):
    video = generated.video(3)
    assert video.shape == (4, 3, 32, 32)
    assert video.dtype == np.uint8
    assert np.array_equal(video, generated.video(3))
    assert not np.array_equal(video, generated.video(4))


def test_codes_of_seed_0_are_those_of_gen_videos(generated):
    snapshot = generated.snapshot
    cameras = torch.zeros(4, 25)
    spec = code_spec(snapshot, 0, 3, cameras)
    expected = clip_spec(snapshot.G, 3, 3, cameras)
    assert torch.equal(spec.z, expected.z)
    assert torch.equal(spec.z_motion, expected.z_motion)
    other = code_spec(snapshot, 1, 3, cameras)
    assert not torch.equal(other.z, spec.z)


@pytest.mark.parametrize(
    "window, trained, scored, end",
    [
        (16, 1.0, Window(), 1.0),  # the paper's
        (16, 1.0, Window(128), 1.0),  # slowed down: there is no more time
        (16, 1.0, Window(16, 8), 1.0),
        (16, 1.0, Window(9), 8 / 15),
        (64, 1.0, Window(), 15 / 63),
        (64, 19 / 63, Window(), 15 / 63),
        (16, 4 / 15, Window(), 4 / 15),
        (1, 0.0, Window(), 0.0),
    ],
)
def test_scored_videos_run_at_the_speed_of_real_ones_as_far_as_there_was_training(
    generated, window, trained, scored, end, monkeypatch
):
    config = override(generated.snapshot.config, {"training.window": window})
    monkeypatch.setattr(generated.snapshot.G, "max_time", trained)
    made = spy(monkeypatch, video_sources, "generate")
    replace(generated, snapshot=replace(generated.snapshot, config=config), window=scored).video(0)
    assert torch.equal(made[0].inputs[1].times, torch.linspace(0, end, scored.frames))


def test_identities_of_generated_videos_follow_everything(generated):
    changes = {
        "checksum": "other",
        "cameras": generated.cameras[:1],
        "window": Window(5),
        "storage": PV3D_STORAGE,
        "seed": 1,
    }
    for name, value in changes.items():
        other = replace(generated, **{name: value})
        assert other.identity != generated.identity, name


def test_paths_of_cameras_are_more_than_their_frames(generated):
    whole = generated.cameras[0]
    halves = replace(generated, cameras=[whole[:8], whole[8:]])
    assert halves.identity != replace(generated, cameras=[whole]).identity


@pytest.mark.parametrize(
    "storage, levels",
    [
        (PV3D_STORAGE, [0, 0, 0, 127, 191, 255, 255]),
        (STYLEGAN_V_STORAGE, [0, 0, 0, 128, 191, 255, 255]),
    ],
)
def test_frames_become_bytes_as_each_protocol_has_it(storage, levels):
    x = torch.tensor([-2, -1, -0.999, 0, 0.5, 1, 3])
    assert storage.to_uint8(x).tolist() == levels


def test_h264_keeps_size_and_changes_little():
    frames = np.zeros([5, 3, 31, 33], np.uint8)
    frames += np.arange(33, dtype=np.uint8) * 5
    back = through_h264(frames)
    assert back.shape == frames.shape
    differences = back.astype(int) - frames
    assert 0 < np.abs(differences).mean() < 4


# --- Folders ----------------------------------------------------------------------------------------------------------


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


def test_what_was_decoded_otherwise_is_another_source(generated, folder, monkeypatch):
    through_files = replace(generated, storage=PV3D_STORAGE)
    sources = (FolderVideos(folder, SHORT), through_files, generated)
    before = [source.identity for source in sources]
    monkeypatch.setattr(video_sources, "CODEC_VERSION", -1)
    same = [source.identity == identity for source, identity in zip(sources, before, strict=True)]
    assert same == [False, False, True]


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
