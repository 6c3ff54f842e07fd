"""Mistakes of users of train.py: one sentence, and nothing half-made stays behind."""

import errno
import re
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import train
from tests.helpers.forks import ROOT
from tests.helpers.noise import make
from tests.helpers.train_command import copy_with_later_frames_cut, is_empty, refused, run
from torch_utils import checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")


def empty(heads: Path, folder: Path) -> Path:
    folder.mkdir()
    return folder


def without_cameras(heads: Path, folder: Path) -> Path:
    shutil.copytree(heads, folder)
    (folder / "dataset.json").unlink()
    return folder


def cut_zip(heads: Path, folder: Path) -> Path:
    path = shutil.make_archive(str(folder), "zip", heads)
    Path(path).write_bytes(Path(path).read_bytes()[:-500])
    return Path(path)


def first_frame_cut(heads: Path, folder: Path) -> Path:
    shutil.copytree(heads, folder)
    frame = folder / "00000" / "00000.png"
    frame.write_bytes(frame.read_bytes()[:80])
    return folder


def test_images_need_the_image_discriminator(tmp_path):
    images = make(tmp_path / "images", lengths=(1, 1), size=32)
    said = refused(run(tmp_path / "runs", images, "--no-image-discriminator"))
    assert "No clip of" in said and "leave out --no-image-discriminator" in said
    assert is_empty(tmp_path / "runs")


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (lambda heads, folder: folder, "does not exist"),
        (empty, "dataset.json"),
        (without_cameras, "dataset.json"),
        (cut_zip, "zip"),
        (first_frame_cut, "00000.png .* unreadable or truncated"),
        (copy_with_later_frames_cut, r"Frame \S+.png .* unreadable or truncated"),
    ],
)
def test_bad_datasets(heads, tmp_path, spoil, sentence):
    said = refused(run(tmp_path / "runs", spoil(heads, tmp_path / "bad"), "--kimg=0.1"))
    assert re.search(sentence, said), said
    assert is_empty(tmp_path / "runs")


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--cfg=vox"], "--cfg=vox is no preset; choose one of voxceleb"),
        (["--img-resolution=64"], "frames of 32 pixels, which do not shrink to 64"),
        (["--batch=6", "--batch-gpu=4"], "--batch-gpu=4 does not divide the 6 clips"),
        (["--batch=3"], "3 clips per forward pass"),
        (["--motion-blocks=4"], "--motion-blocks=4 is out of range: .* choose 1 to 3"),
        (["--plane-resolution=24"], "power of two"),
        (["--no-image-discriminator", "--no-video-discriminator"], "both off"),
        (["--device=gpu"], "Unknown device 'gpu'"),
        (["--ops=cuda"], "--ops=cuda needs a CUDA GPU"),
        (["--kimg=0"], "--kimg=0.0 is not possible: it must be a finite number and above 0"),
        (["--keep=0"], "--keep=0 is not possible: it must be at least 1"),
        (["--workers=-1"], "--workers=-1 is not possible"),
        (["--seed=-1"], "--seed=-1 is not possible"),
        (["--batch=x"], "Invalid value for '--batch': 'x' is no whole number"),
        (["--camera-mode=Mapt"], "'--camera-mode'"),
        (["--init-from=absent.pkl"], "absent.pkl does not exist"),
        (["--init-kimg=5"], "--init-kimg says how to take the weights of --init-from: give that"),
        (["--fresh-motion"], "--fresh-motion says how to take the weights of --init-from: give that"),
        (
            ["--init-from=train.py", "--init-kimg=-1"],
            "--init-kimg=-1.0 is not possible: it must be a finite number and at least 0",
        ),
        (["--init-from=train.py"], "train.py is damaged .* or it is not a checkpoint"),
        (["--resume=absent"], "--resume=absent has no training-state"),
    ],
)
def test_bad_options(heads, tmp_path, monkeypatch, options, sentence):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    said = refused(run(tmp_path / "runs", heads, *options))
    assert re.search(sentence, said), said
    assert is_empty(tmp_path / "runs")


