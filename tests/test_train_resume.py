"""Which run a start of train.py goes on with, and what it asks for."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import Result

from dnnlib.files import file_checksum, read_json
from tests.helpers.foreign_files import PREFIXES
from tests.helpers.train_command import FINISHED, finished_run, is_empty, refused, run, without_pictures
from torch_utils import checkpoint, distributed
from training.checkpoints.opener import load_generator, open_snapshot
from training.config import Config
from training.runs.origin import schedules_line
from training.runs.progress import Progress

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def finished(heads, tmp_path_factory) -> Path:
    """A finished run, which no test changes."""
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        folder, _ = finished_run(tmp_path_factory.mktemp("runs"), heads)
    return folder


@pytest.fixture
def old(finished, tmp_path) -> Path:
    """A copy of the finished run, in <tmp_path>/runs."""
    return Path(shutil.copytree(finished, tmp_path / "runs" / finished.name))


def again(old: Path, data: Path, *more: object) -> Result:
    """Call the command of the finished run once more; later options count."""
    return run(old.parent, data, *FINISHED, *more)


def runs_beside(old: Path) -> list[str]:
    """Return the names of all runs in the folder of runs."""
    return sorted(path.name for path in old.parent.iterdir())


def second_run(old: Path) -> Path:
    """Return the folder of the run that is started after the finished one."""
    return old.with_name(old.name.replace("00000", "00001", 1))


def without_clip(data: Path, dest: Path, clip: str) -> Path:
    """Copy a dataset but for one clip of its index."""
    shutil.copytree(data, dest)
    path = dest / "dataset.json"
    index = read_json(path)
    index["labels"] = [label for label in index["labels"] if not label[0].startswith(f"{clip}/")]
    path.write_text(json.dumps(index))
    return dest


# --- With the run that is found --------------------------------------------------------------------------------------


def test_the_same_command_again_finds_its_run_done(old, heads):
    result = again(old, heads)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Continuing {old} at 0.004 kimg.\nDone. 0.004 kimg")
    assert runs_beside(old) == [old.name]


def test_more_kimg_and_other_habits_of_reporting_go_on_with_the_run(old, heads, monkeypatch):
    without_pictures(monkeypatch)
    habits = ["--tick=0.004", "--snap=1", "--keep=1", "--workers=1", "--batch-gpu=1"]
    result = again(old, heads, "--kimg=0.006", *habits)
    assert result.exit_code == 0
    assert f"Continuing {old} at 0.004 kimg" in result.stdout
    (state,) = old.glob("training-state*")
    assert state.name == "training-state-000000.006.pt"
    saved = read_json(old / "training_options.json")["config"]["training"]
    expected = {"kimg": 0.006, "tick": 0.004, "keep": 1, "workers": 1}
    assert saved | expected == saved
    assert runs_beside(old) == [old.name]


@pytest.mark.parametrize(
    "option, inherited",
    [
        ("--seed=1", 0),
        ("--resume=none", 0),
        ("--init-from={old}/network-snapshot-000000.004.pkl", 4),
    ],
)
def test_other_options_start_a_new_run(old, heads, monkeypatch, option, inherited):
    without_pictures(monkeypatch)
    result = again(old, heads, "--kimg=0.002", option.format(old=old))
    assert result.exit_code == 0, result.output
    new = second_run(old)
    assert f"Starting {new} at 0.000 kimg." in result.stdout
    assert ("Schedules begin at 0.004 kimg (kimg of the snapshot): blur" in result.stderr) == bool(inherited)
    (path,) = new.glob("training-state*")
    state = checkpoint.load(path, "state")
    assert state["progress"]["inherited"] == inherited


def test_another_dataset_of_the_same_name_starts_a_new_run(old, heads, tmp_path, monkeypatch):
    without_pictures(monkeypatch)
    other = without_clip(heads, tmp_path / "other" / "heads", "00002")
    result = again(old, other, "--kimg=0.002")
    assert result.exit_code == 0
    assert "Starting" in result.stdout
    moved = tmp_path / "moved" / "heads"
    shutil.copytree(heads, moved)
    result = again(old, moved)
    assert f"Continuing {old}" in result.stdout, "its path does not matter"


def test_the_same_run_by_other_paths(old, heads, tmp_path, monkeypatch):
    """Dataset and weights are known by what is in them, wherever they lie and whatever they are called."""
    without_pictures(monkeypatch)
    snapshot = old / "network-snapshot-000000.004.pkl"
    monkeypatch.chdir(tmp_path)
    relative = snapshot.relative_to(tmp_path)
    started = again(old, heads, "--kimg=0.002", f"--init-from={relative}")
    new = second_run(old)
    assert f"Starting {new}" in started.stdout
    renamed = Path(shutil.copytree(heads, tmp_path / "other name"))
    moved = Path(shutil.copy(snapshot, tmp_path / "moved.pkl"))
    (tmp_path / "runs by link").symlink_to(old.parent)
    for path, data, outdir in (
        (snapshot, heads, old.parent),
        (moved, renamed, f"{os.path.relpath(old.parent)}/"),
        (relative, "other name", old.parent),
        (moved, heads, "runs by link"),
    ):
        result = run(outdir, data, *FINISHED, "--kimg=0.002", f"--init-from={path}")
        assert "Continuing" in result.stdout, result.output
        assert "A new run starts" not in result.stderr
    moved.unlink()
    assert "Continuing" in again(old, heads, "--kimg=0.002", f"--init-from={moved}").stdout, "it is not needed any more"
    assert runs_beside(old) == [old.name, new.name]


def test_a_new_run_beside_others_says_why(old, heads, monkeypatch):
    without_pictures(monkeypatch)
    result = again(old, heads, "--kimg=0.002", "--lambda-reg=0.3")
    (line,) = [line for line in result.stderr.splitlines() if "A new run starts" in line]
    assert line == (
        f"Warning: A new run starts, because {old} was started with other options "
        f"(--lambda-reg was 0.25, not 0.3): repeat them with --resume={old} to go on with that one, "
        "or take its weights with --init-from."
    )
    described = again(old, heads, "--kimg=0.002", "--desc=other")
    assert f"{old}, of the same options and data, has another name: --resume={old} goes on" in described.stderr
    assert "A new run starts" not in again(old, heads, "--kimg=0.002", "--resume=none").stderr


# --- Where schedules begin --------------------------------------------------------------------------------------------


def pv3d(old: Path, name: str, **counters: int) -> Path:
    """Write the networks of a run as the official PV3D does, beside it."""
    stored = checkpoint.load(old / "network-snapshot-000000.004.pkl", "snapshot")["weights"]
    model = {f"{prefix}{entry}": value for prefix, key in PREFIXES.items() for entry, value in stored[key].items()}
    path = old.parents[1] / name
    torch.save({"model": model, **counters}, path)
    return path


@pytest.mark.parametrize(
    "counters, options, inherited, told",
    [
        (
            {"num_samples": 4_800_000, "num_updates": 300_000},
            [],
            4_800_000,
            "4800 kimg (num_samples of the checkpoint, 16 in each of its 300000 updates): "
            "blur 0.00 pixels, swap probability 0.50.",
        ),
        (
            {"num_samples": 4_800_000},
            ["--init-kimg=0.625"],
            625,
            "0.625 kimg (--init-kimg): blur 1.00 pixels, swap probability 1.00.",
        ),
        ({}, [], 0, "0 kimg ({path} does not say how far it is; --init-kimg sets it): blur 2.00 pixels"),
    ],
    ids=["counters", "option", "unknown"],
)
def test_weights_of_others_do_not_fade_in_again(old, heads, monkeypatch, counters, options, inherited, told):
    """The preset's blur of 2 pixels fades over 1.25 kimg at this batch, swaps over 1000."""
    without_pictures(monkeypatch)
    path = pv3d(old, "official.pt", **counters)
    result = again(old, heads, "--kimg=0.002", f"--init-from={path}", *options)
    assert "Schedules begin at " + told.format(path=path) in result.stderr, result.output
    new = second_run(old)
    assert f"Starting {new} at 0.000 kimg" in result.stdout, "a run counts its own clips"
    state = checkpoint.load(new / "training-state-000000.002.pt", "state")
    assert state["progress"]["inherited"] == inherited
    assert load_generator(new / "network-snapshot-000000.002.pkl").progress["kimg"] == (inherited + 2) / 1000
    first = json.loads((new / "stats.jsonl").read_text().splitlines()[0])
    assert first["schedule/swap_probability"] == pytest.approx(1 - 0.5 * min((inherited + 2) / 1e6, 1))
    resumed = again(old, heads, "--kimg=0.002", f"--init-from={path}", *options)
    assert f"Continuing {new}" in resumed.stdout
    assert "Schedules begin" not in resumed.stderr


