"""How well the applications of a model work, on pictures and clips whose truth is known; on one thread.

    python benchmarks/applications.py --out=applications.json

The tables say: of the generator's own pictures, how close an inversion comes; of procedural heads that training never
saw, the same and how views from the sides agree with the truth, with and without the priors; of the generator's own
clips, whether the mouth moves as in the input, and as in the driving clip where a motion is taken over. What another
motion would score stands beside (control), and so does what the instrument that reads mouths errs (floor).
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from applications.jobs import Session  # noqa: E402
from applications.options import InversionOptions  # noqa: E402
from benchmarks.application_cases import (  # noqa: E402
    Bench,
    Numbers,
    own_picture,
    rebuilt_clip,
    retargeted,
    unseen_head,
)
from detectors.dlib_face import DlibEmbedder  # noqa: E402
from dnnlib import cli  # noqa: E402
from dnnlib.errors import UserError  # noqa: E402
from dnnlib.files import write_json  # noqa: E402
from dnnlib.options import to_dict  # noqa: E402
from dnnlib.progress import Counter  # noqa: E402
from metrics.mouth import Effort, train_mouth_regressor  # noqa: E402
from torch_utils.startup import prepared_machine  # noqa: E402

# What is changed in the default options, which have the pulls to the mean latent and of latents to each other.
PRIORS: dict[str, dict[str, Any]] = {
    "default": {},
    "none": {"mean_pull": 0.0, "unity_pull": 0.0},
    "no-mean": {"mean_pull": 0.0},
    "no-unity": {"unity_pull": 0.0},
    "symmetry": {"symmetry": 0.3},
}
HASTY = Effort(frames=6, steps=3, people=2, clip=3)
QUICK_STEPS = 2


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many cases of each kind, and how they are inverted."""

    pictures: int
    heads: int
    clips: int
    frames: int
    priors: tuple[str, ...]
    options: InversionOptions

    @property
    def steps(self) -> int:
        """Steps of all searches."""
        return self.options.steps * (self.pictures + self.heads * len(self.priors) + self.clips)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What was measured of one picture, clip or pair of clips."""

    task: str
    variant: str
    seed: int
    numbers: Numbers


@cli.command()
@cli.option(
    "--network",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=ROOT / "models" / "heads.pkl",
    help="network-snapshot-*.pkl",
)
@cli.option("--pictures", type=click.IntRange(0), default=2, help="Pictures of the generator's own.")
@cli.option("--heads", type=click.IntRange(0), default=2, help="Procedural heads that training never saw.")
@cli.option("--clips", type=click.IntRange(0), default=2, help="Clips of the generator's own.")
@cli.option("--frames", type=click.IntRange(2), default=12, help="Frames of each clip.")
@cli.option(
    "--priors",
    type=cli.NameList("prior", tuple(PRIORS)),
    default=",".join(PRIORS),
    help="Ways to invert procedural heads.",
)
@cli.option("--steps", type=click.IntRange(1), default=InversionOptions().steps, help="Steps of each search.")
@cli.option("--quick", is_flag=True, help="Only try whether all works: a case or two of each, and few steps.")
@cli.option("--out", type=cli.PATH, help="JSON file of all numbers, written anew after each case.")
def main(
    network: Path,
    pictures: int,
    heads: int,
    clips: int,
    frames: int,
    priors: tuple[str, ...],
    steps: int,
    quick: bool,
    out: Path | None,
) -> None:
    """Measure animation, reconstruction and retargeting; about 15 minutes of one core with the defaults."""
    options = InversionOptions(steps=steps)
    plan = Plan(pictures=pictures, heads=heads, clips=clips, frames=frames, priors=priors, options=options)
    if quick:
        plan = replace(plan, pictures=1, heads=1, clips=2, frames=3, options=replace(options, steps=QUICK_STEPS))
    with prepared_machine(threads=1) as machine, tempfile.TemporaryDirectory() as nowhere:
        session = Session.open(network, Path(nowhere), machine)
        resolution = session.config.generator.img_resolution
        effort = HASTY if quick else Effort()
        mouth = train_mouth_regressor(resolution, effort=effort, progress=True) if plan.clips else None
        with Counter(plan.steps, title="inversions", unit="step") as counter:
            bench = Bench(session=session, mouth=mouth, embedder=embedder_if_installed(), counter=counter)
            cases = []
            for case in measured(bench, plan):
                cases.append(case)
                if out is not None:
                    write_json(out, record(bench, plan, cases))
    if mouth is not None:
        floor = mouth.floor
        click.echo(f"mouth regressor: correlation {floor.value:.3f}, error {floor.details['error']:.3f} (floor)")
    print_tables(cases)


def record(bench: Bench, plan: Plan, cases: Sequence[Case]) -> dict[str, Any]:
    """Return all numbers so far, and what they follow from."""
    return {
        "network": bench.session.network.name,
        "model": bench.session.model,
        "options": to_dict(plan.options),
        "priors": {name: PRIORS[name] for name in plan.priors},
        "mouth_floor": None if bench.mouth is None else asdict(bench.mouth.floor),
        "cases": [asdict(case) for case in cases],
    }


def embedder_if_installed() -> DlibEmbedder | None:
    """Return what compares identities, or say why there is none."""
    try:
        return DlibEmbedder()
    except UserError as error:
        click.echo(f"Identities are not compared: {error}", err=True)
        return None


def measured(bench: Bench, plan: Plan) -> Iterator[Case]:
    """Yield all cases as they are done."""
    for seed in range(plan.pictures):
        numbers = own_picture(bench, plan.options, seed)
        yield Case(task="animate, own pictures", variant="default", seed=seed, numbers=numbers)
    for prior in plan.priors:
        options = replace(plan.options, **PRIORS[prior])
        for seed in range(plan.heads):
            numbers = unseen_head(bench, options, seed)
            yield Case(task="animate, unseen heads", variant=prior, seed=seed, numbers=numbers)
    clips = []
    for seed in range(plan.clips):
        clip, numbers = rebuilt_clip(bench, plan.options, seed, plan.frames)
        clips.append(clip)
        yield Case(task="reconstruct, own clips", variant="default", seed=seed, numbers=numbers)
    if len(clips) > 1:
        for place, driving in enumerate(clips):
            numbers = retargeted(bench, driving, clips[place - 1])
            yield Case(task="retarget, own clips", variant="default", seed=driving.seed, numbers=numbers)


# --- Tables -----------------------------------------------------------------------------------------------------------


def print_tables(cases: Sequence[Case]) -> None:
    """Print a table for each task: means over the cases of each variant."""
    for task in dict.fromkeys(case.task for case in cases):
        of_task = [case for case in cases if case.task == task]
        names = list(of_task[0].numbers)
        click.echo(f"\n{task}")
        click.echo("  ".join(["variant ", " n", *names]))
        for variant in dict.fromkeys(case.variant for case in of_task):
            rows = [case.numbers for case in of_task if case.variant == variant]
            means = [in_words(mean_of(rows, name)).rjust(len(name)) for name in names]
            click.echo("  ".join([f"{variant:8s}", f"{len(rows):2d}", *means]))


def mean_of(rows: Sequence[Numbers], name: str) -> float | None:
    """Return the mean of a number over the rows that have it; None if none has."""
    values = [value for row in rows if (value := row[name]) is not None]
    return float(np.mean(values)) if values else None


def in_words(value: float | None) -> str:
    """Return a number with four digits that say something."""
    return "-" if value is None else f"{value:.4g}"


if __name__ == "__main__":
    main()
