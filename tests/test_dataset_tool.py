"""dataset_tool.py: convert, check and synth, what they refuse, and that they leave nothing half-written."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import dataset_tool
from dnnlib.video import write_video
from training import synthetic
from training.cameras import canonical_label
from training.data.convert import PATIENCE
from training.data.dataset import ClipDataset
from training.data.files import encode_png
from training.data.writer import ClipRecord, write_dataset
from training.synthetic.job import SEED_STRIDE

ROOT = Path(__file__).parents[1]


def run(*args):
    return CliRunner().invoke(dataset_tool.main, [str(arg) for arg in args])


def synth(dest, *more):
    result = run("synth", "--dest", dest, "--clips", 2, "--frames", 16, "--resolution", 16, "--workers", 1, *more)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """Three clips of 4 frames at 64 x 64 in the published layout; the list names two of them."""
    root = tmp_path_factory.mktemp("published")
    (root / "smoothed_camera2world").mkdir()
    for seed, name in enumerate(("anna", "ben", "carl")):
        clip = synthetic.render_clip(seed, 64, 4)
        write_video(root / "recrop_faces" / f"{name}.mp4", clip.frames.transpose(0, 2, 3, 1), 25, crf=4)
        labels = [[f"{i:05d}.png", camera.tolist()] for i, camera in enumerate(clip.cameras)]
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


def assert_refused(result, dest: Path, *words: str) -> None:
    """Exit status 2, one sentence with these words, nothing at or beside `dest`."""
    assert result.exit_code == 2, result.output
    error = result.output.strip().splitlines()[-1]
    assert error.startswith("Error: ") and all(word in error for word in words), error
    assert not dest.exists() and not [name for name in os.listdir(dest.parent) if name.startswith(".")]


def test_synth_makes_the_clips_it_says(tmp_path):
    result = synth(tmp_path / "heads.zip")
    assert "2 clips, 32 frames of 16 x 16 pixels, 2 people" in result.output
    dataset = ClipDataset(tmp_path / "heads.zip")
    clip = synthetic.render_clip(0 * SEED_STRIDE + 1, 16, 16)
    assert [c.name for c in dataset.clips] == ["00000", "00001"] and dataset.clips[1].fps == 25
    assert np.array_equal(dataset.read_frame(1, 7), clip.frames[7])
    assert np.array_equal(dataset.clips[1].cameras, clip.cameras)
    assert dataset.clips[0].identity != dataset.clips[1].identity


def test_synth_is_the_same_for_any_workers_and_container(tmp_path):
    synth(tmp_path / "one.zip")
    synth(tmp_path / "two", "--workers", 2, "--depth")
    synth(tmp_path / "other.zip", "--seed", 1)
    one, two, other = (ClipDataset(tmp_path / name) for name in ("one.zip", "two", "other.zip"))
    assert one.fingerprint() == two.fingerprint() != other.fingerprint()
    assert all(np.array_equal(one.read_frame(c, f), two.read_frame(c, f)) for c in range(2) for f in range(16))
    depth = synthetic.render_clip(0, 16, 16).depth
    assert np.abs(two.read_depth(0, 3) - depth[3]).max() < 2e-5
    assert run("check", tmp_path / "two", "--workers", 1).exit_code == 0


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


def test_convert_reads_the_published_layout(published, tmp_path):
    result = run("convert", "--source", published, "--dest", tmp_path / "out", "--workers", 2)
    assert result.exit_code == 0, result.output
    assert "2 clips, 8 frames of 64 x 64 pixels" in result.output
    dataset = ClipDataset(tmp_path / "out")
    assert [clip.name for clip in dataset.clips] == ["anna", "carl"]
    for index, seed in enumerate((0, 2)):
        clip = synthetic.render_clip(seed, 64, 4)
        assert np.allclose(dataset.clips[index].cameras, clip.cameras) and dataset.clips[index].fps == 25
        assert dataset.clips[index].frames[3].endswith("/00003.png")
        for frame in range(4):
            assert np.abs(dataset.read_frame(index, frame).astype(int) - clip.frames[frame]).mean() < 5


def test_convert_options(published, tmp_path):
    result = run(
        "convert",
        "--source",
        published,
        "--dest",
        tmp_path / "a.zip",
        "--resolution",
        32,
        "--max-frames",
        3,
        "--clips",
        1,
        "--workers",
        1,
    )
    assert result.exit_code == 0, result.output
    dataset = ClipDataset(tmp_path / "a.zip")
    assert [clip.name for clip in dataset.clips] == ["carl"] and dataset.num_frames == 3 and dataset.resolution == 32
    blocks = synthetic.render_clip(2, 64, 4).frames[1].reshape(3, 32, 2, 32, 2).mean(axis=(2, 4))
    assert np.abs(dataset.read_frame(0, 1) - blocks).mean() < 5


def test_convert_takes_all_videos_without_a_list(source, tmp_path):
    (source / "voxceleb.list").unlink()
    assert run("convert", "--source", source, "--dest", tmp_path / "all", "--workers", 1).exit_code == 0
    assert ClipDataset(tmp_path / "all").num_clips == 3


def cut_video(source):
    video = source / "recrop_faces" / "anna.mp4"
    video.write_bytes(video.read_bytes()[:-3000])


def drop_cameras(source):
    (source / "smoothed_camera2world" / "anna.json").unlink()


def one_camera_less(source):
    path = source / "smoothed_camera2world" / "anna.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:-1]))


def spoil_cameras(source):
    (source / "smoothed_camera2world" / "anna.json").write_text('[["00000.png", [1, 2, 3]]]')


def not_square(source):
    write_video(source / "recrop_faces" / "anna.mp4", np.zeros([4, 32, 64, 3], np.uint8), 25)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (cut_video, "anna.mp4"),
        (drop_cameras, "anna.json"),
        (one_camera_less, "4 frames"),
        (spoil_cameras, "anna.json"),
        (not_square, "64 x 32"),
    ],
)
def test_convert_names_a_broken_clip(source, tmp_path, damage, word, workers):
    damage(source)
    dest = tmp_path / "out.zip"
    args = ("convert", "--source", source, "--dest", dest, "--workers", workers)
    assert_refused(run(*args), dest, word, "--skip-broken")
    result = run(*args, "--skip-broken")
    assert result.exit_code == 0 and word in result.output and "Left out 1 of 2" in result.output
    assert [clip.name for clip in ClipDataset(dest).clips] == ["carl"]


def test_convert_does_not_count_frames_for_ever(source, tmp_path):
    most = 4 + PATIENCE
    for length, said in ((most - 1, f"{most - 1} frames"), (most + 5, f"{most} or more frames")):
        write_video(source / "recrop_faces" / "anna.mp4", np.zeros([length, 32, 32, 3], np.uint8), 25)
        result = run("convert", "--source", source, "--dest", tmp_path / "out", "--workers", 1)
        assert_refused(result, tmp_path / "out", said, "4 cameras")


@pytest.mark.parametrize("name", ["../anna", "x:y", "dataset.json.mp4", "a\\b", "/", "tab\x1b"])
def test_convert_takes_no_names_that_a_dataset_cannot_have(source, tmp_path, name):
    (source / "voxceleb.list").write_text(f"{name}\n")
    result = run("convert", "--source", source, "--dest", tmp_path / "out", "--workers", 1)
    if name == "../anna":  # the file name alone counts
        assert result.exit_code == 0 and [clip.name for clip in ClipDataset(tmp_path / "out").clips] == ["anna"]
    else:
        assert_refused(result, tmp_path / "out", "No clip can be called")


def test_convert_refuses_other_layouts(source, tmp_path):
    dest = tmp_path / "out"
    assert_refused(run("convert", "--source", tmp_path / "absent", "--dest", dest), dest, "absent")
    assert_refused(run("convert", "--source", tmp_path, "--dest", dest), dest, "recrop_faces")
    for path in [*(source / "recrop_faces").iterdir(), source / "voxceleb.list"]:
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


def test_check_names_every_broken_thing_at_once(tmp_path):
    folder = tmp_path / "clips"
    with write_dataset(folder) as writer:
        for name, length in (("a", 20), ("b", 16), ("short", 15)):
            frames = [(f"{i:05d}.png", encode_png(np.full([3, 16, 16], i, np.uint8))) for i in range(length)]
            cameras = canonical_label().repeat(length, 1).numpy()
            writer.add(ClipRecord(name=name, frames=frames, cameras=cameras, fps=25.0))
    good = run("check", folder, "--workers", 1)
    assert good.exit_code == 1 and good.output.count("broken:") == 1 and "short" in good.output

    (folder / "a" / "00000.png").unlink()
    (folder / "a" / "00001.png").write_bytes((folder / "a" / "00001.png").read_bytes()[:60])
    (folder / "a" / "00002.png").write_bytes(encode_png(np.zeros([3, 8, 8], np.uint8)))
    (folder / "b" / "stray.png").write_bytes(encode_png(np.zeros([3, 16, 16], np.uint8)))
    (folder / "notes.txt").write_text("x")
    index = json.loads((folder / "dataset.json").read_text())
    labels = dict(index["labels"])
    labels["a/00003.png"] = None
    labels["a/00004.png"][5] = float("nan")
    labels["a/00005.png"][0] = -1.0
    labels["a/00006.png"][1] = 0.3
    labels["a/00007.png"][11] = 5.0
    labels["a/00008.png"] = labels["a/00008.png"][:16]
    labels["a/00009.png"][16] = 0.0
    labels["a/00010.png"][15] = 2.0
    labels["../x.png"] = labels["a/00011.png"]
    index["clips"]["empty"] = {"fps": 25}
    index["clips"]["b"] = {}
    (folder / "dataset.json").write_text(json.dumps(index | {"labels": list(labels.items())}))

    result = run("check", folder, "--workers", 2)
    expected = {
        "a/00000.png": "missing frame",
        "a/00001.png": "unreadable or truncated",
        "a/00002.png": "wrong size 8 x 8",
        "b/stray.png": "missing camera",
        "a/00003.png": "missing camera",
        "a/00004.png": "non-finite",
        "a/00005.png": "not a rotation",
        "a/00006.png": "not a rotation",
        "a/00007.png": "5.000 from the origin",
        "a/00008.png": "not 25 numbers",
        "a/00009.png": "intrinsics",
        "a/00010.png": "last row",
        "../x.png": "unsafe path",
        "empty": "without frames",
        "b": "frame rate",
        "short": "15 frames, shorter",
    }
    lines = re.findall("broken: .*", result.output)
    for where, what in expected.items():
        assert any(line.startswith(f"broken: {where}: ") and what in line for line in lines), (where, lines)
    assert result.exit_code == 1 and "note: notes.txt: unlisted file" in result.output
    assert len(lines) == len(expected) + 1  # '..' is a clip of one frame, too
    assert f"{len(lines)} problems" in result.output


def test_check_accepts_zips_and_image_datasets(tmp_path):
    synth(tmp_path / "heads")
    index = json.loads((tmp_path / "heads" / "dataset.json").read_text())
    del index["clips"]
    (tmp_path / "heads" / "dataset.json").write_text(json.dumps(index))
    result = run("check", tmp_path / "heads", "--workers", 1)
    assert result.exit_code == 0 and "32 clips, 32 frames" in result.output
    synth(tmp_path / "heads.zip")
    assert run("check", tmp_path / "heads.zip", "--workers", 1).exit_code == 0


def test_check_finds_flipped_bytes_in_a_zip(tmp_path):
    synth(tmp_path / "heads.zip")
    with zipfile.ZipFile(tmp_path / "heads.zip") as archive:
        place = archive.getinfo("00001/00005.png").header_offset + 200
    data = bytearray((tmp_path / "heads.zip").read_bytes())
    data[place] ^= 255
    (tmp_path / "heads.zip").write_bytes(data)
    result = run("check", tmp_path / "heads.zip", "--workers", 1)
    assert result.exit_code == 1 and "broken: 00001/00005.png" in result.output and result.output.count("broken:") == 1


def test_check_says_when_there_is_no_dataset(tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"PK")
    for name, word in (("absent", "does not exist"), ("bad.zip", "not a whole zip"), ("", "no dataset.json")):
        result = run("check", tmp_path / name)
        assert result.exit_code == 2 and word in result.output and len(result.output.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "args",
    [
        ("synth", "--dest", "x", "--clips", 0),
        ("synth", "--dest", "x", "--resolution", 8),
        ("synth",),
        ("synth", "--dest", "x", "--seed", -1),
        ("convert", "--dest", "x"),
        ("check",),
        ("convert", "--source", ".", "--dest", "x", "--workers", 0),
    ],
)
def test_bad_options_are_usage_errors(args, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*args).exit_code == 2 and os.listdir() == []
