"""train.py --precision: what auto becomes, where it is kept, and that a run computes in it on every machine."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import Result

from dnnlib.files import read_json
from dnnlib.options import override
from tests.helpers.train_command import run, without_pictures
from torch_utils import checkpoint, runtime
from training import config
from training.runs.options import RunOptions
from training.training_loop import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")
AUTO = "--precision=auto"
FOLDER = "00000-demo-heads-batch2-gamma1"
SLOW = "This CPU has no fast bf16 arithmetic"


@pytest.fixture(autouse=True)
def computed(monkeypatch) -> list[torch.dtype]:
    """The data types of the convolutions of the discriminators' highest resolution, as they are computed."""
    without_pictures(monkeypatch)
    found: list[torch.dtype] = []
    build = Trainer.__init__

    def built(self: Trainer, *arguments, **options) -> None:
        build(self, *arguments, **options)
        layer = self.networks.D_img.b32.conv0
        layer.register_forward_hook(lambda layer, inputs, result: found.append(result.dtype))

    monkeypatch.setattr(Trainer, "__init__", built)
    return found


def on_machine(monkeypatch: pytest.MonkeyPatch, amx: bool) -> None:
    """Let this machine be one with matrix units, or one without."""
    monkeypatch.setattr(runtime, "amx_works", lambda: amx)


def saved(folder: Path) -> str:
    return read_json(folder / "training_options.json")["config"]["training"]["precision"]


def lines_with(result: Result, words: str) -> list[str]:
    return [line for line in result.stderr.splitlines() if words in line]


@pytest.mark.parametrize("amx, precision, dtype", [(False, "fp32", torch.float32), (True, "bf16", torch.bfloat16)])
def test_auto_is_settled_once_for_run_and_snapshots(heads, tmp_path, monkeypatch, computed, amx, precision, dtype):
    on_machine(monkeypatch, amx)
    result = run(tmp_path, heads, "--kimg=0.002", AUTO)
    assert result.exit_code == 0, result.output
    assert set(computed) == {dtype}
    assert lines_with(result, "Computing in") == [
        f"Computing in {precision}, which --precision=auto is here; the run keeps to it."
    ]
    assert SLOW not in result.stderr
    assert saved(tmp_path / FOLDER) == precision
    snapshot = checkpoint.load(tmp_path / FOLDER / "network-snapshot-000000.002.pkl", "snapshot")
    assert snapshot["config"]["training"]["precision"] == precision

    # The same command on the other machine.
    computed.clear()
    on_machine(monkeypatch, not amx)
    again = run(tmp_path, heads, "--kimg=0.004", AUTO)
    assert again.exit_code == 0, again.output
    assert "Continuing" in again.stdout and set(computed) == {dtype}
    best = "fp32" if amx else "bf16"
    (line,) = lines_with(again, "goes on in")
    assert f"goes on in {precision}, in which it began; a new run would compute in {best}" in line
    assert len(lines_with(again, SLOW)) == (precision == "bf16")
    assert not lines_with(again, "Computing in")
    assert saved(tmp_path / FOLDER) == precision

    # A precision that is named is another run than one of another.
    other = run(tmp_path, heads, "--kimg=0.004", f"--precision={best}")
    assert f"--precision was {precision}, not {best}" in other.stderr and "Starting" in other.stdout


