"""`dataset_tool.py preprocess`, as users call it: two people in a video become a dataset to train on."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from dnnlib.video import write_video
from tests.helpers import train_command
from tests.helpers.dataset_command import done, run
from tests.preprocessing.conftest import FPS
from training.data.dataset import ClipDataset

ROOT = Path(__file__).parents[2]
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
OPTIONS = ("--resolution=64", "--min-frames=10", "--min-size=80", "--workers=1")


def preprocess(source: Path, dest: Path, *more: object) -> str:
    return done("preprocess", "--source", source, "--dest", dest, *OPTIONS, *more)


@pytest.fixture(scope="module")
def finished(conversation, tmp_path_factory) -> tuple[Path, str]:
    """The folder of a run with a bad file, a page and a picture beside the video; and what it printed."""
    folder = tmp_path_factory.mktemp("preprocessed")
    source = folder / "source"
    shutil.copytree(conversation, source)
    (source / "émpty ü.mp4").write_bytes(b"")
    (source / "notes.txt").write_text("no video")
    return folder, preprocess(source, folder / "data.zip", "--report", folder / "page.html")


def report_of(folder: Path) -> dict:
    return json.loads((folder / "data.work" / "report.json").read_text())


def test_two_people_become_two_clips_that_check_passes(finished):
    folder, printed = finished
    dataset = ClipDataset(folder / "data.zip")
    assert [clip.name for clip in dataset.clips] == ["two people/000000-0", "two people/000000-1"]
    assert "Not taken: files that are no videos or pictures (1): notes.txt." in printed
    assert "Not read: " in printed and "émpty" in printed
    assert "excludes commercial use" in printed
    assert "2 clips" in done("check", folder / "data.zip")


def test_the_report_has_a_reason_for_everything(finished):
    folder, _ = finished
    report = report_of(folder)
    assert report["totals"] == {"sources": 2, "clips": 2, "taken": 2}
    (failed,) = [source for source in report["sources"] if source["failed"]]
    assert failed["name"] == "émpty ü"
    for clip in report["clips"]:
        assert clip["fault"] is None and len(clip["yaw"]) == clip["frames"] == 20
        assert clip["flip_error"] < 4
    assert {stage["stage"] for stage in report["stages"]} == {"scan", "pose", "crop", "verify"}
    assert all(stage["seconds"] > 0 and stage["frames"] > 0 for stage in report["stages"])


def test_it_trains(finished, tmp_path, one_thread):
    folder, _ = finished
    result = train_command.run(tmp_path, folder / "data.zip", "--kimg=0.002")
    assert result.exit_code == 0, result.output


def test_a_second_run_does_nothing_again(finished, tmp_path, monkeypatch):
    folder, _ = finished
    monkeypatch.setattr("preprocessing.stages.scan_video", forbidden)
    monkeypatch.setattr("preprocessing.stages.pose_clip", forbidden)
    monkeypatch.setattr("preprocessing.stages.crop_clips", forbidden)
    monkeypatch.setattr("preprocessing.stages.verify_crops", forbidden)
    again = tmp_path / "again.zip"
    preprocess(folder / "source", again, "--work", folder / "data.work")
    assert again.read_bytes() == (folder / "data.zip").read_bytes()
    dry = done("preprocess", "--source", folder / "source", "--dest", tmp_path / "x.zip", "--dry-run", *OPTIONS)
    assert "scan: 2 of 2 to do." in dry


def forbidden(*_: object, **__: object) -> None:
    raise AssertionError("done again")


@pytest.mark.parametrize("stage", ["pose-", "crop-", "verify-"])
def test_a_killed_run_goes_on_and_ends_the_same(stage, finished, tmp_path):
    """Killed by the kernel as soon as a stage has its first result."""
    folder, _ = finished
    dest, work = tmp_path / "data.zip", tmp_path / "work"
    words = ["preprocess", f"--source={folder / 'source'}", f"--dest={dest}", f"--work={work}", *OPTIONS]
    with subprocess.Popen([sys.executable, "dataset_tool.py", *words], cwd=ROOT, **QUIET) as process:
        while process.poll() is None and not list(work.glob(f"clips/**/{stage}*/cost.json")):
            time.sleep(0.02)
        process.kill()
    assert not dest.exists()
    preprocess(folder / "source", dest, "--work", work)
    assert dest.read_bytes() == (folder / "data.zip").read_bytes()
    left = [path.name for path in work.rglob(".*")]
    assert not left


def test_a_full_disk_ends_with_a_sentence_and_loses_nothing(finished, tmp_path):
    folder, _ = finished
    work = tmp_path / "work"
    words = [f"--source={folder / 'source'}", f"--dest={tmp_path / 'data.zip'}", f"--work={work}", *OPTIONS]
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000)); import signal;"
    limit += "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); import dataset_tool; dataset_tool.main()"
    command = [sys.executable, "-c", limit, "preprocess", *words]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2, ended.stderr
    assert "No space left" in ended.stderr and "Traceback" not in ended.stderr
    preprocess(folder / "source", tmp_path / "data.zip", "--work", work)
    assert (tmp_path / "data.zip").read_bytes() == (folder / "data.zip").read_bytes()


def test_another_option_redoes_its_stage_and_what_follows(finished, tmp_path, monkeypatch):
    folder, _ = finished
    work = tmp_path / "work"
    shutil.copytree(folder / "data.work", work)
    monkeypatch.setattr("preprocessing.stages.scan_video", forbidden)
    preprocess(folder / "source", tmp_path / "soft.zip", "--work", work, "--smooth-cameras=0.3")
    one, other = (ClipDataset(path) for path in (folder / "data.zip", tmp_path / "soft.zip"))
    assert not np.array_equal(one.clips[0].cameras, other.clips[0].cameras)


def test_stricter_options_say_why_clips_are_left_out(finished, tmp_path):
    folder, _ = finished
    result = run(
        *("preprocess", "--source", folder / "source", "--dest", tmp_path / "none.zip"),
        *("--work", folder / "data.work", *OPTIONS[:2], "--min-size=400"),
    )
    assert result.exit_code == 2
    assert "No clip is good enough: face too small (2)" in result.output
    assert not (tmp_path / "none.zip").exists()


def test_a_portrait_becomes_a_clip_of_one_frame(people, tmp_path):
    PIL.Image.fromarray(people[0][0]).save(tmp_path / "portrait.png")
    preprocess(tmp_path / "portrait.png", tmp_path / "one.zip")
    (clip,) = ClipDataset(tmp_path / "one.zip").clips
    assert (clip.name, len(clip.frames)) == ("portrait", 1)


def test_one_person_gives_at_most_so_many_clips(people, tmp_path):
    for name in "abc":
        write_video(tmp_path / "in" / f"{name}.mp4", people[0][: 12 + ord(name) % 3], FPS)
    printed = preprocess(tmp_path / "in", tmp_path / "two.zip")
    assert "Left out: 1 clips, other clips of this person are taken" in printed
    dataset = ClipDataset(tmp_path / "two.zip")
    assert len(dataset.clips) == 2 and len({clip.identity for clip in dataset.clips}) == 1
    (tmp_path / "speakers.txt").write_text("a one\nb.mp4 two\nc, one\n")
    preprocess(tmp_path / "in", tmp_path / "all.zip", "--speakers", tmp_path / "speakers.txt")
    assert [clip.identity for clip in ClipDataset(tmp_path / "all.zip").clips] == ["one", "two", "one"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "missing", "does not exist: check --source"),
        (lambda folder: folder, "has no videos or pictures"),
    ],
)
def test_mistakes_get_a_sentence(make, words, tmp_path):
    result = run("preprocess", "--source", make(tmp_path), "--dest", tmp_path / "x.zip")
    assert result.exit_code == 2 and words in result.output
    assert not (tmp_path / "x.work").exists()


def test_two_clips_of_one_name_are_refused(people, tmp_path):
    write_video(tmp_path / "in" / "talk.mp4", people[0][:12], FPS)
    (tmp_path / "in" / "talk").mkdir()
    PIL.Image.fromarray(people[0][0]).save(tmp_path / "in" / "talk" / "000000-0.png")
    result = run("preprocess", "--source", tmp_path / "in", "--dest", tmp_path / "x.zip", *OPTIONS)
    assert result.exit_code == 2 and "would give one clip: rename one of them" in result.output
