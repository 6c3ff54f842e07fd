"""train.py: runs, resumes, says what is wrong in a sentence, leaves nothing half-made, survives Ctrl-C and torchrun."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

import train
from dnnlib.files import read_json
from tests.helpers.forks import ENVIRONMENT, TINY
from torch_utils import checkpoint
from training.checkpoints.opener import load_generator
from training.runs.bar import ProgressBar
from training.runs.progress import Progress

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).parents[1]


def run(outdir: Path, data: Path, *more: object) -> Result:
    """train.py in this process."""
    return CliRunner().invoke(train.main, [*TINY, f"--outdir={outdir}", f"--data={data}", *map(str, more)])


def refused(result: Result) -> str:
    """The one sentence of a command that ended with status 2."""
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit), (result.output, result.exc_info)
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ") and "Traceback" not in result.output
    return last


def command(outdir: Path, data: Path, *more: str) -> list[str]:
    return [str(ROOT / "train.py"), *TINY, f"--outdir={outdir}", f"--data={data}", *more]


def nothing_in(folder: Path) -> bool:
    return not folder.exists() or list(folder.iterdir()) == []


def no_pictures(monkeypatch) -> None:
    monkeypatch.setattr(train.SnapshotPictures, "__call__", lambda self, networks, folder, clips: None)


@pytest.fixture(scope="module")
def finished(heads, tmp_path_factory) -> tuple[Path, Result]:
    """A run of two iterations with all it writes, and what the command printed; no test changes it."""
    outdir = tmp_path_factory.mktemp("runs")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    result = run(outdir, heads, "--kimg=0.004", "--desc=two words")
    torch.set_num_threads(before)
    return outdir / "00000-demo-heads-batch2-gamma1-two_words", result


@pytest.fixture
def old(finished, tmp_path) -> Path:
    """A copy of the finished run, in <tmp_path>/runs."""
    return Path(shutil.copytree(finished[0], tmp_path / "runs" / finished[0].name))


def again(old: Path, data: Path, *more: object) -> Result:
    """The command of the finished run once more; later options count."""
    return run(old.parent, data, "--kimg=0.004", "--desc=two words", *more)


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


def test_the_progress_bar_shows_speed_losses_memory_and_ends_at_its_total(finished):
    bar = finished[1].stderr
    for part in ("100%", "0.00/0.004 kimg", "s/kimg", "G ", "D ", "mem "):
        assert part in bar


def test_a_bar_takes_more_clips_than_planned():
    progress = Progress(clips=5000)
    with ProgressBar(4.0, progress) as bar:
        progress.clips += 5000
        bar.iteration(progress)
        assert bar.bar.n == bar.bar.total == 4.0 and "4.00/4 kimg" in str(bar.bar)


def test_dry_run_prints_options_and_writes_nothing(heads, tmp_path):
    result = run(tmp_path / "runs", heads, "--dry-run", "--glr=0.5")
    assert result.exit_code == 0 and not (tmp_path / "runs").exists()
    assert "  glr: 0.5" in result.stdout and "dataset: 3 clips, 48 frames" in result.stdout


def test_the_same_command_again_finds_its_run_done(old, heads):
    result = again(old, heads)
    assert result.exit_code == 0 and result.stdout.startswith(f"Continuing {old} at 0.004 kimg.\nDone. 0.004 kimg")
    assert [path.name for path in old.parent.iterdir()] == [old.name]


def test_more_kimg_and_other_habits_of_reporting_go_on_with_the_run(old, heads, monkeypatch):
    no_pictures(monkeypatch)
    result = again(old, heads, "--kimg=0.006", "--tick=0.004", "--snap=1", "--keep=1", "--workers=1", "--batch-gpu=1")
    assert result.exit_code == 0 and f"Continuing {old} at 0.004 kimg" in result.stdout
    assert [path.name for path in old.glob("training-state*")] == ["training-state-000000.006.pt"]
    saved = read_json(old / "training_options.json")["config"]["training"]
    assert (saved["kimg"], saved["tick"], saved["keep"], saved["workers"]) == (0.006, 0.004, 1, 1)
    assert [path.name for path in old.parent.iterdir()] == [old.name]


@pytest.mark.parametrize("more", [["--seed=1"], ["--resume=none"], ["--init-from"]])
def test_other_options_start_a_new_run(old, heads, monkeypatch, more):
    no_pictures(monkeypatch)
    more = ["--init-from", old / "network-snapshot-000000.004.pkl"] if more == ["--init-from"] else more
    result = again(old, heads, "--kimg=0.002", *more)
    assert result.exit_code == 0, result.output
    new = old.with_name(old.name.replace("00000", "00001", 1))
    assert f"Starting {new} at 0.000 kimg." in result.stdout and list(new.glob("training-state*"))
    inherited = checkpoint.load(next(new.glob("training-state*")), "state")["progress"]["inherited"]
    assert inherited == (4 if "--init-from" in more else 0)


def test_another_dataset_of_the_same_name_starts_a_new_run(old, heads, tmp_path, monkeypatch):
    no_pictures(monkeypatch)
    other = Path(shutil.copytree(heads, tmp_path / "other" / "heads"))
    index = read_json(other / "dataset.json")
    index["labels"] = [label for label in index["labels"] if not label[0].startswith("00002")]
    (other / "dataset.json").write_text(json.dumps(index))
    result = again(old, other, "--kimg=0.002")
    assert result.exit_code == 0 and "Starting" in result.stdout
    moved = Path(shutil.copytree(heads, tmp_path / "moved" / "heads"))
    assert f"Continuing {old}" in again(old, moved).stdout, "its path does not matter"


def test_resuming_a_folder_asks_for_the_same_options(old, heads, tmp_path):
    elsewhere = old.rename(tmp_path / "elsewhere")
    sentence = refused(run(tmp_path / "runs", heads, f"--resume={elsewhere}", "--seed=1", "--cmax=4"))
    assert "--seed was 0, not 1" in sentence and "--cmax was 8, not 4" in sentence and "--init-from" in sentence
    assert run(tmp_path / "runs", heads, f"--resume={elsewhere}", "--kimg=0.004").exit_code == 0
    assert "the dataset was another one" in refused(
        run(tmp_path / "runs", clip_less(heads, tmp_path / "less"), f"--resume={elsewhere}")
    )
    (elsewhere / "training_options.json").unlink()
    assert "training_options.json does not exist" in refused(run(tmp_path / "runs", heads, f"--resume={elsewhere}"))
    assert "has no training-state-*.pt" in refused(run(tmp_path / "runs", heads, f"--resume={tmp_path}"))
    assert nothing_in(tmp_path / "runs")


def clip_less(heads: Path, dest: Path) -> Path:
    """The dataset without its first clip."""
    folder = Path(shutil.copytree(heads, dest))
    index = read_json(folder / "dataset.json")
    index["labels"] = [label for label in index["labels"] if not label[0].startswith("00000/")]
    (folder / "dataset.json").write_text(json.dumps(index))
    return folder


def test_resuming_a_folder_need_not_repeat_where_its_weights_came_from(old, heads, monkeypatch):
    no_pictures(monkeypatch)
    started = again(old, heads, "--kimg=0.002", "--init-from", old / "network-snapshot-000000.004.pkl")
    new = old.with_name(old.name.replace("00000", "00001", 1))
    assert started.exit_code == 0 and new.is_dir()
    assert f"Continuing {new}" in again(old, heads, f"--resume={new}", "--kimg=0.002").stdout
    assert read_json(new / "training_options.json")["init_from"]
    assert "--seed was" not in refused(again(old, heads, f"--resume={new}", "--init-from=other.pkl"))


def test_a_run_whose_states_are_all_damaged(old, heads):
    for state in old.glob("training-state*"):
        state.write_bytes(state.read_bytes()[:1000])
    assert "damaged or was cut short" in refused(again(old, heads, "--kimg=0.006"))
    assert (old / "stats.jsonl").exists(), "the run is left as it was"


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


def later_frames_cut(heads: Path, folder: Path) -> Path:
    shutil.copytree(heads, folder)
    for frame in sorted(folder.glob("*/*.png"))[1:]:
        frame.write_bytes(frame.read_bytes()[:80])
    return folder


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (lambda heads, folder: folder, "does not exist"),
        (empty, "dataset.json"),
        (without_cameras, "dataset.json"),
        (cut_zip, "zip"),
        (first_frame_cut, "00000.png .* unreadable or truncated"),
        (later_frames_cut, r"Frame \S+.png .* unreadable or truncated"),
    ],
)
def test_bad_datasets(heads, tmp_path, spoil, sentence):
    said = refused(run(tmp_path / "runs", spoil(heads, tmp_path / "bad"), "--kimg=0.1"))
    assert re.search(sentence, said), said
    assert nothing_in(tmp_path / "runs")


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
        (["--batch=x"], "Invalid value for '--batch': 'x' is not a valid integer"),
        (["--camera-mode=Mapt"], "'--camera-mode'"),
        (["--init-from=absent.pkl"], "absent.pkl does not exist"),
        (["--init-from=train.py"], "train.py is not a checkpoint"),
        (["--resume=absent"], "--resume=absent has no training-state"),
    ],
)
def test_bad_options(heads, tmp_path, monkeypatch, options, sentence):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    said = refused(run(tmp_path / "runs", heads, *options))
    assert re.search(sentence, said), said
    assert nothing_in(tmp_path / "runs")


def test_a_snapshot_of_another_version(snapshot, heads, tmp_path):
    torch.save(torch.load(snapshot, weights_only=True) | {"version": 99}, tmp_path / "new.pkl")
    said = refused(run(tmp_path / "runs", heads, f"--init-from={tmp_path / 'new.pkl'}"))
    assert "version 99, but this code reads version 1" in said and nothing_in(tmp_path / "runs")


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


def wait_for(condition, process: subprocess.Popen, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)


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
    no_pictures(monkeypatch)
    result = run(tmp_path, heads, f"--kimg={clips / 1000 + 0.002}")
    assert result.exit_code == 0 and f"Continuing {folder} at {clips / 1000:.3f} kimg" in result.stdout, result.output


def torchrun(outdir: Path, data: Path, *more: str) -> subprocess.CompletedProcess:
    """train.py in two processes."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*launch, *command(outdir, data, *more)],
        env=ENVIRONMENT,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )


