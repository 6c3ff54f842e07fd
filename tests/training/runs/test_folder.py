"""training.runs.folder: numbers, options, what a run may change, training states, no trace of a failed start."""

import errno
import json
import os
import re
from types import SimpleNamespace

import pytest
import torch

from dnnlib import locks
from dnnlib.errors import UserError
from dnnlib.files import atomic_path
from tests.helpers import tiny
from training.runs import folder
from training.runs import options as run_options
from training.runs.folder import RunFolder, next_number, stamp
from training.runs.options import RunOptions
from training.runs.progress import Progress


def options(data="heads.zip", fingerprint="f00d", init_from=None, **changes) -> RunOptions:
    return RunOptions(config=tiny.config(**changes), data=data, fingerprint=fingerprint, init_from=init_from)


@pytest.fixture
def run(tmp_path) -> RunFolder:
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


def state(run: RunFolder, clips: int, value: float = 0.0, keep: int = 2):
    return run.save_state({"value": torch.tensor(value)}, Progress(clips=clips), keep=keep)


def accept(state, path) -> None:
    """Refuse no state: a check for `newest_state`."""


def started(outdir, name, chosen):
    """Start a run with a training state; return its folder."""
    path = RunFolder.create(outdir, name, chosen)
    state(RunFolder(path), clips=8)
    return path


def test_numbers_go_on_from_the_highest(tmp_path):
    assert next_number(tmp_path / "absent") == 0
    for name in ("00002-a", "00010-b", "notes", "123-c"):
        (tmp_path / name).mkdir()
    assert next_number(tmp_path) == 11
    assert RunFolder.create(tmp_path, "demo", options()).name == "00011-demo"


def test_options_are_kept_as_json(tmp_path):
    chosen = options(init_from="a.pkl", generator__sr_channels=(4, 4), training__kimg=3)
    path = RunFolder.create(tmp_path, "demo", chosen)
    saved = json.loads((path / "training_options.json").read_text())
    assert saved["config"]["training"]["kimg"] == 3
    assert saved["data"] == "heads.zip"
    assert RunOptions.load(path) == chosen


@pytest.mark.parametrize(
    "text, match",
    [
        (None, "does not exist"),
        ("{", "not valid JSON"),
        ("[]", "no list of options"),
        ("{}", "no list of options"),
        ('{"config": {"new": 1}}', "does not know"),
    ],
)
def test_broken_options(run, text, match):
    if text is not None:
        (run.path / "training_options.json").write_text(text)
    with pytest.raises(UserError, match=match):
        RunOptions.load(run.path)


def test_a_run_may_change_how_long_it_trains_and_how_often_it_reports():
    free = {"kimg": 9.0, "tick": 1.0, "snap": 7, "keep": 9, "workers": 3}
    other = options(data="moved.zip", **{f"training__{name}": value for name, value in free.items()})
    assert options().differences(other) == {}


def test_a_run_may_not_change_what_it_learns():
    other = options(fingerprint="beef", init_from="a.pkl", loss__gamma=9.0, generator__rendering__near=1.0)
    assert options().differences(other) == {
        "generator.rendering.near": (2.25, 1.0),
        "loss.gamma": (2.0, 9.0),
        "dataset": ("f00d", "beef"),
        "init_from": (None, "a.pkl"),
    }


def test_the_newest_run_with_the_same_options_is_found(tmp_path):
    assert RunFolder.find(tmp_path / "absent", "demo", options()) is None
    first = started(tmp_path, "demo", options())
    newest = started(tmp_path, "demo", options(training__kimg=5.0))
    started(tmp_path, "demo", options(training__seed=1))
    started(tmp_path, "demo", options(fingerprint="beef"))
    started(tmp_path, "demo", options(init_from="a.pkl"))
    started(tmp_path, "demo-more", options())
    RunFolder.create(tmp_path, "demo", options())  # has no state
    damaged = started(tmp_path, "demo", options()) / "training_options.json"
    damaged.write_text(re.sub(r'"betas": \[[^]]*\]', '"betas": {}', damaged.read_text()))
    assert '"betas": {}' in damaged.read_text()
    broken = started(tmp_path, "demo", options())
    (broken / "training_options.json").write_text("{")
    assert RunFolder.find(tmp_path, "demo", options()) == newest
    assert RunFolder.find(tmp_path, "demo", options(loss__gamma=1.0)) is None
    assert RunFolder.latest(tmp_path) == broken
    assert RunFolder.latest(tmp_path / "absent") is None
    (newest / "training_options.json").unlink()
    assert RunFolder.find(tmp_path, "demo", options()) == first


