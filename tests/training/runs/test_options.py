"""training.runs.options: what makes two runs the same one, and files of earlier versions."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dnnlib.errors import UserError
from dnnlib.files import file_checksum
from tests.helpers import tiny
from training.runs.options import OPTIONS, RunOptions, configuration


def options(init_from: Path | str | None = None, **changes) -> RunOptions:
    """Return the options of a start now, whose file of weights is looked at."""
    origin = None if init_from is None else str(init_from)
    return RunOptions(
        config=tiny.config(**changes), data="heads.zip", fingerprint="f00d", init_from=origin
    ).identified()


def rewrite(folder: Path, **changes: object) -> None:
    """Change entries of a run's list of options, or take those out whose new value is `...`."""
    path = folder / OPTIONS
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in values.items() if value is not ...}))


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """A file of weights in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pkl"
    path.write_text("weights")
    return path


# --- Where the weights come from --------------------------------------------------------------------------------------


def test_weights_are_known_by_their_content_wherever_they_lie(weights):
    started = options(weights)
    assert started.init_from_sha256 == file_checksum(weights)
    (weights.parent / "link.pkl").symlink_to(weights)
    for path in ("a.pkl", "./a.pkl", "link.pkl"):
        assert started.differences(options(path)) == {}
    moved = weights.rename(weights.with_name("b.pkl"))
    assert started.differences(options(moved)) == {}


def test_a_file_that_was_replaced_is_another_one(weights):
    started = options(weights)
    weights.write_text("others!")
    then, now = started.differences(options(weights))["init_from"]
    assert then == f"{weights} (sha256 {started.init_from_sha256[:8]}...)"
    assert now != then


def test_weights_and_none(weights):
    assert options(weights).differences(options())["init_from"][1] is None
    assert options().differences(options(weights))["init_from"][0] is None


def test_weights_that_are_gone_are_known_by_their_path(weights):
    started = options(weights)
    weights.unlink()
    again = options("a.pkl")
    assert started.differences(again) == {}
    assert again.going_on(started).init_from_sha256 == started.init_from_sha256
    assert list(started.differences(options("b.pkl"))) == ["init_from"]
    assert options("b.pkl").going_on(started).init_from_sha256 is None


def test_weights_of_a_run_of_an_earlier_version(weights):
    """It knows their path alone; their file, if it is there, tells the rest."""
    started = replace(options(weights), init_from_sha256=None)
    relative = replace(started, init_from="a.pkl")
    copy = weights.with_name("copy.pkl")
    copy.write_text("weights")
    other = weights.with_name("other.pkl")
    other.write_text("others!")
    for old in (started, relative):
        for path in (weights, "a.pkl", copy):
            assert old.differences(options(path)) == {}
        assert list(old.differences(options(other))) == ["init_from"]
    weights.unlink()
    assert list(started.differences(options(copy))) == ["init_from"]


def test_where_schedules_begin_belongs_to_the_run(weights):
    started = replace(options(weights), init_kimg=25.0)
    assert started.differences(options(weights)) == {"init_kimg": (25.0, None)}
    assert options(weights).going_on(started) == started
    assert options().going_on(started) == started


def test_whether_motion_began_anew_belongs_to_the_run(weights):
    started = replace(options(weights), fresh_motion=True)
    assert started.differences(options(weights)) == {"fresh_motion": (True, False)}
    assert options().going_on(started) == started
    assert not options(weights).going_on(started).fresh_motion


def test_a_run_that_may_have_computed_in_another_precision_gives_none(tmp_path):
    folder = tmp_path / "00003-demo-heads-batch8-gamma1"
    folder.mkdir()
    for is_exact, precision in ((True, "bf16"), (False, "auto")):
        replace(options(training__precision="bf16"), exact_precision=is_exact).save(folder)
        name, config = configuration(str(folder / OPTIONS))
        assert (name, config.training.precision) == ("demo", precision)


# --- Files ------------------------------------------------------------------------------------------------------------


def test_a_list_of_an_earlier_version_means_the_defaults(tmp_path):
    written = options()
    written.save(tmp_path)
    config = json.loads((tmp_path / OPTIONS).read_text())["config"]
    del config["training"]["mirror"]
    rewrite(tmp_path, config=config, init_from_sha256=..., init_kimg=...)
    assert RunOptions.load(tmp_path) == written
    assert options(training__mirror=False).differences(RunOptions.load(tmp_path)) == {"training.mirror": (False, True)}


@pytest.mark.parametrize("change", [{"init_from": 5}, {"init_from_sha256": []}, {"init_kimg": "a"}, {"data": None}])
def test_entries_of_another_type_are_refused(tmp_path, change):
    options().save(tmp_path)
    rewrite(tmp_path, **change)
    with pytest.raises(UserError, match=f"RunOptions.{next(iter(change))} is "):
        RunOptions.load(tmp_path)
