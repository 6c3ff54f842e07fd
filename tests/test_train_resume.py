"""Which run a start of train.py goes on with, and what it asks for."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import Result

from dnnlib.files import read_json
from tests.helpers.train_command import FINISHED, finished_run, is_empty, refused, run, without_pictures
from torch_utils import checkpoint

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