@pytest.mark.parametrize(
    "options, sentence",
    [
        ([], "--image-data needs --image-share, .* give --image-share=0.5, say"),
        (["--image-share=0"], "--image-data needs --image-share"),
        (["--image-share=1"], "--image-share=1.0 is not possible: it must be .* below 1"),
        (["--image-share=0.5", "--image-share-end=0.2"], "give both or neither"),
        (["--image-share=0.5", "--image-share-fade=2"], "give both or neither"),
        (["--image-share=0.5", "--no-image-discriminator"], "--image-share needs the image discriminator"),
        (["--no-image-discriminator"], "--image-data is for the image discriminator: leave out"),
        (["--image-share=0.5", "--img-resolution=32"], "frames of 16 pixels, which do not shrink to 32"),
    ],
)
def test_images_that_do_not_go_with_the_rest(heads, tmp_path, options, sentence):
    images = make(tmp_path / "images", lengths=(1, 1), size=16)
    said = refused(run(tmp_path / "runs", heads, f"--image-data={images}", *options))
    assert re.search(sentence, said), said
    assert is_empty(tmp_path / "runs")


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (lambda heads, folder: folder, "does not exist"),
        (without_cameras, "dataset.json"),
        (first_frame_cut, "00000.png .* unreadable or truncated"),
        (copy_with_later_frames_cut, r"Frame \S+.png .* unreadable or truncated"),
    ],
)
def test_bad_datasets_of_images(heads, tmp_path, spoil, sentence):
    images = spoil(heads, tmp_path / "bad")
    said = refused(run(tmp_path / "runs", heads, f"--image-data={images}", "--image-share=0.9", "--kimg=0.1"))
    assert re.search(sentence, said) and str(images) in said
    assert is_empty(tmp_path / "runs")


@pytest.mark.parametrize(
    "method, reason",
    [
        ("eg3d", "it trains on images alone, which are --data"),
        ("eg3d-mcghd", "its generator has learned from images already"),
    ],
)
@pytest.mark.parametrize("options, flag", [(["--image-share=0.5"], "--image-share"), ([], "--image-data")])
def test_methods_without_images_beside_clips(heads, tmp_path, method, reason, options, flag):
    data = [f"--outdir={tmp_path / 'runs'}", f"--data={heads}", f"--image-data={heads}"]
    said = refused(
        CliRunner().invoke(train.main, ["--cfg=demo", f"--method={method}", "--device=cpu", *data, *options])
    )
    assert said == f"Error: {flag} is not possible with --method={method}, for {reason}: leave it out."
    assert is_empty(tmp_path / "runs")


@pytest.mark.parametrize("options", [["--image-share=0.5"], ["--image-share-end=0.5", "--image-share-fade=1"]])
def test_a_share_of_no_images(heads, tmp_path, options):
    said = refused(run(tmp_path / "runs", heads, *options))
    assert "--image-share needs images: give a dataset of them as --image-data" in said


@pytest.mark.parametrize("task", ["0", "1"])
def test_srun_without_torchrun_starts_no_runs(heads, tmp_path, monkeypatch, task):
    for name, value in {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": task}.items():
        monkeypatch.setenv(name, value)
    for more in ([], ["--resume=none"], ["--dry-run"]):
        said = refused(run(tmp_path / "runs", heads, "--kimg=0.004", *more))
        assert "srun started 2 processes" in said and "torchrun" in said
    assert not (tmp_path / "runs").exists()


def test_a_snapshot_of_another_version(snapshot, heads, tmp_path):
    torch.save(torch.load(snapshot, weights_only=True) | {"version": 99}, tmp_path / "new.pkl")
    said = refused(run(tmp_path / "runs", heads, f"--init-from={tmp_path / 'new.pkl'}"))
    assert "version 99, but this code reads version 1" in said and is_empty(tmp_path / "runs")


def test_no_ffmpeg_is_told_before_training(heads, tmp_path, monkeypatch):
    for program in ("/nonexistent/ffmpeg", "/bin/false"):
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", program)
        assert "ffmpeg does not run: install it" in refused(run(tmp_path / "runs", heads))
    assert not (tmp_path / "runs").exists()


def test_no_space_left_for_the_first_snapshot(heads, tmp_path, monkeypatch):
    def full(content, file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    assert "No space left to write" in refused(run(tmp_path / "runs", heads, "--kimg=0.002"))
    folder = next((tmp_path / "runs").iterdir())
    assert {path.name for path in folder.iterdir() if "tfevents" not in path.name} == {
        "training_options.json",
        "stats.jsonl",
    }


def test_an_outdir_that_cannot_be_written(heads, tmp_path):
    (tmp_path / "file").write_text("")
    assert "Cannot write" in refused(run(tmp_path / "file", heads))
