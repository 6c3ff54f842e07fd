"""calc_metrics.py: one command, the same digits each time and for any number of processes, friendly refusals."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import calc_metrics
from torch_utils import checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).parents[1]
ALL = "cd3,we3,motion3,diversity3"


def run(*args) -> Result:
    return CliRunner().invoke(calc_metrics.main, [str(arg) for arg in args], catch_exceptions=False)


def lines(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def test_one_command_scores_a_snapshot_and_repeats_itself(snapshot, heads, tmp_path):
    command = [
        "--network",
        snapshot,
        "--data",
        heads,
        "--detector=random",
        f"--metrics={ALL},fvd2_9f,kvd2_9f",
        "--no-cache",
        "--device=cpu",
    ]
    first, second = run(*command, "--out", tmp_path / "out.jsonl"), run(*command)
    assert first.exit_code == 0, first.output
    numbers = [
        {name: line["value"] for name, line in ((line["metric"], line) for line in lines(r))} for r in (first, second)
    ]
    assert numbers[0] == numbers[1] and set(numbers[0]) == {*ALL.split(","), "fvd2_9f", "kvd2_9f"}
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == lines(first)
    assert "metric" in first.stdout.splitlines()[len(lines(first))], "then a table"
    other = {line["metric"]: line["value"] for line in lines(run(*command, "--seed=1"))}
    assert other["we3"] != numbers[0]["we3"] and other["diversity3"] != numbers[0]["diversity3"]


def test_a_snapshot_that_is_replaced_in_place_is_scored_again(snapshot, tmp_path, monkeypatch):
    monkeypatch.setenv("PV3D_CACHE_DIR", str(tmp_path / "cache"))
    path = Path(shutil.copy(snapshot, tmp_path / "best-snapshot.pkl"))
    command = ["--network", path, "--metrics=diversity3", "--device=cpu"]
    (first,) = lines(run(*command))
    payload = checkpoint.load(path, "snapshot")
    payload["weights"]["G_ema"]["backbone.mapping.fc0.weight"] *= 3
    checkpoint.save(path, payload, "snapshot")
    (second,) = lines(run(*command))
    assert second["value"] != first["value"]
    shutil.copy(snapshot, path)
    (third,) = lines(run(*command))
    assert third["value"] == first["value"]


def test_two_processes_find_the_same_digits(snapshot, heads, tmp_path):
    command = [
        "calc_metrics.py",
        f"--metrics={ALL}20".replace("3,", "20,"),
        f"--network={snapshot}",
        "--no-cache",
        "--device=cpu",
    ]
    found = []
    for starter in (
        [sys.executable],
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"],
    ):
        done = subprocess.run(
            [*starter, *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
        found.append(
            {
                line["metric"]: line["value"]
                for line in map(json.loads, (line for line in done.stdout.splitlines() if line.startswith("{")))
            }
        )
    assert found[0] == found[1] and len(found[0]) == 4


@pytest.mark.parametrize(
    "args, sentence",
    [
        (["--metrics=fid"], "unknown"),
        (["--metrics=cd"], "--network or --multiview"),
        (["--metrics=fvd2_9f"], "--network or --videos"),
        (["--metrics=pose"], "--network"),
        (["--metrics=cd", "--multiview=nowhere"], "no folder"),
        (["--metrics=fvd", "--network=nothing.pkl"], "nothing.pkl"),
        (["--metrics=fvd", "--videos=nowhere", "--real-stats=none.npz"], "i3d_pretrained_400.pt"),
        (["--metrics=id", "--multiview=nowhere"], "model_ir_se50.pth"),
    ],
)
def test_mistakes_are_one_sentence(args, sentence, tmp_path, monkeypatch):
    monkeypatch.setenv("PV3D_CACHE_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: (_ for _ in ()).throw(OSError("no network")))
    result = run(*args, "--device=cpu")
    assert result.exit_code == 2 and sentence in result.output and result.output.count("Error") == 1


def test_a_snapshot_and_files_are_not_scored_together(snapshot, tmp_path):
    result = run("--metrics=cd", "--network", snapshot, "--multiview", tmp_path, "--device=cpu")
    assert result.exit_code == 2 and "not both" in result.output


def test_results_spoil_no_other_file(snapshot, tmp_path):
    precious = Path(shutil.copy(snapshot, tmp_path / "a.pkl"))
    result = run("--network", snapshot, "--metrics=diversity3", "--device=cpu", "--out", precious)
    assert result.exit_code == 2 and "a.pkl is there, and holds no lines of JSON" in result.stderr
    assert precious.read_bytes() == snapshot.read_bytes()


def test_srun_without_torchrun_is_refused(snapshot, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "1")
    result = run("--metrics=cd2", "--network", snapshot, "--device=cpu", f"--out={tmp_path / 'out.json'}")
    assert result.exit_code == 2 and "srun started 2 processes" in result.stderr and list(tmp_path.iterdir()) == []
