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


def test_the_same_command_again_finds_its_run_done(old, heads):
    result = again(old, heads)
    assert result.exit_code == 0 and result.stdout.startswith(f"Continuing {old} at 0.004 kimg.\nDone. 0.004 kimg")
    assert [path.name for path in old.parent.iterdir()] == [old.name]


def test_more_kimg_and_other_habits_of_reporting_go_on_with_the_run(old, heads, monkeypatch):
    without_pictures(monkeypatch)
    result = again(old, heads, "--kimg=0.006", "--tick=0.004", "--snap=1", "--keep=1", "--workers=1", "--batch-gpu=1")
    assert result.exit_code == 0 and f"Continuing {old} at 0.004 kimg" in result.stdout
    assert [path.name for path in old.glob("training-state*")] == ["training-state-000000.006.pt"]
    saved = read_json(old / "training_options.json")["config"]["training"]
    assert (saved["kimg"], saved["tick"], saved["keep"], saved["workers"]) == (0.006, 0.004, 1, 1)
    assert [path.name for path in old.parent.iterdir()] == [old.name]


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
    new = old.with_name(old.name.replace("00000", "00001", 1))
    assert f"Starting {new} at 0.000 kimg." in result.stdout
    (state,) = new.glob("training-state*")
    assert checkpoint.load(state, "state")["progress"]["inherited"] == inherited


def test_another_dataset_of_the_same_name_starts_a_new_run(old, heads, tmp_path, monkeypatch):
    without_pictures(monkeypatch)
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
        run(tmp_path / "runs", copy_without_a_clip(heads, tmp_path / "less"), f"--resume={elsewhere}")
    )
    (elsewhere / "training_options.json").unlink()
    assert "training_options.json does not exist" in refused(run(tmp_path / "runs", heads, f"--resume={elsewhere}"))
    assert "has no training-state-*.pt" in refused(run(tmp_path / "runs", heads, f"--resume={tmp_path}"))
    assert is_empty(tmp_path / "runs")


def copy_without_a_clip(heads: Path, dest: Path) -> Path:
    """Copy a dataset but for its first clip."""
    folder = Path(shutil.copytree(heads, dest))
    index = read_json(folder / "dataset.json")
    index["labels"] = [label for label in index["labels"] if not label[0].startswith("00000/")]
    (folder / "dataset.json").write_text(json.dumps(index))
    return folder


def test_resuming_a_folder_need_not_repeat_where_its_weights_came_from(old, heads, monkeypatch):
    without_pictures(monkeypatch)
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
