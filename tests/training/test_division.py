"""One model for any number of processes and passes.

Gradients, parameters, random numbers and groups do not depend on how a batch is divided, as long as a pass has a
multiple of 4 clips.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import train
from tests.helpers.gradient_recorder import record
from torch_utils import checkpoint
from training.config import Config
from training.phases import build_phases

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).parents[2]
# With everything random on: noise, jitter, swapped cameras, blur, mirrored pairs. A seed without an activation or a ray
# sample so near to a kink that the rounding of another batch size puts it on the other side: these differ by 1e-4.
OPTIONS = [
    "--cfg=demo",
    "--img-resolution=32",
    "--plane-resolution=16",
    "--motion-blocks=2",
    "--cbase=128",
    "--cmax=8",
    "--d-cbase=128",
    "--d-cmax=8",
    "--depth-samples=4",
    "--importance-samples=4",
    "--seed=9",
    "--neural-rendering-resolution=8",
    "--batch=8",
    "--tick=1",
    "--workers=0",
    "--device=cpu",
]
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}


def alone(outdir: Path, data: Path, *more: str) -> None:
    """Run train.py in this process."""
    result = CliRunner().invoke(train.main, [*OPTIONS, f"--outdir={outdir}", f"--data={data}", *more])
    assert result.exit_code == 0, (result.output, result.exc_info)


def together(program: list[str], outdir: Path, data: Path, *more: str) -> None:
    """Run the program with train.py's arguments in two processes, four clips each."""
    done = subprocess.run(
        [*LAUNCH, *program, *OPTIONS, f"--outdir={outdir}", f"--data={data}", *more],
        env=ENVIRONMENT,
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def norm(tensors: list[torch.Tensor]) -> torch.Tensor:
    norms = [tensor.double().norm() for tensor in tensors]
    return torch.stack(norms).norm()


# --- Gradients --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gradients(heads, tmp_path_factory) -> dict[str, dict[str, list[torch.Tensor]]]:
    """Gradients of every phase: of one pass of 8 clips, of two passes of 4, and of two processes of 4."""
    folder = tmp_path_factory.mktemp("gradients")
    found: dict[str, dict[str, list[torch.Tensor]]] = {"whole": {}, "passes": {}}
    for name, flags in (("whole", []), ("passes", ["--batch-gpu=4"])):
        with pytest.MonkeyPatch.context() as patch:
            record(found[name].setdefault, patch.setattr)
            alone(folder / name, heads, "--kimg=0.008", *flags)
    recorder = ROOT / "tests" / "helpers" / "gradient_recorder.py"
    together([str(recorder), str(folder / "gradients.pt")], folder / "processes", heads, "--kimg=0.008")
    found["processes"] = torch.load(folder / "gradients.pt", weights_only=True)
    return found


@pytest.mark.parametrize("division", ["passes", "processes"])
@pytest.mark.parametrize("phase", [phase.name for phase in build_phases(Config())])
def test_gradients(gradients, phase, division):
    whole = gradients["whole"][phase]
    divided = gradients[division][phase]
    assert len(whole) == len(divided) > 10
    total = norm(whole)
    differences = [one - other for one, other in zip(whole, divided, strict=True)]
    assert norm(differences) < 1e-5 * total
    for gradient, difference in zip(whole, differences, strict=True):
        # Small sums of large terms cancel: rounding weighs more.
        limit = max(1e-4 * gradient.norm(), 1e-6 * total)
        assert difference.norm() < limit, tuple(gradient.shape)


# --- Parameters -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(heads, tmp_path_factory) -> dict[str, dict]:
    """Training states after five iterations."""
    folder = tmp_path_factory.mktemp("trained")
    alone(folder / "whole", heads, "--kimg=0.04")
    alone(folder / "passes", heads, "--kimg=0.04", "--batch-gpu=4")
    together([str(ROOT / "train.py")], folder / "processes", heads, "--kimg=0.04")
    states = {}
    for outdir in folder.iterdir():
        (path,) = outdir.glob("*/training-state*")
        states[outdir.name] = checkpoint.load(path, "state")
    return states


@pytest.mark.parametrize("division", ["passes", "processes"])
def test_parameters_after_five_iterations(trained, division):
    divided = trained[division]["networks"]
    for network, weights in trained["whole"]["networks"].items():
        differences = {name: value - divided[network][name] for name, value in weights.items()}
        assert norm(list(differences.values())) < 1e-4 * norm(list(weights.values())), network
        # Adam makes steps of 0.002 of gradients of any size, also of those that are rounding errors.
        assert [name for name, value in differences.items() if value.abs().max() > 5e-4] == []
