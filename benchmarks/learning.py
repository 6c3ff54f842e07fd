"""What variants of a training learn, over several seeds: whether a faster preset is a worse one.

    python benchmarks/learning.py --outdir=/tmp/learning --variant old ../old "" --variant new . ""

Each variant is a name, a checkout and options of its train.py. All train `--cfg=demo` on the same procedural heads, and
this checkout scores them alike. The first variant is the yardstick: another one is worse where the mean of a score is
worse by more than the standard deviation of the yardstick's seeds. What is done is not done again, and a run that was
interrupted goes on. At 8 kimg and three seeds count on two hours of two cores for two variants.
"""

import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from dnnlib import cli  # noqa: E402
from dnnlib.errors import UserError  # noqa: E402

METRICS = "fvd256_16f,pose256,diversity256,motion256"
LOWER_IS_BETTER = {"fvd": True, "pose": True, "diversity": False, "motion": False}
CLIPS = 500
FRAMES = 20


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to train."""

    name: str
    checkout: Path
    options: tuple[str, ...]


@cli.command()
@cli.option("--outdir", type=click.Path(path_type=Path), required=True, help="Where data, runs and scores are kept.")
@cli.option(
    "--variant",
    "variants",
    type=(str, click.Path(path_type=Path, exists=True, file_okay=False), str),
    multiple=True,
    required=True,
    help="NAME CHECKOUT OPTIONS; the first one is the yardstick.",
)
@cli.option("--kimg", type=click.FloatRange(min=0, min_open=True), default=8.0, help="Length of each run.")
@cli.option("--seeds", type=click.IntRange(1), default=3, help="Runs of each variant, from seeds 0, 1, ...")
@cli.option("--metrics", default=METRICS, help="Scores to compare.")
@cli.option("--jobs", type=click.IntRange(1), default=2, help="Runs at a time; they share the cores.")
def main(
    outdir: Path, variants: Sequence[tuple[str, Path, str]], kimg: float, seeds: int, metrics: str, jobs: int
) -> None:
    """Train every VARIANT from every seed, score the models, and compare the means."""
    outdir = outdir.resolve()
    outdir.mkdir(parents=True, exist_ok=True)
    parsed = [
        Variant(name=name, checkout=checkout.resolve(), options=tuple(shlex.split(options)))
        for name, checkout, options in variants
    ]
    if len({variant.name for variant in parsed}) < len(parsed):
        raise UserError("Two variants have the same name: their runs would be one.")
    data = outdir / "heads.zip"
    if not data.exists():
        call(ROOT, "dataset_tool.py", "synth", f"--dest={data}", f"--clips={CLIPS}", f"--frames={FRAMES}", threads=1)
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    work = [(variant, seed) for seed in range(seeds) for variant in parsed]
    learn_one = partial(learn, data=data, kimg=kimg, metrics=metrics, threads=threads)
    with ThreadPoolExecutor(jobs) as pool:
        done = list(pool.map(learn_one, *zip(*work, strict=True)))
    found: dict[str, list[dict[str, float]]] = {variant.name: [] for variant in parsed}
    for (variant, _), scores in zip(work, done, strict=True):
        found[variant.name].append(scores)
    report(found)


# --- Work ------------------------------------------------------------------------------------------------------------


def learn(variant: Variant, seed: int, *, data: Path, kimg: float, metrics: str, threads: int) -> dict[str, float]:
    """Train and score one model, or what is left of that; return its scores by metric."""
    place = data.parent / variant.name / f"seed{seed}"
    scores = place / f"scores-{kimg:g}.jsonl"
    if not scores.exists():
        length = [f"--kimg={kimg:g}", "--snap=5", "--keep=1"]
        options = [f"--outdir={place}", "--cfg=demo", f"--data={data}", f"--seed={seed}", *length, *variant.options]
        call(variant.checkout, "train.py", *options, threads=threads)
        newest = max(place.glob("*/network-snapshot-*.pkl"))
        unfinished = scores.with_suffix(".part")
        unfinished.unlink(missing_ok=True)
        what = [f"--network={newest}", f"--data={data}", f"--metrics={metrics}", "--detector=random"]
        call(ROOT, "calc_metrics.py", *what, f"--out={unfinished}", "--no-cache", threads=threads)
        unfinished.rename(scores)
    lines = [json.loads(line) for line in scores.read_text(encoding="utf-8").splitlines()]
    return {line["metric"]: line["value"] for line in lines}


def call(checkout: Path, *command: str, threads: int) -> None:
    """Run a command of a checkout, in one process of so many threads."""
    click.echo(f"{checkout.name}: {shlex.join(command)}")
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "WORLD_SIZE": "1", "RANK": "0"}
    done = subprocess.run([sys.executable, *command], cwd=checkout, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{command[0]} of {checkout} ended with status {done.returncode}:\n{done.stderr}")


# --- Comparison ------------------------------------------------------------------------------------------------------


def report(found: dict[str, list[dict[str, float]]]) -> None:
    """Print every score of every seed, means and deviations, and where a variant is worse than the first one."""
    yardstick, *others = found
    for metric in found[yardstick][0]:
        values = {name: [scores[metric] for scores in runs] for name, runs in found.items()}
        for name, each in values.items():
            numbers = " ".join(f"{value:8.4g}" for value in each)
            mean = f"{statistics.mean(each):8.4g} +- {deviation(each):.2g}"
            click.echo(f"{metric:12s} {name:12s} {mean}  ({numbers})")
        for name in others:
            if is_worse(metric, values[yardstick], values[name]):
                click.echo(f"{metric:12s} {name} is worse than {yardstick}")


def is_worse(metric: str, old: Sequence[float], new: Sequence[float]) -> bool:
    """Return whether the mean is worse by more than the standard deviation of the old one's seeds."""
    (lower,) = [lower for name, lower in LOWER_IS_BETTER.items() if metric.startswith(name)]
    loss = statistics.mean(new) - statistics.mean(old)
    return (loss if lower else -loss) > deviation(old)


def deviation(values: Sequence[float]) -> float:
    """Return the standard deviation; 0 of a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()