def test_motion_that_begins_anew_is_part_of_the_run(old, heads, monkeypatch):
    without_pictures(monkeypatch)
    start = ["--kimg=0.002", f"--init-from={old / 'network-snapshot-000000.004.pkl'}"]
    assert again(old, heads, *start, "--fresh-motion").exit_code == 0
    new = second_run(old)
    assert json.loads((new / "training_options.json").read_text())["fresh_motion"]
    assert f"Continuing {new}" in again(old, heads, *start, "--fresh-motion").stdout
    assert f"Continuing {new}" not in again(old, heads, *start).stdout


def test_a_pickle_of_eg3d_says_how_far_it_is_in_its_name(snapshot):
    source = replace(open_snapshot(snapshot), path=Path("x/network-snapshot-025000.pkl"), counter=None)
    line = schedules_line(source, Config(), Progress())
    assert line == (
        "Schedules begin at 0 kimg (x/network-snapshot-025000.pkl does not say how far it is, but its name does: "
        "--init-kimg=25000 goes on there): blur 10.00 pixels, swap probability 1.00."
    )


# --- With the run that is named --------------------------------------------------------------------------------------


def test_resuming_a_folder_asks_for_the_same_options(old, heads, tmp_path):
    elsewhere = old.rename(tmp_path / "elsewhere")
    outdir = tmp_path / "runs"
    resume = f"--resume={elsewhere}"
    sentence = refused(run(outdir, heads, resume, "--seed=1", "--cmax=4"))
    for part in ("--seed was 0, not 1", "--cmax was 8, not 4", "--init-from"):
        assert part in sentence
    assert run(outdir, heads, resume, "--kimg=0.004").exit_code == 0
    fewer = without_clip(heads, tmp_path / "fewer", "00000")
    assert "the dataset was another one" in refused(run(outdir, fewer, resume))
    edited = Path(shutil.copytree(heads, tmp_path / "edited"))
    with (edited / "00001" / "00003.png").open("r+b") as frame:
        frame.seek(-30, os.SEEK_END)
        frame.write(b"edited")  # the size stays
    assert "the dataset was another one" in refused(run(outdir, edited, resume))
    (elsewhere / "training_options.json").unlink()
    assert "training_options.json does not exist" in refused(run(outdir, heads, resume))
    assert "has no training-state-*.pt" in refused(run(outdir, heads, f"--resume={tmp_path}"))
    assert is_empty(outdir)


