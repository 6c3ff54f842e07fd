"""metrics.video_sources: pure functions of numbers, and the right windows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from dnnlib.options import override
from dnnlib.video import write_video
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
    "window, trained, scored, end, note",
    [
        (16, 1.0, Window(), 1.0, None),  # the paper's
        (16, 1.0, Window(128), 1.0, "16 frames of a clip, and real videos span 128"),  # there is no more time
        (16, 1.0, Window(16, 8), 1.0, "16 frames of a clip, and real videos span 121"),
        (16, 1.0, Window(9), 8 / 15, None),
        (64, 1.0, Window(), 15 / 63, None),
        (64, 19 / 63, Window(), 15 / 63, None),
        (16, 4 / 15, Window(), 4 / 15, "5 frames of a clip, and real videos span 16"),
        (1, 0.0, Window(), 0.0, "single frames, and real videos span 16: generated ones do not move"),
    ],
)
def test_scored_videos_run_at_the_speed_of_real_ones_as_far_as_there_was_training(
    generated, window, trained, scored, end, note, monkeypatch
):
    config = override(generated.snapshot.config, {"training.window": window})
    monkeypatch.setattr(generated.snapshot.G, "max_time", trained)
    made = spy(monkeypatch, video_sources, "generate")
    source = replace(generated, snapshot=replace(generated.snapshot, config=config), window=scored)
    assert (note is None) == (not source.notes)
    assert all(note in line for line in source.notes)
    source.video(0)
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


def test_what_was_decoded_otherwise_is_another_source(generated, tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", np.zeros([4, 16, 16, 3], np.uint8), 25)
    through_files = replace(generated, storage=PV3D_STORAGE)
    sources = (FolderVideos(tmp_path, SHORT), through_files, generated)
    before = [source.identity for source in sources]
    monkeypatch.setattr(video_sources, "CODEC_VERSION", -1)
    same = [source.identity == identity for source, identity in zip(sources, before, strict=True)]
    assert same == [False, False, True]
