"""training.runs.resume: which run --resume means, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dnnlib.errors import UserError
from dnnlib.files import file_checksum
from tests.helpers import tiny
from torch_utils import checkpoint
from training.config import Config
from training.runs.folder import RunFolder, Warn
from training.runs.options import OPTIONS, RunOptions
from training.runs.progress import Progress
from training.runs.resume import open_run

FLAGS = {"training.seed": "--seed", "loss.gamma": "--gamma"}


def options(**changes) -> RunOptions:
    return RunOptions(config=tiny.config(**changes), data="heads.zip", fingerprint="f00d", init_from=None)


def choose(outdir: Path, resume: object, warn: Warn = print, name: str = "demo", **changes) -> RunFolder:
    """Return what `open_run` gives, with the folder free again."""
    asked = options(**changes)
    with open_run(outdir, name=name, alike=name, options=asked, resume=str(resume), flags=FLAGS, warn=warn) as run:
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


# --- Why a new run starts ---------------------------------------------------------------------------------------------


def said(outdir: Path, name: str = "demo", alike: str = "demo", **changes) -> list[str]:
    """Return what a start with `auto` tells, which must make a new run."""
    lines: list[str] = []
    asked = replace(options(), **changes)
    before = set(outdir.glob("*"))
    with open_run(outdir, name=name, alike=alike, options=asked, resume="auto", flags=FLAGS, warn=lines.append) as run:
        assert run.path not in before
    return lines


def seeded(**changes) -> dict[str, Config]:
    return {"config": tiny.config(training__seed=1, **changes)}


def test_a_new_run_beside_others_says_what_differs(tmp_path):
    assert said(tmp_path) == []
    old = start(tmp_path, 4)
    assert said(tmp_path, **seeded()) == [
        f"A new run starts, because {old} was started with other options (--seed was 0, not 1): "
        f"repeat them with --resume={old} to go on with that one, or take its weights with --init-from."
    ]
    assert said(tmp_path, name="other", alike="other", fingerprint="beef") == [], "of another name and of other data"


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"init_from": "a.pkl"}, "--init-from was none, not a.pkl"),
        ({"init_from": "a.pkl", "init_kimg": 5.0}, "--init-kimg was none, not 5.0; --init-from was none, not a.pkl"),
        ({"fingerprint": "beef"}, "the dataset has changed since"),
        ({"fingerprint": "beef", "data": "x/heads.zip"}, "the dataset was another one, heads.zip"),
        (seeded(loss__blur_fade_factor=2.0), "loss.blur_fade_factor of --cfg was 6.25, not 2.0; --seed was 0, not 1"),
    ],
)
def test_differences_are_called_as_on_the_command_line(tmp_path, changes, told):
    start(tmp_path, 4)
    (line,) = said(tmp_path, **changes)
    assert f"({told})" in line


def test_a_run_that_is_named_goes_on_with_a_mended_dataset(tmp_path):
    """What ends a run may be a broken frame: to mend it is to change the dataset."""
    old = start(tmp_path, 4)
    lines: list[str] = []
    for resume in (old, old / "training-state-000000.004.pt"):
        asked = replace(options(), fingerprint=f"beef{len(lines)}")
        with open_run(
            tmp_path, name="demo", alike="demo", options=asked, resume=str(resume), flags=FLAGS, warn=lines.append
        ) as run:
            assert run.path == old
    assert lines == [f"{old} goes on with heads.zip, which has changed since that run was last started."] * 2
    assert RunOptions.load(old).fingerprint == "beef1", "the same command without --resume finds it from now on"
    for resume, changes in (
        ("latest", {}),
        (old, {"data": "other.zip"}),
        (old, {"config": tiny.config(loss__gamma=9.0)}),
    ):
        asked = replace(options(), fingerprint="dead", **changes)
        with pytest.raises(UserError, match="the dataset has changed|was another one|--gamma"):
            open_run(tmp_path, name="demo", alike="demo", options=asked, resume=str(resume), flags=FLAGS, warn=print)


def test_many_differences_are_cut(tmp_path):
    start(tmp_path, 4)
    weights = dict.fromkeys(("lambda_img", "lambda_vid", "lambda_reg", "gamma", "blur_sigma", "swap_start"), 0.5)
    changes = {f"loss__{name}": value for name, value in weights.items()}
    (line,) = said(tmp_path, **seeded(**changes), init_from="x" * 10_000)
    assert line.count(" was ") == 7
    assert "; and 2 more): repeat them" in line
    assert len(line) < 1000


def test_the_nearest_run_is_told_of(tmp_path):
    start(tmp_path, 4, training__seed=7, loss__gamma=9.0)
    start(tmp_path, 4, training__seed=8)
    near = start(tmp_path, 4, training__seed=9)
    start(tmp_path, 4, training__seed=7, loss__gamma=9.0)
    start(tmp_path, training__seed=0)  # has nothing to go on from
    (line,) = said(tmp_path, **seeded())
    assert str(near) in line
    assert "(--seed was 9, not 1)" in line


def test_a_run_of_this_data_under_another_name_is_told_of(tmp_path):
    described = start(tmp_path, 4, name="demo-first")
    told = [
        f"A new run starts, because {described}, of the same options and data, has another name: "
        f"--resume={described} goes on with that one."
    ]
    assert said(tmp_path) == told
    renamed = described.rename(tmp_path / "mine")
    assert said(tmp_path) == [line.replace(str(described), str(renamed)) for line in told]
    assert choose(tmp_path, renamed).path == renamed


def test_a_run_whose_data_was_called_otherwise_goes_on(tmp_path):
    old = start(tmp_path, 4, name="demo-heads-batch2")
    asked = replace(options(), data="renamed.zip")
    for _ in range(2):
        with open_run(
            tmp_path,
            name="demo-renamed-batch2",
            alike="demo-*-batch2",
            options=asked,
            resume="auto",
            flags=FLAGS,
            warn=pytest.fail,
        ) as run:
            assert run.path == old
    (line,) = said(tmp_path, name="demo-heads-batch4", alike="demo-*-batch4", **seeded())
    assert f"{old} was started with" in line


def test_a_run_of_another_version_is_told_of(tmp_path):
    old = start(tmp_path, 4)
    path = old / OPTIONS
    values = json.loads(path.read_text())
    values["config"]["loss"]["novel"] = 1
    path.write_text(json.dumps(values))
    assert said(tmp_path) == [
        f"A new run starts, because the options of {old} cannot be read: "
        "The saved LossConfig has options this version does not know: novel."
    ]


def test_a_run_of_an_earlier_version_is_completed(tmp_path):
    weights = tmp_path / "a.pkl"
    weights.write_text("weights")
    asked = replace(options(), init_from=str(weights))
    old = RunFolder.create(tmp_path / "runs", "demo", asked)
    save(old, 4)
    assert RunOptions.load(old).init_from_sha256 is None
    with open_run(
        tmp_path / "runs", name="demo", alike="demo", options=asked, resume="auto", flags=FLAGS, warn=pytest.fail
    ) as run:
        assert run.path == old
    assert RunOptions.load(old).init_from_sha256 == file_checksum(weights)


# --- Mistakes ---------------------------------------------------------------------------------------------------------


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
    with open_run(tmp_path, name="demo", alike="demo", options=options(), resume="auto", flags=FLAGS, warn=print):
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