def test_resuming_a_folder_need_not_repeat_where_its_weights_came_from(old, heads, monkeypatch):
    without_pictures(monkeypatch)
    started = again(old, heads, "--kimg=0.002", "--init-from", old / "network-snapshot-000000.004.pkl")
    assert started.exit_code == 0
    new = second_run(old)
    resume = f"--resume={new}"
    resumed = again(old, heads, resume, "--kimg=0.002")
    assert f"Continuing {new}" in resumed.stdout
    assert read_json(new / "training_options.json")["init_from"]
    sentence = refused(again(old, heads, resume, "--init-from=other.pkl"))
    assert "--seed was" not in sentence


def test_a_run_whose_states_are_all_damaged(old, heads):
    for state in old.glob("training-state*"):
        content = state.read_bytes()
        state.write_bytes(content[:1000])
    assert "damaged or was cut short" in refused(again(old, heads, "--kimg=0.006"))
    assert (old / "stats.jsonl").exists(), "the run is left as it was"


def test_processes_that_see_different_snapshots_do_not_train(old, heads, monkeypatch):
    path = old / "network-snapshot-000000.004.pkl"
    checksum = file_checksum(path)
    gather = distributed.gather

    def with_another(value, *group):
        return [value, "of another file"] if value == checksum else gather(value, *group)

    monkeypatch.setattr(distributed, "gather", with_another)
    said = refused(again(old, heads, "--resume=none", "--init-from", path))
    assert f"The processes see different snapshots as {path}" in said
    assert runs_beside(old) == [old.name]
