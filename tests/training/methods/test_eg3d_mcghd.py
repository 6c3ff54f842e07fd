"""The method eg3d-mcghd: a chain of latents moves a frozen EG3D; runs, resuming, videos and scores of it."""

import json
import shutil
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner, Result

import calc_metrics
import dataset_tool
import gen_videos
import train
from tests.helpers import forks, tiny
from tests.helpers.gradient_recorder import record, record_together
from tests.helpers.train_command import refused, without_pictures
from tests.helpers.trainers import assert_same, iterate, make_trainer, moments, weights
from training.checkpoints.opener import load_generator, open_snapshot
from training.checkpoints.snapshots import save_snapshot
from training.latent_components import set_components
from training.training_loop import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")
METHOD = "eg3d-mcghd"
REFUSED = ("--img", "--plane", "--motion", "--cbase", "--cmax", "--d-cbase", "--depth", "--importance", "--neural")
OPTIONS = [option for option in forks.TINY if not option.startswith(REFUSED)]


def started(heads: Path, folder: Path, static: Path) -> Trainer:
    """Return a trainer that is to move the static generator."""
    trainer = make_trainer(heads, folder, method=METHOD)
    trainer.init_from(open_snapshot(static))
    networks = (trainer.networks.G, trainer.networks.G_ema)
    set_components(networks, trainer.fakes.cameras, trainer.config.training.component_latents, 0)
    return trainer


# --- The loop ---------------------------------------------------------------------------------------------------------


def test_only_the_chain_and_its_judges_are_trained(heads, tmp_path, static):
    trainer = started(heads, tmp_path / "run", static)
    shown = open_snapshot(static).weights["G_ema"]
    before = weights(trainer)
    for network in ("G", "G_ema"):
        for name, value in shown.items():
            assert torch.equal(before[f"{network}.{name}"], value), "both are the averaged one"
    assert trainer.progress.kimg == trainer.progress.seen == 0, "images are no clips"
    iterate(trainer, 2)
    after = weights(trainer)
    stats = trainer.stats.collect()
    losses = {"loss/g", "loss/d", "loss/guess", "loss/penalty_vid"}
    assert losses | {f"scores/{kind}_{judge}" for kind in ("real", "fake") for judge in ("img", "vid")} <= stats.keys()
    changed = {".".join(name.split(".")[:2]) for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        *("G.chain", "G_ema.chain"),
        *(f"{judge}.{scale}" for judge in ("D_img", "D_vid") for scale in ("fine", "coarse")),
    }
    for name in ("components", "deviations"):
        assert torch.equal(after[f"G.chain.{name}"], before[f"G.chain.{name}"])
    for name, value in after.items():
        if name.startswith("G."):
            assert torch.equal(value, after[f"G_ema.{name[2:]}"]), "there is no average"
    for name, parameter in trainer.networks.G.named_parameters():
        assert parameter.grad is None and not parameter.requires_grad, name


def test_adam_is_that_of_the_paper(heads, tmp_path):
    trainer = make_trainer(heads, tmp_path / "run", method=METHOD)
    assert trainer.optimizers.keys() == {"G", "D_img", "D_vid"}
    for name, optimizer in trainer.optimizers.items():
        (group,) = optimizer.param_groups
        assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-4, (0.5, 0.999), 0)
        assert len(group["params"]) == len(trainer.networks.parameters([name]))
    assert len(trainer.networks.parameters(["G"])) == len(list(trainer.networks.G.chain.parameters()))


def test_resuming_is_exact(heads, tmp_path, static):
    whole_run = started(heads, tmp_path / "whole", static)
    iterate(whole_run, 3)
    first = started(heads, tmp_path / "halves", static)
    iterate(first, 1)
    first.run.save_state(first._state(), first.progress, keep=1)
    second = make_trainer(heads, tmp_path / "halves", method=METHOD)
    assert second.restore()
    iterate(second, 2)
    assert_same(weights(whole_run), weights(second))
    assert_same(moments(whole_run), moments(second))


