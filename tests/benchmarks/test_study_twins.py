"""benchmarks/study_twins.py: rows that are trained alike share weights, and no others do."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import study_runs
from benchmarks.study_rows import ROWS
from benchmarks.study_runs import Run
from dnnlib.files import file_checksum, write_json
from dnnlib.options import value_of
from tests.benchmarks.test_study import Commands, study_in
from tests.helpers import tiny
from tests.helpers.trainers import assert_same, iterate, make_trainer, weights
from training.checkpoints.opener import open_snapshot
from training.checkpoints.snapshots import save_snapshot

TWINS = [row for row in ROWS.values() if row.twin is not None]


@pytest.mark.parametrize("row", TWINS, ids=lambda row: row.name)
def test_twins_are_trained_alike(row, heads, tmp_path):
    """By the training loop: the options that they have apart change no weight, regularisation included."""
    assert row.options == ("--camera-mode=Non",) and not ROWS[row.twin].options
    trained = []
    for name, mode in (("a", "MapT"), ("b", "Non")):
        trainer = make_trainer(heads, tmp_path / name, generator__camera_mode=mode)
        iterate(trainer, 5)
        trained.append(weights(trainer))
    assert_same(*trained)


def started(place: Path, name: str, **changes: object) -> Run:
    """Return a run of a row whose record is written."""
    run = Run(row=ROWS[name], seed=0, place=place / "rows" / name / "seed0")
    run.place.mkdir(parents=True)
    study_runs.keep_record(run, study_in(place, **changes), "code")
    return run


def finish(run: Run) -> Path:
    """Write what training a run leaves; return its snapshot."""
    path = run.place / "runs" / "00000" / "network-snapshot-000000.016.pkl"
    path.parent.mkdir(parents=True)
    config = tiny.config()
    save_snapshot(path, config, tiny.networks(config), torch.zeros(0, 16, 25), {"kimg": 0.016})
    line = {"kimg": 0.016, "file": path.relative_to(run.place).as_posix(), "sha256": file_checksum(path)}
    write_json(run.place / "trained.json", {"seconds_per_kimg": 80.0, "snapshots": [line]})
    return path


def score(*_: object) -> None:
    """Score nothing."""


def test_a_twin_takes_the_weights_that_are_there_and_is_sampled_its_own_way(tmp_path):
    source = finish(started(tmp_path, "pv3d"))
    run, commands = started(tmp_path, "cameras-non"), Commands()
    assert study_runs.work(run, study_in(tmp_path), call=commands, score=score) is None
    assert [command[0] for command in commands.given] == ["gen_videos.py"], "nothing is trained"
    (snapshot,) = study_runs.trained(run)
    theirs, own = open_snapshot(source), open_snapshot(snapshot.path)
    assert_same(theirs.weights["G_ema"], own.weights["G_ema"])
    assert own.config == replace(theirs.config, generator=replace(theirs.config.generator, camera_mode="Non"))
    assert value_of(theirs.config, "generator.camera_mode") == "MapT"
    assert snapshot.sha256 == file_checksum(snapshot.path) and study_runs.seconds_per_kimg(run) == 80


def test_without_them_or_with_others_it_is_trained(tmp_path):
    started(tmp_path, "pv3d")
    run, commands = started(tmp_path, "cameras-non"), Commands()
    assert study_runs.work(run, study_in(tmp_path), call=commands, score=score) is None
    assert commands.given[0][0] == "train.py", "the other run is not done"
    other = tmp_path / "other"
    finish(started(other, "pv3d", kimg=0.5))
    run, commands = started(other, "cameras-non"), Commands()
    assert study_runs.work(run, study_in(other), call=commands, score=score) is None
    assert commands.given[0][0] == "train.py", "the other run is of another length"
