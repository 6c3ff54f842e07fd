"""training.runs.resume: which run --resume means, and what it refuses."""

from pathlib import Path

import pytest
import torch

from dnnlib.errors import UserError
from tests.helpers import tiny
from torch_utils import checkpoint
from training.runs.folder import RunFolder, Warn
from training.runs.options import RunOptions
from training.runs.progress import Progress
from training.runs.resume import open_run

FLAGS = {"training.seed": "--seed", "loss.gamma": "--gamma"}


def options(**changes) -> RunOptions:
    return RunOptions(config=tiny.config(**changes), data="heads.zip", fingerprint="f00d", init_from=None)


def choose(outdir: Path, resume: object, warn: Warn = print, name: str = "demo", **changes) -> RunFolder:
    """Return what `open_run` gives, with the folder free again."""
    asked = options(**changes)
    with open_run(outdir, name=name, options=asked, resume=str(resume), flags=FLAGS, warn=warn) as run:
        return run


def save(folder: Path, clips: int) -> Path:
    """Write a small but sound training state."""
    progress = Progress(clips=clips, iteration=clips // 2)
    weights = {"w": torch.tensor(1.0)}
    state = {"networks": {"G": weights}, "optimizers": {}, "progress": vars(progress)}
    return RunFolder(folder).save_state(state, progress, keep=9)


def start(outdir: Path, *clips: int, name: str = "demo", **changes) -> Path:
    """Start a run with training states; return its folder."""
    folder = RunFolder.create(outdir, name, options(**changes))
    for number in clips:
        save(folder, number)
    return folder


def test_auto_goes_on_or_starts(tmp_path):
    old = start(tmp_path, 4)
    run = choose(tmp_path, "auto", training__kimg=5.0, training__keep=7)
    assert run.path == old
    assert run.fall_back
    assert RunOptions.load(old).config.training.kimg == 5.0, "what may change is written down"
    assert choose(tmp_path, "auto", training__seed=1, name="other").path.name == "00001-other"
    assert [path.name for path in tmp_path.iterdir()] == [old.name], "what has nothing to show goes"
    assert choose(tmp_path, "none").path.name == "00001-demo"


def test_latest_is_the_newest_run_whatever_its_name(tmp_path):
    with pytest.raises(UserError, match=f"--resume=latest finds no run with a training-state-.* in {tmp_path}/absent"):
        choose(tmp_path / "absent", "latest")
    start(tmp_path, 8)
    newest = start(tmp_path, 4, name="named", training__seed=1)
    RunFolder.create(tmp_path, "empty", options())
    assert choose(tmp_path, "latest", training__seed=1).path == newest
    with pytest.raises(
        UserError,
        match=f"--resume=latest means {newest}, which was started with other options "
        r"\(--gamma was 2.0, not 3.0; --seed was 1, not 0\): repeat them",
    ):
        choose(tmp_path, "latest", loss__gamma=3.0)
    assert not (tmp_path / "absent").exists()
    assert len(list(tmp_path.iterdir())) == 3


def test_the_last_state_of_a_run_goes_on_in_its_folder(tmp_path):
    old = start(tmp_path, 4, 8)
    warnings = []
    run = choose(tmp_path / "elsewhere", old / "training-state-000000.008.pt", warnings.append)
    assert run.path == old
    assert not run.fall_back, "another state may not take the place of the one that was named"
    assert warnings == []
    assert not (tmp_path / "elsewhere").exists()


def test_an_earlier_state_of_a_run_goes_on_in_a_new_one(tmp_path):
    old = start(tmp_path, 4, 8, name="mine")
    warnings = []
    run = choose(tmp_path, old / "training-state-000000.004.pt", warnings.append, training__kimg=5.0)
    assert run.path.name == "00001-demo"
    assert [path.name[-7:] for path in run.states()] == [".004.pt"]
    assert [path.name[-7:] for path in RunFolder(old).states()] == [".004.pt", ".008.pt"]
    assert RunOptions.load(old).config.training.kimg != 5.0
    assert RunOptions.load(run.path).config.training.kimg == 5.0
    assert warnings == [
        f"{old} has states later than training-state-000000.004.pt, which stay there: a new run goes on."
    ]
    assert choose(tmp_path, "auto").path == choose(tmp_path, "latest").path == run.path


def stray(outdir: Path) -> Path:
    """Make a state outside of a run."""
    return save(outdir / "stray", 4)


def snapshot_file(outdir: Path) -> Path:
    path = start(outdir, 4) / "network-snapshot-000000.004.pkl"
    path.write_text("")
    return path


def damaged(outdir: Path) -> Path:
    path = save(start(outdir, 8), 4)
    path.write_bytes(path.read_bytes()[:-100])
    return path


def not_sound(outdir: Path) -> Path:
    path = start(outdir, 4, 8) / "training-state-000000.004.pt"
    checkpoint.save(path, {"networks": {}}, "state")
    return path


def of_other_options(outdir: Path) -> Path:
    return start(outdir, 4, 8, training__seed=1) / "training-state-000000.004.pt"


@pytest.mark.parametrize(
    "make, sentence",
    [
        (stray, "is no training-state-.* in the folder of a run: give one that is"),
        (snapshot_file, "is no training-state-.* or take the weights of a snapshot with --init-from"),
        (damaged, "damaged or was cut short"),
        (not_sound, "cannot be used, because it has no optimizers"),
        (of_other_options, r"was started with other options \(--seed was 1, not 0\)"),
        (lambda outdir: outdir / "absent", "absent has no training-state"),
        (lambda outdir: start(outdir), "has no training-state"),
    ],
)
def test_a_file_or_folder_to_go_on_from_that_is_none(tmp_path, make, sentence):
    given = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=sentence):
        choose(tmp_path, given)
    assert sorted(tmp_path.rglob("*")) == before, "no new run"


def test_a_run_that_another_process_trains_is_refused_and_not_touched(tmp_path):
    old = start(tmp_path, 4)
    with open_run(tmp_path, name="demo", options=options(), resume="auto", flags=FLAGS, warn=print):
        for resume in ("auto", "latest", old, old / "training-state-000000.004.pt"):
            with pytest.raises(UserError, match="Another process is training"):
                choose(tmp_path, resume, training__kimg=5.0)
        assert RunOptions.load(old).config.training.kimg != 5.0
    assert choose(tmp_path, "auto").path == old


def test_a_full_disk_gives_the_folder_back(tmp_path, monkeypatch):
    old = start(tmp_path, 4)

    def full(self, folder):
        raise UserError("No space left.")

    with monkeypatch.context() as patch:
        patch.setattr(RunOptions, "save", full)
        with pytest.raises(UserError, match="No space left"):
            choose(tmp_path, "auto")
    assert choose(tmp_path, "auto").path == old