def test_a_run_that_was_killed_before_its_first_state_is_found_if_no_other_is(tmp_path):
    early = RunFolder.create(tmp_path, "demo", options())
    assert RunFolder.find(tmp_path, "demo", options(training__kimg=5.0)) == early
    assert RunFolder.find(tmp_path, "demo", options(training__seed=1)) is None
    assert RunFolder.latest(tmp_path) is None
    full = started(tmp_path, "demo", options())
    RunFolder.create(tmp_path, "demo", options())
    assert RunFolder.find(tmp_path, "demo", options()) == full


def test_the_last_states_are_kept(run):
    for clips in (1000, 9000, 10_000, 123_456_789):
        state(run, clips)
    assert [path.name for path in run.states()] == ["training-state-000010.000.pt", "training-state-123456.789.pt"]
    state(run, 1_000_000_000)  # seven digits of kimg
    assert [path.name for path in run.states()] == ["training-state-123456.789.pt", "training-state-1000000.000.pt"]
    assert stamp(5) == "000000.005"


def test_the_newest_state_that_opens(run):
    assert run.newest_state(accept, print) is None
    good = state(run, 1000, 1.0)
    cut = state(run, 2000, 2.0)
    cut.write_bytes(cut.read_bytes()[:-200])
    warnings = []
    path, found = run.newest_state(accept, warnings.append)
    assert path == good
    assert found["value"] == 1.0
    (warning,) = warnings
    assert re.search(f"{cut.name} is damaged .* Going on from the earlier {good.name}", warning)
    with pytest.raises(UserError, match=f"{cut.name} is damaged or was cut short"):
        RunFolder(run.path, fall_back=False).newest_state(accept, print)
    good.unlink()
    with pytest.raises(UserError, match="damaged or was cut short"):
        run.newest_state(accept, warnings.append)
    assert len(warnings) == 1


def test_a_state_that_is_refused_is_passed_over(run):
    good = state(run, 1000, 1.0)
    refused = state(run, 2000, 2.0)

    def check(content, path):
        if content["value"] == 2.0:
            raise UserError(f"{path.name} does not fit.")

    warnings = []
    path, _ = run.newest_state(check, warnings.append)
    assert path == good
    (warning,) = warnings
    assert warning.startswith(f"{refused.name} does not fit. Going")


def test_a_new_state_never_makes_way_for_one_that_cannot_be_used(tmp_path):
    """The run went on from 1000, because 3000 was damaged: 3000 is not one of the last that are kept."""
    run = RunFolder(tmp_path)
    state(run, 1000)
    state(run, 3000).write_bytes(b"PK")
    new = state(run, 2000, 2.0, keep=1)
    assert [path.name[-11:-3] for path in run.states()] == ["0002.000", "0003.000"]
    path, _ = run.newest_state(accept, print)
    assert path == new
    state(run, 3000, 3.0, keep=1)
    _, found = run.newest_state(accept, print)
    assert found["value"] == 3.0
    assert len(run.states()) == 1


def test_a_state_that_is_not_finite_takes_no_good_one_s_place(tmp_path):
    run = RunFolder(tmp_path)
    good = state(run, 1000, 1.0)
    with pytest.raises(UserError, match="000002.000.pt was not written, because value is not finite: .* diverged"):
        state(run, 2000, float("nan"), keep=1)
    assert [path.name for path in tmp_path.iterdir()] == [good.name]


def test_what_a_killed_process_left_half_written_is_removed(run):
    unfinished = []
    whole = []
    for name in (
        "training-state-000001.000.pt",
        "network-snapshot-000001.000.pkl",
        "fakes000001.000.png",
        "fakes000001.000.mp4",
        "training_options.json",
        "stats.jsonl",
        "best-snapshot.pkl",
    ):
        with atomic_path(run.path / name) as temporary:
            temporary.write_text("whole")
            unfinished.append(temporary)
        whole.append(run.path / name)
    living = re.sub(r"-\d+-", f"-{os.getppid()}-", unfinished[-1].name).replace("best-snapshot", "seed0000")
    others = [run.path / living, run.path / ".notes", run.path / "metrics.jsonl"]
    for path in (*unfinished, *others):
        path.write_text("half")
    with run:
        run.claim()
    assert set(run.path.iterdir()) == {*whole, *others}, "other commands may be writing here"


