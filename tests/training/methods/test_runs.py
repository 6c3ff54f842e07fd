"""Every method trains: losses are there, all networks move, resuming is exact, a batch may be divided, videos come."""

import json
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner, Result

import calc_metrics
import gen_videos
import train
from tests.helpers import forks, tiny
from tests.helpers.gradient_recorder import record, record_together
from tests.helpers.tiny import CALM
from tests.helpers.train_command import refused, without_pictures
from tests.helpers.trainers import assert_same, iterate, make_trainer, moments, weights
from training.fakes import NO_VIDEOS
from training.methods import METHODS
from training.phases import build_phases
from training.sampling.clips import STATIC

pytestmark = pytest.mark.usefixtures("one_thread")
BASELINES = sorted(METHODS.keys() - {"pv3d", "eg3d-mcghd"})  # of which test_eg3d_mcghd asks the same
EACH = pytest.mark.parametrize("method", BASELINES)
DISCRIMINATORS = {"eg3d": {"img"}, "3dvidgen-eg3d": {"img", "vid"}}


# --- The loop ---------------------------------------------------------------------------------------------------------


@EACH
def test_an_iteration_moves_every_network(heads, tmp_path, method):
    trainer = make_trainer(heads, tmp_path / "run", method=method)
    assert NO_VIDEOS not in trainer.notes
    before = weights(trainer)
    iterate(trainer)
    stats = trainer.stats.collect()
    expected = {f"{name}_{judge}" for judge in DISCRIMINATORS[method] for name in ("loss/r1", "scores/fake")}
    assert expected | {"loss/g", "loss/d", "loss/g_reg"} <= stats.keys()
    assert "loss/motion_likeness" not in stats
    assert ("scores/fake_vid" in stats) == ("vid" in DISCRIMINATORS[method])
    changed = {name.split(".")[0] for name, value in weights(trainer).items() if not torch.equal(value, before[name])}
    assert changed == {name for name, _ in trainer.networks.items()}
    assert trainer.networks.G_ema.max_time == (0 if method == "eg3d" else 1)


@EACH
def test_resuming_is_exact(heads, tmp_path, method):
    """Two iterations, a new start, two more: bit for bit four in a row."""
    whole = make_trainer(heads, tmp_path / "whole", method=method)
    iterate(whole, 4)
    first = make_trainer(heads, tmp_path / "halves", method=method)
    iterate(first, 2)
    first.run.save_state(first._state(), first.progress, keep=1)
    second = make_trainer(heads, tmp_path / "halves", method=method)
    assert second.restore()
    iterate(second, 2)
    assert_same(weights(whole), weights(second))
    assert_same(moments(whole), moments(second))


@EACH
@pytest.mark.parametrize("phase", ["g_main", "g_reg", "d_main", "d_reg"])
def test_passes_add_up_to_one(method, phase):
    """Gradients of two passes of four clips are those of one of eight, with noise, jitter and swaps, in float64."""
    config = tiny.config(method=method, training__batch=8, training__reuse_fakes=False)
    (chosen,) = (one for one in build_phases(config) if one.name == phase)
    found = []
    for passes in (1, 2):
        networks = tiny.networks(config, torch.float64)
        loss = tiny.loss(networks, config, noise_mode="random", deterministic=False)
        modules = [module for name, module in networks.items() if name in chosen.networks]
        for module in modules:
            module.requires_grad_(True)
        fakes = tiny.fakes(config, clips=8, dtype=torch.float64)
        for part in range(passes):
            rows = slice(part, None, passes)
            reals = tiny.reals(config, clips=8, dtype=torch.float64)
            for name in ("image", "image_raw", "cameras"):
                by_clip = getattr(reals, name).unflatten(0, (8, -1))
                setattr(reals, name, by_clip[rows].flatten(0, 1))
            reals.times = reals.times[rows]
            chosen.accumulate(loss, reals=reals, fakes=fakes.rows(rows), schedule=CALM, gain=1 / passes)
        found.append({name: value.grad for module in modules for name, value in module.named_parameters()})
    assert found[0].keys() == found[1].keys()
    compared = 0
    for name, value in found[0].items():
        other = found[1][name]
        assert (value is None) == (other is None)
        if value is not None:
            torch.testing.assert_close(other, value, rtol=1e-4, atol=1e-7, msg=name)
            compared += 1
    assert compared > 10


# --- The commands -----------------------------------------------------------------------------------------------------


TINY = [argument for argument in forks.TINY if not argument.startswith("--motion-blocks")]  # which they refuse


