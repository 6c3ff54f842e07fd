"""Score a trained generator, or videos made elsewhere, as the paper does: FVD, KVD, ID, CD, WE, and controls."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
from typing import Any

import click

from dnnlib import cli
from dnnlib.cli import PATH, SOURCE
from dnnlib.lazy import lazy_module
from metrics.names import BATCH, DETECTOR_WEIGHTS, PAPER_VIDEOS, PUBLIC, SEED
from torch_utils.machine_options import MACHINE, machine_options
from training.checkpoints import sources

action = lazy_module("pv3d.actions.metrics")
# Headings of `--help`.
SCORED = "What is scored"
REALS = "Real videos"
SCORES = "Scores"
RESULTS = "Results"


@cli.command()
@cli.option("--network", group=SCORED, type=SOURCE, help=f"Score a generator: {sources.HELP}")
@cli.option(
    "--videos", group=SCORED, type=PATH, help="fvd, kvd: score the video files, or folders of frames, in this folder."
)
@cli.option("--multiview", group=SCORED, type=PATH, help="id, cd, we: score this folder of four renders per video.")
@cli.option("--data", group=REALS, type=PATH, help="Dataset of real videos: a folder or an uncompressed zip.")
@cli.option(
    "--real-stats",
    group=REALS,
    type=PATH,
    help="fvd, kvd: statistics in place of --data; also the reference's .pkl.",
)
@cli.option("--save-real-stats", group=REALS, type=PATH, help="Write the real videos' statistics for --real-stats.")
@cli.option(
    "--metrics", group=SCORES, required=True, help=f"Such as fvd,cd200,fvd2048_16f; of {', '.join(PAPER_VIDEOS)}."
)
@cli.option(
    "--detector",
    group=SCORES,
    type=click.Choice(DETECTOR_WEIGHTS),
    default=PUBLIC,
    help="Networks that look at the videos: those of the papers, or seeded random ones for smoke tests.",
)
@cli.option("--detectors", group=SCORES, type=PATH, help="Folder with the public detectors' files.")
@cli.option(
    "--seed",
    group=SCORES,
    type=click.IntRange(0),
    default=SEED,
    help="Seed of codes, cameras and times.",
)
@cli.option("--out", group=RESULTS, type=PATH, help="Append a line of JSON per result to this file.")
@cli.option("--cache", group=RESULTS, type=PATH, show_default="~/.cache/pv3d/metrics", help="Folder for finished work.")
@cli.option("--no-cache", group=RESULTS, is_flag=True, help="Keep and use no finished work.")
@cli.option(
    "--batch",
    group=MACHINE,
    type=click.IntRange(1),
    default=BATCH,
    help="Videos at a time through a detector.",
)
@machine_options("device", "ops", "precision")
def main(**chosen: Any) -> None:
    """Score a generator, or videos made elsewhere.

    \b
    python calc_metrics.py --metrics=fvd,id,cd,we --network=SNAPSHOT --data=DATASET --detectors=DIR
    python calc_metrics.py --metrics=fvd2048_16f --videos=DIR --data=DATASET
    torchrun --nproc-per-node=8 calc_metrics.py --metrics=fvd --network=SNAPSHOT --data=DATASET

    Prints a line of JSON for each result as it is finished, and a table at the end. The same command again goes on
    where it was interrupted.
    """
    action.run(**chosen)


if __name__ == "__main__":
    main()