def test_a_run_that_is_training_is_left_alone(run):
    with atomic_path(state(run, 1000)) as unfinished:
        unfinished.write_text("whole")
    other = RunFolder(run.path)
    with run:
        run.claim()
        unfinished.write_text("half")
        with pytest.raises(UserError, match="Another process is training .*run: stop it"):
            other.claim()
        assert unfinished.exists()
    with other:
        other.claim()
        assert not unfinished.exists()


def test_without_locks_another_machine_s_file_stays(run, monkeypatch):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", no_locks)
    unfinished = run.path / ".stats.00000000-1-1a2b3c4d.jsonl"
    unfinished.write_text("half")
    with run:
        run.claim()
    assert unfinished.exists(), "its process may live"


@pytest.mark.parametrize("linked", [True, False])
def test_a_branch_starts_with_a_state_and_the_statistics_of_another_run(tmp_path, monkeypatch, linked):
    def another_file_system(source, dest):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    if not linked:
        monkeypatch.setattr(folder.os, "link", another_file_system)
    old = started(tmp_path, "demo", options())
    RunFolder(old).log(Progress(clips=8, iteration=4), {"x": 1.0})
    (source,) = RunFolder(old).states()
    new = RunFolder.branch(tmp_path, "demo", options(training__kimg=5.0), source)
    assert new.name == "00001-demo"
    assert RunOptions.load(new).config.training.kimg == 5.0
    for name in (source.name, "stats.jsonl"):
        assert (new / name).read_bytes() == (old / name).read_bytes()
    state(RunFolder(new), 10, keep=1)
    assert source.exists()
    assert len(RunFolder(new).states()) == 1


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_branch_that_cannot_be_made_leaves_nothing(tmp_path, monkeypatch, error):
    old = started(tmp_path, "demo", options())
    RunFolder(old).log(Progress(clips=8, iteration=4), {"x": 1.0})
    (source,) = RunFolder(old).states()

    def broken(source, dest):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(folder.shutil, "copyfile", broken)
        with pytest.raises(UserError if isinstance(error, OSError) else KeyboardInterrupt):
            RunFolder.branch(tmp_path, "demo", options(), source)
    assert list(tmp_path.iterdir()) == [old]
    assert source.exists()


def test_two_starts_at_once_take_two_numbers(tmp_path, monkeypatch):
    first = RunFolder.create(tmp_path / "runs", "demo", options())
    monkeypatch.setattr(folder, "next_number", lambda outdir: 0)  # counted before the first was made
    second = RunFolder.create(tmp_path / "runs", "demo", options(training__seed=1))
    assert (first.name, second.name) == ("00000-demo", "00001-demo")
    assert RunOptions.load(first) == options() != RunOptions.load(second)


def test_a_failed_start_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), RunFolder(RunFolder.create(tmp_path, "demo", options())):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError), RunFolder(RunFolder.create(tmp_path, "demo", options())) as run:
        run.log(Progress(), {"x": 1.0})
        raise RuntimeError
    assert (tmp_path / "00000-demo" / "stats.jsonl").exists(), "what was logged stays"


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write .*choose a folder"):
        RunFolder.create(tmp_path / "file", "demo", options())

    def full(path, values):
        raise UserError("No space left.")

    monkeypatch.setattr(run_options, "write_json", full)
    with pytest.raises(UserError, match="No space"):
        RunFolder.create(tmp_path / "runs", "demo", options())
    assert list((tmp_path / "runs").iterdir()) == []


def test_snapshots_are_named_by_clips_and_count_all_that_were_seen(run, monkeypatch):
    calls = []
    monkeypatch.setattr(folder, "save_snapshot", lambda *arguments: calls.append(arguments))
    path = run.save_snapshot("config", SimpleNamespace(), "bank", Progress(clips=1500, inherited=3000))
    assert path.name == "network-snapshot-000001.500.pkl"
    assert calls[0][-1] == {"kimg": 4.5}
