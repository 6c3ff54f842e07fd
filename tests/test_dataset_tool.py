"""dataset_tool.py: convert, what it and synth refuse, and that they leave nothing half-written."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from click.testing import Result

from dnnlib.video import write_video
from tests.helpers.dataset_command import done, run, synth
from training import synthetic
from training.data.convert import PATIENCE
from training.data.dataset import ClipDataset

ROOT = Path(__file__).parents[1]


def black_video(path: Path, frames: int, height: int, width: int) -> None:
    """Write a video of black frames."""
    write_video(path, np.zeros([frames, height, width, 3], np.uint8), 25)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """Three clips of 4 frames at 64 x 64 in the published layout; the list names two of them."""
    root = tmp_path_factory.mktemp("published")
    (root / "smoothed_camera2world").mkdir()
    for seed, name in enumerate(("anna", "ben", "carl")):
        clip = synthetic.render_clip(seed, 64, 4)
        frames = clip.frames.transpose(0, 2, 3, 1)
        write_video(root / "recrop_faces" / f"{name}.mp4", frames, 25, crf=4)
        cameras = clip.cameras.tolist()
        labels = [[f"{index:05d}.png", camera] for index, camera in enumerate(cameras)]
        (root / "smoothed_camera2world" / f"{name}.json").write_text(json.dumps(labels))
    (root / "voxceleb.list").write_text("carl.mp4\nanna.mp4\n")
    return root


@pytest.fixture
def source(published, tmp_path) -> Path:
    """A copy of the published layout to damage (links, replaced where a test writes)."""
    for path in published.rglob("*.*"):
        target = tmp_path / "source" / path.relative_to(published)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return tmp_path / "source"


def assert_refused(result: Result, dest: Path, *words: str) -> None:
    """Exit status 2, one sentence with these words, nothing at or beside `dest`."""
    assert result.exit_code == 2, result.output
    error = result.output.strip().splitlines()[-1]
    assert error.startswith("Error: ")
    for word in words:
        assert word in error
    assert not dest.exists()
    assert not list(dest.parent.glob(".*"))


def test_nothing_is_overwritten(tmp_path, published):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("x")
    (tmp_path / "there.zip").write_text("x")
    for name in ("full", "there.zip"):
        for args in (("synth",), ("convert", "--source", published)):
            result = run(*args, "--dest", tmp_path / name)
            assert result.exit_code == 2 and "exists already" in result.output
    (tmp_path / "empty").mkdir()
    synth(tmp_path / "empty")


# --- convert ---------------------------------------------------------------------------------------------------------


def names_of(dataset: ClipDataset) -> list[str]:
    """Return the names of the clips."""
    return [clip.name for clip in dataset.clips]


def test_convert_reads_the_published_layout(published, tmp_path):
    said = done("convert", "--source", published, "--dest", tmp_path / "out", "--workers", 2)
    assert "2 clips, 8 frames of 64 x 64 pixels" in said
    dataset = ClipDataset(tmp_path / "out")
    assert names_of(dataset) == ["anna", "carl"]
    for index, seed in enumerate((0, 2)):
        expected = synthetic.render_clip(seed, 64, 4)
        clip = dataset.clips[index]
        assert np.allclose(clip.cameras, expected.cameras)
        assert clip.fps == 25
        assert clip.frames[3].endswith("/00003.png")
        for frame in range(4):
            error = dataset.read_frame(index, frame).astype(int) - expected.frames[frame]
            assert np.abs(error).mean() < 5


def test_convert_options(published, tmp_path):
    options = ("--resolution", 32, "--max-frames", 3, "--clips", 1, "--workers", 1)
    done("convert", "--source", published, "--dest", tmp_path / "a.zip", *options)
    dataset = ClipDataset(tmp_path / "a.zip")
    assert names_of(dataset) == ["carl"]
    assert dataset.num_frames == 3
    assert dataset.resolution == 32
    clip = synthetic.render_clip(2, 64, 4)
    blocks = clip.frames[1].reshape(3, 32, 2, 32, 2).mean(axis=(2, 4))
    assert np.abs(dataset.read_frame(0, 1) - blocks).mean() < 5


def test_convert_gives_every_frame_its_own_camera(source, tmp_path):
    """Where the list of cameras is shuffled, or in the order of text."""
    path = source / "smoothed_camera2world" / "anna.json"
    labels = json.loads(path.read_text())
    path.write_text(json.dumps([[f"{place}.png", labels[place][1]] for place in (2, 0, 3, 1)]))
    done("convert", "--source", source, "--dest", tmp_path / "out", "--workers", 1)
    assert np.allclose(ClipDataset(tmp_path / "out").clips[0].cameras, synthetic.render_clip(0, 64, 4).cameras)


@pytest.mark.parametrize("dest", ["out", "out.zip"])
def test_convert_keeps_clips_of_one_name_apart(source, tmp_path, dest):
    for folder, name in (("id1", "anna"), ("id2", "ben")):
        for root, suffix in (("recrop_faces", ".mp4"), ("smoothed_camera2world", ".json")):
            target = source / root / folder / f"a 1{suffix}"
            target.parent.mkdir()
            (source / root / f"{name}{suffix}").rename(target)
    (source / "voxceleb.list").write_text("id1/a 1.mp4\nid2/a 1.mp4\n")
    said = done("convert", "--source", source, "--dest", tmp_path / dest, "--workers", 1)
    assert "Not taken: videos that are not in voxceleb.list (1): carl.mp4." in said
    dataset = ClipDataset(tmp_path / dest)
    assert names_of(dataset) == ["id1/a 1", "id2/a 1"]
    for index in range(2):
        assert np.allclose(dataset.clips[index].cameras, synthetic.render_clip(index, 64, 4).cameras)


def test_convert_takes_all_videos_without_a_list(source, tmp_path):
    (source / "voxceleb.list").unlink()
    done("convert", "--source", source, "--dest", tmp_path / "all", "--workers", 1)
    assert ClipDataset(tmp_path / "all").num_clips == 3


def cut_video(source):
    video = source / "recrop_faces" / "anna.mp4"
    content = video.read_bytes()
    video.write_bytes(content[:-3000])


def drop_cameras(source):
    (source / "smoothed_camera2world" / "anna.json").unlink()


def one_camera_less(source):
    path = source / "smoothed_camera2world" / "anna.json"
    labels = json.loads(path.read_text())
    path.write_text(json.dumps(labels[:-1]))


def spoil_cameras(source):
    (source / "smoothed_camera2world" / "anna.json").write_text('[["00000.png", [1, 2, 3]]]')


def not_square(source):
    black_video(source / "recrop_faces" / "anna.mp4", 4, 32, 64)


def too_fast(source):
    write_video(source / "recrop_faces" / "anna.mp4", np.zeros([4, 32, 32, 3], np.uint8), 1200)


def wide_pixels(source):
    video = source / "recrop_faces" / "anna.mp4"
    wide = source / "wide.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", video, "-vf", "setsar=4/3", wide]
    subprocess.run(command, check=True)
    wide.replace(video)


def high_dynamic_range(source):
    video = source / "recrop_faces" / "anna.mp4"
    bright = source / "bright.mp4"
    filters = "format=yuv420p10le,setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc=arib-std-b67"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", video, "-vf", filters, "-c:v", "libx264", bright]
    subprocess.run(command, check=True)
    bright.replace(video)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (cut_video, "anna.mp4"),
        (drop_cameras, "anna.json"),
        (one_camera_less, "4 frames"),
        (spoil_cameras, "anna.json"),
        (not_square, "64 x 32"),
        (too_fast, "1200 frames a second"),
        (wide_pixels, "1.33 times as wide as high"),
        (high_dynamic_range, "is HDR"),
    ],
)
def test_convert_names_a_broken_clip(source, tmp_path, damage, word, workers):
    damage(source)
    dest = tmp_path / "out.zip"
    args = ("convert", "--source", source, "--dest", dest, "--workers", workers)
    assert_refused(run(*args), dest, word, "--skip-broken")
    said = done(*args, "--skip-broken")
    assert word in said
    assert "Left out 1 of 2" in said
    assert names_of(ClipDataset(dest)) == ["carl"]


@pytest.mark.parametrize("workers", [1, 2])
def test_convert_mixes_no_sizes(source, tmp_path, workers):
    write_video(source / "recrop_faces" / "anna.mp4", np.zeros([4, 48, 48, 3], np.uint8), 25)
    args = ("convert", "--source", source, "--dest", tmp_path / "out", "--workers", workers)
    assert_refused(run(*args), tmp_path / "out", "48 (anna)", "(carl)", "--resolution")
    assert "2 clips, 8 frames of 32 x 32 pixels" in done(*args, "--resolution", 32)


MOST = 4 + PATIENCE  # frames that are counted of a clip with 4 cameras


@pytest.mark.parametrize("length, said", [(MOST - 1, f"{MOST - 1} frames"), (MOST + 5, f"{MOST} or more frames")])
def test_convert_does_not_count_frames_for_ever(source, tmp_path, length, said):
    black_video(source / "recrop_faces" / "anna.mp4", length, 32, 32)
    result = run("convert", "--source", source, "--dest", tmp_path / "out", "--workers", 1)
    assert_refused(result, tmp_path / "out", said, "4 cameras")


@pytest.mark.parametrize("name", ["x:y", "dataset.json.mp4", "a\\b", "/", "tab\x1b"])
def test_convert_takes_no_names_that_a_dataset_cannot_have(source, tmp_path, name):
    (source / "voxceleb.list").write_text(f"{name}\n")
    result = run("convert", "--source", source, "--dest", tmp_path / "out", "--workers", 1)
    assert_refused(result, tmp_path / "out", "No clip can be called")


def test_convert_takes_file_names_alone_from_a_list(source, tmp_path):
    (source / "voxceleb.list").write_text("../anna\n")
    done("convert", "--source", source, "--dest", tmp_path / "out", "--workers", 1)
    assert names_of(ClipDataset(tmp_path / "out")) == ["anna"]


def test_convert_refuses_other_layouts(source, tmp_path):
    dest = tmp_path / "out"
    assert_refused(run("convert", "--source", tmp_path / "absent", "--dest", dest), dest, "absent")
    assert_refused(run("convert", "--source", tmp_path, "--dest", dest), dest, "recrop_faces")
    (source / "voxceleb.list").unlink()
    for path in (source / "recrop_faces").iterdir():
        path.unlink()
    assert_refused(run("convert", "--source", source, "--dest", dest), dest, "no videos")


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("name", ["heads.zip", "heads"])
def test_ctrl_c_leaves_nothing(tmp_path, name):
    process = subprocess.Popen(
        [sys.executable, "dataset_tool.py", "synth", "--dest", tmp_path / name, "--clips", "100000", "--workers", "2"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not os.listdir(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert os.listdir(tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in error
    assert os.listdir(tmp_path) == []


# --- Usage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [
        ("synth", "--dest", "x", "--clips", 0),
        ("synth", "--dest", "x", "--resolution", 8),
        ("synth",),
        ("synth", "--dest", "x", "--seed", -1),
        ("synth", "--dest", "x", "--yaw-range", 76),
        ("synth", "--dest", "x", "--yaw-range", 0),
        ("synth", "--dest", "x", "--split", "both"),
        ("convert", "--dest", "x"),
        ("check",),
        ("convert", "--source", ".", "--dest", "x", "--workers", 0),
    ],
)
def test_bad_options_are_usage_errors(args, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*args).exit_code == 2 and os.listdir() == []