def call(command: click.Command, *arguments: object) -> Result:
    """Run a command in this process, which must succeed."""
    result = CliRunner().invoke(command, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def trained(heads, tmp_path_factory) -> dict[str, Path]:
    """Snapshots of two iterations by method, trained by train.py."""
    found = {}
    for method in BASELINES:
        outdir = tmp_path_factory.mktemp(method)
        call(train.main, *TINY, f"--outdir={outdir}", f"--data={heads}", f"--method={method}", "--kimg=0.004")
        (found[method],) = outdir.glob("*/network-snapshot-000000.004.pkl")
        assert found[method].parent.name == f"00000-demo-{method}-heads-batch2-gamma1"
        assert found[method].with_name("fakes000000.004.mp4").is_file()
    return found


@EACH
def test_the_same_command_goes_on_and_one_of_another_method_does_not(heads, trained, monkeypatch, method):
    without_pictures(monkeypatch)
    outdir = trained[method].parents[1]
    arguments = [*TINY, f"--outdir={outdir}", f"--data={heads}", "--kimg=0.004", "--batch=2"]
    again = call(train.main, *arguments, f"--method={method}")
    assert f"Continuing {trained[method].parent} at 0.004 kimg" in again.stdout
    other = CliRunner().invoke(train.main, [*arguments, "--motion-blocks=2", f"--resume={trained[method].parent}"])
    assert f"--method was {method}, not pv3d" in refused(other)


@EACH
def test_options_of_a_run_bring_their_method(heads, trained, tmp_path, method):
    options = trained[method].with_name("training_options.json")
    arguments = [f"--outdir={tmp_path}", f"--data={heads}", f"--config={options}", "--device=cpu", "--dry-run"]
    assert f"method: {method}\n" in call(train.main, *arguments).stdout
    line = refused(CliRunner().invoke(train.main, [*arguments, "--method=pv3d"]))
    assert line.endswith(f"is of --method={method}: leave --method out, or begin with a preset.")


@EACH
def test_videos_are_made_with_a_word_about_stills(trained, tmp_path, method):
    result = call(gen_videos.main, f"--network={trained[method]}", f"--outdir={tmp_path}", "--seeds=1", "--device=cpu")
    assert (tmp_path / "seed0001.mp4").is_file()
    assert (STATIC in result.stderr) == (method == "eg3d")


def test_scores_of_a_static_model_say_so(trained, tmp_path):
    metrics = "--metrics=motion2,motion-share2"
    arguments = [f"--network={trained['eg3d']}", metrics, "--device=cpu"]
    result = call(calc_metrics.main, *arguments)
    assert STATIC in result.stderr
    assert [json.loads(line)["value"] for line in result.stdout.splitlines() if line.startswith("{")] == [0.0, 0.0]
    assert result.stderr.count("the model is static: it has no motion") == 2
    moving = call(calc_metrics.main, f"--network={trained['3dvidgen-eg3d']}", "--metrics=motion-share2", *arguments[2:])
    assert "static" not in moving.stderr
    (share,) = [json.loads(line)["value"] for line in moving.stdout.splitlines() if line.startswith("{")]
    assert share > 0


@EACH
def test_pv3d_and_others_go_on_from_an_eg3d_run(heads, trained, tmp_path, monkeypatch, method):
    without_pictures(monkeypatch)
    arguments = [f"--outdir={tmp_path}", f"--data={heads}", f"--init-from={trained['eg3d']}", "--kimg=0.002"]
    result = call(train.main, *TINY, *arguments, f"--method={method}")
    assert "Schedules begin at 0.004 kimg (kimg of the snapshot)" in result.stderr
    result = call(train.main, *forks.TINY, *arguments)
    assert "Schedules begin at 0.004 kimg (kimg of the snapshot)" in result.stderr
    line = refused(
        CliRunner().invoke(train.main, [*map(str, [*TINY, *arguments]), f"--method={method}", "--fresh-motion"])
    )
    assert "--fresh-motion is not possible" in line


# --- Processes --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@EACH
def test_two_processes_train_as_one(heads, tmp_path, method):
    """Gradients of the first iteration, to rounding."""
    options = [*TINY, "--batch=8", "--kimg=0.008", "--tick=1", f"--data={heads}", f"--method={method}"]
    whole = record(tmp_path / "whole", [*options, "--seed=1"])
    divided = record_together(tmp_path / "together", options)[1]
    assert divided.keys() == whole.keys() == {"g_main", "g_reg", "d_main", "d_reg"}
    for phase, gradients in whole.items():
        total = torch.cat([gradient.flatten() for gradient in gradients])
        other = torch.cat([gradient.flatten() for gradient in divided[phase]])
        assert (total - other).norm() < 1e-4 * total.norm(), phase
