"""train.py with images beside clips: what it says and keeps, which run goes on, two processes under torchrun."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import train
from dnnlib.files import read_json
from tests.helpers.forks import TINY
from tests.helpers.noise import edit_frame, make
from tests.helpers.train_command import refused, run, torchrun, without_pictures
from torch_utils import checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")
SHARE = ["--image-share=0.75", "--image-share-end=0.25", "--image-share-fade=0.004"]


@pytest.fixture
def stills(tmp_path) -> Path:
    return make(tmp_path / "stills", lengths=(1, 1, 2), size=32)


@pytest.fixture
def start(heads, stills, tmp_path, monkeypatch):
    """Calls of train.py with images, without pictures."""
    without_pictures(monkeypatch)

    def call(*more: object, images: Path = stills):
        return run(tmp_path / "runs", heads, f"--image-data={images}", *SHARE, "--kimg=0.004", *more)

    return call


def stats_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]


def test_a_run_with_images_says_so_keeps_its_options_and_goes_on(start, stills, tmp_path):
    result = start("--kimg=0.002")
    folder = tmp_path / "runs" / "00000-demo-heads-stills-batch2-gamma1"
    assert result.exit_code == 0 and folder.is_dir(), result.output
    line = f"Images of {stills} are 0.75 of the frames that the image discriminator judges, 0.25 from 0.004 kimg of the"
    assert line in result.output
    options = read_json(folder / "training_options.json")
    assert options["image_data"] == str(stills) and len(options["image_fingerprint"]) == 64
    assert options["config"]["images"] == {"share": 0.75, "share_end": 0.25, "share_fade_kimg": 0.004}

    again = start()
    assert f"Continuing {folder} at 0.002 kimg" in again.stdout
    first, second = stats_of(folder)
    assert (first["schedule/image_share"], second["schedule/image_share"]) == (0.5, 0.25)
    assert (first["schedule/image_kimg"], second["schedule/image_kimg"]) == (0.002, 0.004), "of 2 and 4 clips"
    assert {"scores/real_img_images", "scores/fake_img_images"} <= first.keys()


def test_other_images_are_another_run(start, stills, tmp_path):
    assert start().exit_code == 0
    (first,) = (tmp_path / "runs").iterdir()
    more = make(tmp_path / "more", lengths=(1, 1, 1), size=32, seed=1)
    said = start(images=more)
    assert f"--image-data was {stills}, not {more}" in said.stderr and "Starting" in said.stdout
    moved = Path(shutil.copytree(stills, tmp_path / "moved"))
    assert f"Continuing {first}" in start(images=moved).stdout, "its path does not matter"
    assert f"--image-data was {moved}, not {more}" in refused(start(f"--resume={first}", images=more))


def test_images_that_have_changed(start, stills, tmp_path):
    assert start().exit_code == 0
    (first,) = (tmp_path / "runs").iterdir()
    edit_frame(stills / "00001" / "00000.png")
    changed = start("--kimg=0.006", f"--resume={first}")
    assert f"{first} goes on with {stills}, which has changed since that run was last started" in changed.stderr
    assert f"Continuing {first}" in changed.stdout
    edit_frame(stills / "00001" / "00000.png")
    said = start("--kimg=0.006")
    assert "the dataset of --image-data has changed since" in said.stderr and "Starting" in said.stdout


def test_a_run_with_images_does_not_go_on_without_them(start, heads, tmp_path):
    assert start().exit_code == 0
    (first,) = (tmp_path / "runs").iterdir()
    said = refused(run(tmp_path / "runs", heads, f"--resume={first}"))
    assert "--image-share was 0.75, not 0.0" in said and "--image-data was" in said
    said = refused(run(tmp_path / "runs", heads, f"--cfg={first / 'training_options.json'}"))
    assert "--image-share needs images" in said


def test_dry_run_counts_images(start):
    result = start("--dry-run")
    assert "images: 4 frames of 3 clips" in result.stdout and "  share: 0.75" in result.stdout


def test_two_processes_train_one_run_with_images(start, heads, stills, tmp_path):
    """To rounding the same as one: the first statistics, and the weights after an iteration."""
    options = [f"--image-data={stills}", *SHARE, "--batch=8", "--kimg=0.008", "--snap=0"]
    done = torchrun(tmp_path / "two", heads, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert start(*options).exit_code == 0
    (two,), (one,) = (list((tmp_path / place).iterdir()) for place in ("two", "runs"))
    for name, value in stats_of(one)[0].items():
        if name.startswith(("scores/", "loss/", "schedule/")):
            assert stats_of(two)[0][name] == pytest.approx(value, abs=2e-4), name
    kept = [checkpoint.load(next(folder.glob("training-state*")), "state")["networks"] for folder in (one, two)]
    for name, value in kept[0]["D_img"].items():
        assert (value - kept[1]["D_img"][name]).abs().max() < 5e-4, name


def test_a_static_head_learns_motion_from_clips_beside_its_images(start, heads, stills, tmp_path):
    """The recipe of docs/training.md; the share counts the clips of the second run."""
    sizes = [option for option in TINY if not option.startswith("--motion-blocks")]
    static = [*sizes, "--method=eg3d", f"--outdir={tmp_path / 'static'}", f"--data={stills}", "--kimg=0.002"]
    assert CliRunner().invoke(train.main, static).exit_code == 0
    (source,) = (tmp_path / "static").glob("*/network-snapshot*")
    result = start(f"--init-from={source}", "--motion-weight")
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "runs").iterdir()
    assert stats_of(folder)[0]["schedule/image_share"] == 0.5
    before, after = (load_stored(path) for path in (source, next(folder.glob("network-snapshot*"))))
    assert any(not torch.equal(value, after[name]) for name, value in before.items())


def load_stored(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(path, "snapshot")["weights"]["D_img"]
