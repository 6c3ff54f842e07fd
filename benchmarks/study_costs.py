"""What a trained generator costs: parameters, and FLOPs of a frame."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.frames import make_frame
from benchmarks.timing import flops_of
from dnnlib.errors import UserError
from dnnlib.files import read_json, write_json
from training.checkpoints.opener import load_generator

COST = "cost.json"  # in a run's folder


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of a generator.

    Args:
        parameters: how many numbers it has, those that are frozen, too.
        flops: of one frame of a video, planes and all; a multiply-add counts two.
    """

    parameters: int
    flops: float


def cost_of(snapshot: Path) -> Cost:
    """Return what the generator of a snapshot costs. UserError if it cannot be read."""
    G = load_generator(snapshot).G
    flops = flops_of(partial(make_frame, G))
    return Cost(parameters=sum(parameter.numel() for parameter in G.parameters()), flops=float(flops))


def known_cost(place: Path, snapshot: Path) -> Cost | None:
    """Return the cost of a run's snapshot, which its folder keeps; None if this software cannot read it."""
    path = place / COST
    if not path.exists():
        try:
            write_json(path, asdict(cost_of(snapshot)))
        except UserError:  # of a row with a checkout of its own
            return None
    return Cost(**read_json(path))
