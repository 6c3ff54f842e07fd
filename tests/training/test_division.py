"""One model for any number of processes and passes.

Gradients, parameters, random numbers and groups do not depend on how a batch is divided, as long as a pass has a
multiple of 4 clips.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.helpers.gradient_recorder import Gradients, record, record_together
from torch_utils import checkpoint
from training.config import Config
from training.phases import build_phases

pytestmark = pytest.mark.usefixtures("one_thread")
# With one seed in four an activation, a ray sample or a difference of densities is so near to a kink that the rounding
# of another batch size puts it on the other side: gradients differ by 1e-4 and more. So two of three must agree.
SEEDS = (1, 7, 9)
AGREEING = 2
# Everything random is on: noise, jitter, swapped cameras, blur, mirrored pairs. Fakes are used twice. Five iterations.
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
    "--neural-rendering-resolution=8",
    "--batch=8",
    "--kimg=0.04",
    "--tick=1",
    "--workers=0",
    "--device=cpu",
    "--precision=fp32",
]


@dataclass
class Trained:
    """What one run leaves: gradients of its first iteration, by phase, and the weights at its end, by network."""

    gradients: Gradients
    networks: dict[str, dict[str, torch.Tensor]]


def state_of(outdir: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Return the weights in the training state of the one run in a folder."""
    (path,) = outdir.glob("*/training-state*")
    return checkpoint.load(path, "state")["networks"]


def alone(folder: Path, data: Path, seed: int, *more: str) -> Trained:
    """Train in this process."""
    gradients = record(folder, [*OPTIONS, f"--data={data}", f"--seed={seed}", *more])
    return Trained(gradients, state_of(folder))


def together(folder: Path, data: Path) -> dict[int, Trained]:
    """Train in two processes, four clips each, with every seed."""
    found = record_together(folder, [*OPTIONS, f"--data={data}"], SEEDS)
    return {seed: Trained(gradients, state_of(folder / str(seed) / "runs")) for seed, gradients in found.items()}


@pytest.fixture(scope="module")
def trained(heads, tmp_path_factory) -> dict[str, dict[int, Trained]]:
    """Runs by division and seed: one pass of 8 clips, two passes of 4, two processes of 4."""
    folder = tmp_path_factory.mktemp("trained")
    return {
        "whole": {seed: alone(folder / f"whole{seed}", heads, seed) for seed in SEEDS},
        "passes": {seed: alone(folder / f"passes{seed}", heads, seed, "--batch-gpu=4") for seed in SEEDS},
        "processes": together(folder / "processes", heads),
    }


def norm(tensors: list[torch.Tensor]) -> torch.Tensor:
    norms = [tensor.double().norm() for tensor in tensors]
    return torch.stack(norms).norm()


def same_gradients(whole: list[torch.Tensor], divided: list[torch.Tensor]) -> bool:
    """Whether gradients are the same but for rounding."""
    assert len(whole) == len(divided) > 10
    total = norm(whole)
    differences = [one - other for one, other in zip(whole, divided, strict=True)]
    # Small sums of large terms cancel: rounding weighs more.
    limits = [max(1e-4 * gradient.norm(), 1e-6 * total) for gradient in whole]
    each = all(difference.norm() < limit for difference, limit in zip(differences, limits, strict=True))
    return each and bool(norm(differences) < 1e-5 * total)


def same_weights(whole: dict[str, torch.Tensor], divided: dict[str, torch.Tensor]) -> bool:
    """Whether a network's weights are the same but for rounding, and what Adam makes of it."""
    differences = {name: value - divided[name] for name, value in whole.items()}
    # Adam makes steps of 0.002 of gradients of any size, also of those that are rounding errors.
    each = all(value.abs().max() <= 5e-4 for value in differences.values())
    return each and bool(norm(list(differences.values())) < 1e-4 * norm(list(whole.values())))


@pytest.mark.parametrize("division", ["passes", "processes"])
@pytest.mark.parametrize("phase", [phase.name for phase in build_phases(Config())])
def test_gradients(trained, phase, division):
    agreeing = []
    for seed, whole in trained["whole"].items():
        if same_gradients(whole.gradients[phase], trained[division][seed].gradients[phase]):
            agreeing.append(seed)
    assert len(agreeing) >= AGREEING, agreeing


def test_gradients_where_discriminators_draw_fakes_of_their_own(heads, tmp_path):
    agreeing = []
    for seed in SEEDS:
        whole = alone(tmp_path / f"whole{seed}", heads, seed, "--no-reuse-fakes", "--kimg=0.008")
        passes = alone(tmp_path / f"passes{seed}", heads, seed, "--no-reuse-fakes", "--kimg=0.008", "--batch-gpu=4")
        if same_gradients(whole.gradients["d_main"], passes.gradients["d_main"]):
            agreeing.append(seed)
    assert len(agreeing) >= AGREEING, agreeing


@pytest.mark.parametrize("division", ["passes", "processes"])
@pytest.mark.parametrize("network", ["G", "G_ema", "D_img", "D_vid"])
def test_parameters_after_five_iterations(trained, network, division):
    agreeing = []
    for seed, whole in trained["whole"].items():
        if same_weights(whole.networks[network], trained[division][seed].networks[network]):
            agreeing.append(seed)
    assert len(agreeing) >= AGREEING, agreeing
