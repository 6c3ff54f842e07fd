"""train.py: what a run leaves, its lines, its ends by Ctrl-C and the time limit, two processes under torchrun."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import calc_metrics
import train
from dnnlib.files import read_json
from dnnlib.options import override
from metrics import in_training, results
from tests.helpers.fake_wandb import Library
from tests.helpers.forks import ENVIRONMENT
from tests.helpers.noise import edit_index, make
from tests.helpers.train_command import (
    command,
    copy_with_later_frames_cut,
    finished_run,
    is_empty,
    refused,
    run,
    torchrun,
    wait_for,
    without_pictures,
)
from torch_utils import checkpoint
from training.checkpoints.opener import load_generator
from training.fakes import NO_VIDEOS
from training.runs.options import RunOptions
from training.runs.pictures import SnapshotPictures

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def finished(heads, tmp_path_factory) -> tuple[Path, Result]:
    """A finished run with all it writes, and what the command printed; no test changes it."""
    return finished_run(tmp_path_factory.mktemp("runs"), heads)


def test_a_run_leaves_its_options_statistics_snapshot_state_and_pictures(finished):
    folder, result = finished
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [f"Starting {folder} at 0.000 kimg.", f"Done. 0.004 kimg in {folder}"]
    assert {path.name for path in folder.iterdir() if "tfevents" not in path.name} == {
        "training_options.json",
        "stats.jsonl",
        "network-snapshot-000000.004.pkl",
        "training-state-000000.004.pt",
        "fakes000000.004.png",
        "fakes000000.004.mp4",
    }
    saved = read_json(folder / "training_options.json")
    assert saved["config"]["generator"]["plane_resolution"] == 16 and saved["config"]["training"]["kimg"] == 0.004
    assert [json.loads(line)["iteration"] for line in (folder / "stats.jsonl").read_text().splitlines()] == [1, 2]
    assert load_generator(folder / "network-snapshot-000000.004.pkl").config.generator.img_resolution == 32


def test_a_log_says_each_tick_in_a_line_and_what_is_being_saved(finished):
    lines = finished[1].stderr.splitlines()
    ticks = [line for line in lines if line.startswith("kimg ")]
    assert [line.split()[1] for line in ticks] == ["0.002/0.004", "0.004/0.004"]
    for line in ticks:
        assert re.fullmatch(r"kimg \S+ s/kimg \d+(\.\d+)? ETA \S+ G \S+ D \S+ mem [\d.]+G", line), line
    assert lines[-2:] == ["saving training state ...", "saving pictures and snapshot ..."]
    assert max(map(len, lines)) <= 60 and "\r" not in finished[1].stderr


def test_names_that_are_no_text_and_a_broken_tensorboard_end_no_run(heads, tmp_path, monkeypatch):
    """In an ASCII locale Python keeps the bytes of any other character as surrogates, which TensorBoard refuses."""
    without_pictures(monkeypatch)
    outdir = tmp_path / "r\udcc3\udcbcns"
    result = run(outdir, heads, "--kimg=0.004")
    assert result.exit_code == 0, result.output
    folder = next(outdir.iterdir())
    assert len((folder / "stats.jsonl").read_text().splitlines()) == 2
    warnings = [line for line in result.stderr.splitlines() if line.startswith("Warning: TensorBoard's events")]
    assert len(warnings) == 1 and "UnicodeEncodeError" in warnings[0]
    assert result.stderr.index(warnings[0]) < result.stderr.index("kimg 0.002/0.004"), "before training"


def test_each_start_with_wandb_shows_the_run_there(heads, tmp_path, monkeypatch):
    library = Library()
    monkeypatch.setitem(sys.modules, "wandb", library)
    score = results.Result(
        metric="motion1", value=7.0, standard_error=None, samples=1, seconds=0.0, protocol={}, source={}
    )
    monkeypatch.setattr(in_training, "evaluate", lambda *_: [score])
    few = SnapshotPictures(columns=1, video_seeds=1, video_frames=2)
    monkeypatch.setattr(SnapshotPictures, "for_machine", lambda *_: few)
    for kimg in (0.002, 0.004):
        result = run(tmp_path, heads, f"--kimg={kimg}", "--wandb", "--metrics=motion1")
        assert result.exit_code == 0, result.output
        assert result.stderr.splitlines().count("The run is shown at https://example.org/run") == 1
    (folder,) = tmp_path.iterdir()
    first, second = library.runs
    assert first.given["id"] == second.given["id"] and first.given["project"] == "pv3d"
    assert first.finished and second.finished
    for shown, clips in ((first, 2), (second, 4)):
        (_, stats), (_, files), (_, scores) = shown.logged
        assert {step for step, _ in shown.logged} == {clips} and "loss/g" in stats
        assert scores == {"metrics/motion1": 7.0, "kimg": clips / 1000}
        assert files["fakes/png"] == ("image", str(folder / f"fakes000000.{clips:03d}.png")) and "fakes/mp4" in files


def test_wandb_that_is_not_installed_is_said_before_training(heads, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert "pip install wandb" in refused(run(tmp_path / "runs", heads, "--wandb"))
    assert not (tmp_path / "runs").exists()


def test_images_train_with_one_line_about_it(tmp_path, monkeypatch):
    without_pictures(monkeypatch)
    images = make(tmp_path / "images", lengths=(1, 1), size=32)
    result = run(tmp_path / "runs", images, "--kimg=0.002")
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines().count(NO_VIDEOS) == 1


def test_dry_run_prints_options_and_writes_nothing(heads, tmp_path):
    result = run(tmp_path / "runs", heads, "--dry-run", "--glr=0.5")
    assert result.exit_code == 0 and not (tmp_path / "runs").exists()
    assert "  glr: 0.5" in result.stdout and "dataset: 3 clips, 48 frames" in result.stdout
    assert result.stderr == ""


def with_options_of(file: Path, heads: Path, outdir: Path, *more: str) -> Result:
    return CliRunner().invoke(train.main, [f"--config={file}", f"--outdir={outdir}", f"--data={heads}", *more])


def test_options_of_a_run_start_another_one(finished, heads, tmp_path, monkeypatch):
    without_pictures(monkeypatch)
    folder = finished[0]
    result = with_options_of(folder / "training_options.json", heads, tmp_path, "--kimg=0.002", "--gamma=3")
    assert result.exit_code == 0, result.output
    (new,) = tmp_path.iterdir()
    assert new.name == f"00000-demo-{heads.stem}-batch2-gamma3"
    saved = RunOptions.load(folder)
    changed = {"loss.gamma": 3.0, "training.kimg": 0.002}
    assert RunOptions.load(new).config == override(saved.config, changed)


def test_options_of_no_run_are_refused(finished, heads, tmp_path):
    other = tmp_path / "other.json"
    other.write_text("{}")
    assert "is no preset, and no run's training_options.json" in refused(with_options_of(other, heads, tmp_path))
    absent = tmp_path / "training_options.json"
    assert f"{absent} does not exist" in refused(with_options_of(absent, heads, tmp_path))
    absent.write_text('{"config": {"training": {"batch": -1}}}')
    assert "start a new run" in refused(with_options_of(absent, heads, tmp_path))


def test_clips_that_are_not_described_are_said_to_be_stills(heads, tmp_path):
    stills = Path(shutil.copytree(heads, tmp_path / "stills"))
    edit_index(stills, lambda index: index.pop("clips"))
    result = run(tmp_path / "runs", stills, "--dry-run")
    assert "dataset: 48 clips, 48 frames" in result.stdout
    assert "each of 48 frames is a still picture" in result.stderr
    calc = CliRunner().invoke(calc_metrics.main, [f"--data={stills}", f"--videos={tmp_path}", "--metrics=fvd2_9f"])
    assert calc.exit_code == 2 and "each of 48 frames is a still picture" in calc.stderr


@pytest.mark.parametrize(
    "arguments, tick", [(["--help"], 4.0), (["--cfg=demo", "-h"], 0.2), (["-h", "--cfg=demo"], 0.2)]
)
def test_help_shows_the_defaults_of_the_preset(arguments, tick):
    text = CliRunner().invoke(train.main, arguments).stdout
    assert re.search(rf"--tick FLOAT [^-]*\[default: {tick}\]", text) and "Ablations" in text


def test_ctrl_c_leaves_a_run_that_the_same_command_continues(heads, tmp_path, monkeypatch):
    arguments = ["--kimg=50", "--workers=1"]
    process = subprocess.Popen(
        [sys.executable, *command(tmp_path, heads, *arguments)],
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for(lambda: list(tmp_path.glob("*/stats.jsonl")), process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the loader's worker gets it too
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in stderr, stderr
    assert "Stopping after this iteration; saving." in stderr and "Stopped; the same command continues." in stdout
    folder = next(tmp_path.iterdir())
    names = [path.name for path in folder.iterdir()]
    assert any(name.startswith("training-state-") for name in names) and not any(name.startswith(".") for name in names)
    clips = checkpoint.load(next(folder.glob("training-state*")), "state")["progress"]["clips"]
    without_pictures(monkeypatch)
    result = run(tmp_path, heads, f"--kimg={clips / 1000 + 0.002}")
    assert result.exit_code == 0 and f"Continuing {folder} at {clips / 1000:.3f} kimg" in result.stdout, result.output


def test_the_time_limit_saves_and_stops(heads, tmp_path, monkeypatch):
    without_pictures(monkeypatch)
    result = run(tmp_path / "runs", heads, "--kimg=1", "--time-limit=0.001")
    assert result.exit_code == 130 and "the same command continues" in result.stdout, result.output
    states = list((tmp_path / "runs").glob("*/training-state*"))
    assert len(states) == 1
    result = run(tmp_path / "runs", heads, "--kimg=1", "--time-limit=0.001")
    assert result.stdout.startswith("Continuing"), "another limit is no other run"


def test_two_processes_train_one_run(heads, tmp_path):
    done = torchrun(tmp_path, heads, "--kimg=0.004")
    assert done.returncode == 0, done.stderr[-3000:]
    (folder,) = tmp_path.iterdir()
    assert done.stdout.count("Starting") == done.stdout.count("Done.") == 1
    assert len(list(folder.glob("training-state*"))) == 1
    assert len((folder / "stats.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
def test_two_processes_refuse_together(heads, tmp_path):
    done = torchrun(tmp_path / "runs", copy_with_later_frames_cut(heads, tmp_path / "broken"))
    assert done.returncode != 0 and done.stderr.count("unreadable or truncated") == 1, done.stderr
    assert re.search(r"exitcode\s*: 2", done.stderr) and is_empty(tmp_path / "runs")