def test_two_processes_train_one_run(heads, tmp_path):
    done = torchrun(tmp_path, heads, "--kimg=0.004")
    assert done.returncode == 0, done.stderr[-3000:]
    (folder,) = tmp_path.iterdir()
    assert done.stdout.count("Starting") == done.stdout.count("Done.") == 1
    assert len(list(folder.glob("training-state*"))) == 1
    assert len((folder / "stats.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
def test_two_processes_refuse_together(heads, tmp_path):
    done = torchrun(tmp_path / "runs", later_frames_cut(heads, tmp_path / "broken"))
    assert done.returncode != 0 and done.stderr.count("unreadable or truncated") == 1, done.stderr
    assert re.search(r"exitcode\s*: 2", done.stderr) and nothing_in(tmp_path / "runs")


def test_the_time_limit_saves_and_stops(heads, tmp_path, monkeypatch):
    no_pictures(monkeypatch)
    result = run(tmp_path / "runs", heads, "--kimg=1", "--time-limit=0.001")
    assert result.exit_code == 130 and "the same command continues" in result.stdout, result.output
    states = list((tmp_path / "runs").glob("*/training-state*"))
    assert len(states) == 1
    result = run(tmp_path / "runs", heads, "--kimg=1", "--time-limit=0.001")
    assert result.stdout.startswith("Continuing"), "another limit is no other run"