def test_losses_move_as_they_should(heads, tmp_path, static):
    """Judges learn to tell clips apart, and the chain to show its noise: with faster steps, within few of them."""
    trainer = started(heads, tmp_path / "run", static)
    for optimizer in trainer.optimizers.values():
        optimizer.param_groups[0]["lr"] = 2e-3
    found = []
    for _ in range(2):
        iterate(trainer, 5)
        found.append({name: value["mean"] for name, value in trainer.stats.collect().items()})
    assert found[1]["loss/d"] < found[0]["loss/d"]
    assert found[1]["loss/penalty_vid"] < found[0]["loss/penalty_vid"]
    assert found[1]["loss/guess"] < found[0]["loss/guess"] - 0.01


# --- The commands -----------------------------------------------------------------------------------------------------


def call(command: click.Command, *arguments: object) -> Result:
    """Run a command in this process, which must succeed."""
    result = CliRunner().invoke(command, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def trained(heads, static, tmp_path_factory) -> Path:
    """A snapshot of two iterations, trained by train.py."""
    outdir = tmp_path_factory.mktemp("runs")
    arguments = [f"--outdir={outdir}", f"--data={heads}", f"--method={METHOD}", f"--generator={static}"]
    result = call(train.main, *OPTIONS, *arguments, "--kimg=0.004")
    assert "principal components of w: 100000/100000 latents" in result.stderr
    (found,) = outdir.glob("*/network-snapshot-000000.004.pkl")
    assert found.parent.name == f"00000-demo-{METHOD}-heads-batch2-gamma1"
    assert found.with_name("fakes000000.004.mp4").is_file()
    return found


def test_a_snapshot_is_complete_by_itself(trained, static):
    snapshot = load_generator(trained)
    shown = open_snapshot(static)
    own = snapshot.G.state_dict()
    assert all(torch.equal(own[name], value) for name, value in shown.weights["G_ema"].items())
    theirs, ours = shown.config.generator, snapshot.config.generator
    assert (ours.img_resolution, ours.w_dim, ours.plane_resolution) == (32, 8, theirs.plane_resolution)
    assert (ours.motion, ours.z_motion_dim, ours.motion_hidden) == ("chain", 120, 6)
    assert (snapshot.G.chain.deviations.diff() <= 0).all() and snapshot.G.chain.deviations[0] > 0


def test_it_goes_on_without_the_file_of_its_generator(heads, trained, static, tmp_path, monkeypatch):
    without_pictures(monkeypatch)
    shutil.copytree(trained.parent, tmp_path / trained.parent.name)
    arguments = [*OPTIONS, f"--outdir={tmp_path}", f"--data={heads}", f"--method={METHOD}", "--kimg=0.004"]
    continuing = f"Continuing {tmp_path / trained.parent.name} at 0.004 kimg"
    assert continuing in call(train.main, *arguments, f"--generator={static}").stdout
    assert continuing in call(train.main, *arguments).stdout, "it need not be named"
    copied = tmp_path / "elsewhere.pkl"
    shutil.copy(static, copied)
    assert continuing in call(train.main, *arguments, f"--generator={copied}").stdout, "its content counts"
    assert load_generator(next(tmp_path.glob("*/network-snapshot-*.pkl"))).config.generator.img_resolution == 32


def test_another_generator_is_said_in_a_sentence(heads, trained, tmp_path, monkeypatch):
    without_pictures(monkeypatch)
    config = tiny.config(method="eg3d", training__seed=1)
    other = tmp_path / "other.pkl"
    save_snapshot(other, config, tiny.networks(config, noise=0.3), tiny.labels(0, 3, 16), {"kimg": 3.0})
    outdir = trained.parents[1]
    arguments = [*OPTIONS, f"--outdir={outdir}", f"--data={heads}", f"--method={METHOD}", f"--generator={other}"]
    line = refused(CliRunner().invoke(train.main, [*arguments, "--kimg=0.004", f"--resume={trained.parent}"]))
    assert "was started with other options (--generator was " in line and str(other) in line


@pytest.mark.parametrize(
    "more, said",
    [
        ([f"--method={METHOD}"], "moves a trained generator: give a snapshot of --method=eg3d as --generator."),
        ([f"--method={METHOD}", "--generator={moving}"], f"is of --method={METHOD}, which moves already"),
        ([f"--method={METHOD}", "--generator=gone.pkl"], "gone.pkl does not exist"),
        ([f"--method={METHOD}", "--generator={static.parent}"], "another snapshot once that run has trained on"),
        ([f"--method={METHOD}", "--init-from={static}"], "give it as --generator, not as --init-from"),
        ([f"--method={METHOD}", "--init-from={moving}", "--generator={static}"], "are two beginnings of a run"),
        (
            [f"--method={METHOD}", "--generator={static}", "--init-kimg=3"],
            "--init-kimg says how to take the weights of",
        ),
        (["--method=eg3d", "--generator={static}"], "--generator does nothing with --method=eg3d"),
    ],
)
def test_mistakes(heads, static, moving, tmp_path, more, said):
    given = [argument.format(static=static, moving=moving) for argument in more]
    options = [option for option in OPTIONS if not (option.startswith("--d-") and "--method=eg3d" in more)]
    result = CliRunner().invoke(train.main, [*options, f"--outdir={tmp_path / 'runs'}", f"--data={heads}", *given])
    assert said in refused(result)
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_clips_that_are_all_too_short_are_refused(static, tmp_path):
    made = ["--clips=2", "--frames=8", "--resolution=32", "--workers=1"]
    call(dataset_tool.main, "synth", f"--dest={tmp_path / 'short.zip'}", *made)
    arguments = [*OPTIONS, f"--outdir={tmp_path / 'runs'}", f"--data={tmp_path / 'short.zip'}", f"--generator={static}"]
    line = refused(CliRunner().invoke(train.main, [*arguments, f"--method={METHOD}"]))
    assert f"has the 16 frames that --method={METHOD} trains on" in line


def test_a_new_run_starts_from_an_earlier_one(heads, trained, tmp_path, monkeypatch):
    without_pictures(monkeypatch)
    arguments = [f"--outdir={tmp_path}", f"--data={heads}", f"--method={METHOD}", f"--init-from={trained}"]
    call(train.main, *OPTIONS, *arguments, "--kimg=0.002")
    (snapshot,) = tmp_path.glob("*/network-snapshot-*.pkl")
    before, after = (load_generator(path).G.state_dict() for path in (trained, snapshot))
    assert torch.equal(before["chain.components"], after["chain.components"])
    assert not torch.equal(before["chain.step.weight"], after["chain.step.weight"])


def test_videos_and_scores(trained, tmp_path):
    arguments = [f"--network={trained}", "--device=cpu"]
    result = call(gen_videos.main, *arguments, f"--outdir={tmp_path}", "--seeds=1", "--frames=20")
    assert (tmp_path / "seed0001.mp4").is_file()
    assert "The model was trained on clips of 16 frames: further ones go on from there" in result.stderr
    scored = call(calc_metrics.main, *arguments, "--metrics=motion2")
    (value,) = [json.loads(line)["value"] for line in scored.stdout.splitlines() if line.startswith("{")]
    assert value >= 0 and "static" not in scored.stderr


# --- Processes --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_train_as_one(heads, static, tmp_path):
    """Gradients of the first iteration, to rounding."""
    options = [*OPTIONS, "--batch=8", "--kimg=0.008", "--tick=1", f"--data={heads}", f"--method={METHOD}"]
    options.append(f"--generator={static}")
    one = record(tmp_path / "whole", [*options, "--seed=1"])
    divided = record_together(tmp_path / "together", options)[1]
    assert divided.keys() == one.keys() == {"g_main", "g_main2", "g_main3", "g_main4", "g_main5", "d_main"}
    for phase in ("g_main", "d_main"):
        total = torch.cat([gradient.flatten() for gradient in one[phase]])
        other = torch.cat([gradient.flatten() for gradient in divided[phase]])
        if phase == "g_main":  # later phases begin at what Adam made of it
            assert (total - other).norm() < 1e-4 * total.norm()
        else:
            assert (total - other).norm() < 1e-2 * total.norm()