@pytest.mark.parametrize("precision, dtype", [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_a_precision_that_is_named_is_computed_in(heads, tmp_path, monkeypatch, computed, precision, dtype):
    on_machine(monkeypatch, amx=False)
    result = run(tmp_path, heads, "--kimg=0.002", f"--precision={precision}")
    assert result.exit_code == 0, result.output
    assert set(computed) == {dtype} and saved(tmp_path / FOLDER) == precision
    (line,) = lines_with(result, "no fast")
    assert line == (
        f"This CPU has no fast {precision} arithmetic: it computes in {precision} all the same, slower than in fp32."
    )
    stats = [json.loads(line) for line in (tmp_path / FOLDER / "stats.jsonl").read_text().splitlines()]
    assert {line["health/nonfinite_gradients"] for line in stats} == {0}
    again = run(tmp_path, heads, "--kimg=0.004", AUTO)
    assert "Continuing" in again.stdout and saved(tmp_path / FOLDER) == precision


@pytest.mark.parametrize("kept", ["fp16", "tf32", "fp32"])
def test_a_run_on_a_gpu_stays_in_what_it_began_with(fp32_run, kept):
    """Whatever auto has come to mean since, in runs of this version and of earlier ones."""
    asked = replace(RunOptions.load(fp32_run), best_precision="bf16", on_gpu=True)
    asked = replace(asked, config=override(asked.config, {"training.precision": "auto"}))
    assert asked.settled().precision == "bf16"
    for exact in (True, False):
        config = override(asked.config, {"training.precision": kept})
        saved = replace(asked, config=config, exact_precision=exact)
        assert asked.going_on(saved).settled(saved).precision == kept
        assert "training.precision" not in asked.differences(saved)


def test_tf32_is_fp32_on_a_cpu_and_another_run(heads, tmp_path, computed):
    result = run(tmp_path, heads, "--kimg=0.002", "--precision=tf32")
    assert result.exit_code == 0, result.output
    assert lines_with(result, "TF32") == ["A CPU has no TF32: it computes in fp32."]
    assert set(computed) == {torch.float32} and saved(tmp_path / FOLDER) == "tf32"
    other = run(tmp_path, heads, "--kimg=0.004", "--precision=fp32")
    assert "--precision was tf32, not fp32" in other.stderr and "Starting" in other.stdout


def test_a_dry_run_says_what_auto_would_be(heads, tmp_path, monkeypatch):
    on_machine(monkeypatch, amx=True)
    result = run(tmp_path / "runs", heads, "--dry-run", AUTO)
    assert "  precision: bf16\n" in result.stdout


# --- Runs of earlier versions -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fp32_run(heads, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        assert run(folder, heads, "--kimg=0.002", "--precision=fp32").exit_code == 0
    return folder / FOLDER


def of_earlier_version(fp32_run: Path, outdir: Path, precision: str) -> Path:
    """Copy a run in fp32 as an earlier version left one that was asked for another precision."""
    folder = Path(shutil.copytree(fp32_run, outdir / FOLDER))
    path = folder / "training_options.json"
    options = read_json(path)
    del options["exact_precision"]
    options["config"]["training"]["precision"] = precision
    path.write_text(json.dumps(options))
    return folder


@pytest.mark.parametrize("asked", [AUTO, "--precision=fp16", "--resume={folder}"])
def test_an_earlier_version_s_run_goes_on_in_fp32_where_that_one_took_it(
    heads, tmp_path, monkeypatch, computed, fp32_run, asked
):
    on_machine(monkeypatch, amx=True)
    folder = of_earlier_version(fp32_run, tmp_path, "fp16")
    arguments = ["--kimg=0.004", AUTO, asked.format(folder=folder)]
    result = run(tmp_path, heads, *arguments)
    assert result.exit_code == 0, result.output
    assert f"Continuing {folder}" in result.stdout and set(computed) == {torch.float32}
    (line,) = lines_with(result, "earlier version")
    assert "computed in fp32 for fp16" in line and "--precision=fp32 from now on" in line
    assert saved(folder) == "fp32"
    again = run(tmp_path, heads, "--kimg=0.006", "--precision=fp32")
    assert f"Continuing {folder}" in again.stdout and "earlier version" not in again.stderr


@pytest.mark.parametrize("amx, dtype", [(True, torch.bfloat16), (False, torch.float32)])
def test_an_earlier_version_s_bf16(heads, tmp_path, monkeypatch, computed, fp32_run, amx, dtype):
    on_machine(monkeypatch, amx)
    folder = of_earlier_version(fp32_run, tmp_path, "bf16")
    result = run(tmp_path, heads, "--kimg=0.004", "--precision=bf16")
    assert f"Continuing {folder}" in result.stdout and set(computed) == {dtype}
    assert len(lines_with(result, "earlier version")) == (not amx)


def test_every_preset_chooses_by_the_machine():
    presets = [config.preset(name) for name in config.PRESETS]
    assert {preset.training.precision for preset in presets} == {"auto"}
