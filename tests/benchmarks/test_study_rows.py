"""The rows of a study: what there is, and that their options are those of training."""

import pytest

import train
from benchmarks.study_data import synth_options
from benchmarks.study_rows import ROOT, ROWS, SETS, resolve
from dnnlib.errors import UserError
from dnnlib.options import given, options_of, override
from training.config import ABLATIONS, Config, preset
from training.loss import schedule


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_the_options_of_rows_are_those_of_training(row):
    context = train.main.make_context("train.py", ["--cfg=demo", "--data=a", "--outdir=b", *row.options])
    defaults = train.main.make_context("train.py", ["--cfg=demo", "--data=a", "--outdir=b"])
    differing = [name for name, value in context.params.items() if value != defaults.params[name]]
    changed = ["method"] if "method" in differing else differing  # a method brings defaults of its own
    assert len(changed) == len(row.options), "each option changes something"


def test_rows_with_images_have_a_share_of_them():
    for row in ROWS.values():
        assert (len(row.datasets) == 2) == any(option.startswith("--image-share") for option in row.options)
        assert row.datasets == ("train",) or row in SETS["images"]


def test_few_clips_are_some_of_all_and_stills_are_as_many_people():
    drawn = {name: synth_options(name, clips=500, test_clips=128, frames=20) for name in ("train", "few", "stills")}
    assert drawn["train"] == ["--split=train", "--clips=500", "--frames=20"]
    assert drawn["few"] == ["--split=train", "--clips=50", "--frames=20"], "of the same seed"
    assert drawn["stills"] == ["--split=train", "--clips=500", "--frames=1", "--seed=1"]
    assert "--clips=1" in synth_options("few", clips=4, test_clips=4, frames=20)


def test_rows_of_the_tables_see_their_cameras_within_a_study():
    """Camera modes differ in what the mapping network sees: by the preset's swaps, another clip's camera."""
    for row in ROWS.values():
        if row.moves:
            continue
        context = train.main.make_context("train.py", ["--cfg=demo", "--data=a", "--outdir=b", *row.schedule])
        config = override(preset("demo"), given(Config, context.params))
        assert schedule(config, 1600).swap_probability == 0.5
    assert resolve("", [("mine", ROOT, "")])[0].schedule == (), "a row of one's own is as its options say"


def test_every_ablation_has_a_row():
    words = {option.partition("=")[0].replace("--no-", "--") for row in ROWS.values() for option in row.options}
    for option in options_of(Config):
        if option.group == ABLATIONS and option.flag != "--plane-axes":  # not in the paper
            assert option.flag in words


def test_rows_are_resolved_once_each_and_in_order(tmp_path):
    (tmp_path / "train.py").touch()
    rows = resolve("cameras,video, motion-mlp", [("mine", tmp_path, "--gamma=2 --desc='a b'")])
    names = ["pv3d", "cameras-all", "cameras-non", "cameras-map", "no-video", "motion-mlp", "mine"]
    assert [row.name for row in rows] == names
    assert rows[-1].options == ("--gamma=2", "--desc=a b") and rows[-1].checkout == tmp_path
    assert {name: rows[0].name for name, rows in SETS.items() if rows[0].name != "pv3d"} == {"images": "few-clips"}


@pytest.mark.parametrize(
    "names, own, message",
    [
        ("table9", [], "'table9' is unknown"),
        ("", [], "no rows"),
        ("", [("../up", ROOT, "")], "no name for a folder"),
        ("", [("pv3d", ROOT, "")], "another row 'pv3d'"),
        ("", [("a", ROOT, ""), ("a", ROOT, "--gamma=2")], "another row 'a'"),
        ("", [("a", ROOT / "docs", "")], "no checkout"),
        ("", [("a", ROOT, "--desc='a")], "mend the quotes"),
    ],
)
def test_rows_that_are_none_are_refused(names, own, message):
    with pytest.raises(UserError, match=message):
        resolve(names, own)
