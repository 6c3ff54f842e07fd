"""Score a trained generator, or videos made elsewhere, as the paper does: FVD, KVD, ID, CD, WE, and controls."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
from collections.abc import Sequence
from pathlib import Path

import click

from dnnlib import cli, json_lines
from dnnlib.cache import cache_root
from dnnlib.cli import PATH
from dnnlib.files import with_checksum
from dnnlib.video import require_ffmpeg
from metrics.evaluation import evaluate
from metrics.options import EvaluationOptions, EvaluationSubject
from metrics.protocols import PAPER_VIDEOS, Request, parse_requests
from metrics.results import append_json, table
from torch_utils import distributed
from torch_utils.machine_options import MACHINE, machine_options
from torch_utils.startup import Machine, prepared_machine
from training.checkpoints.opener import load_generator
from training.data.check import camera_warning
from training.data.dataset import ClipDataset

# Headings of `--help`.
SCORED = "What is scored"
REALS = "Real videos"
SCORES = "Scores"
RESULTS = "Results"


@cli.command()
@cli.option("--network", group=SCORED, type=PATH, help="Score this network-snapshot-*.pkl.")
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
    type=click.Choice(["public", "random"]),
    default=EvaluationOptions.detector_weights,
    help="Networks that look at the videos: those of the papers, or seeded random ones for smoke tests.",
)
@cli.option("--detectors", group=SCORES, type=PATH, help="Folder with the public detectors' files.")
@cli.option(
    "--seed",
    group=SCORES,
    type=click.IntRange(0),
    default=EvaluationOptions.seed,
    help="Seed of codes, cameras and times.",
)
@cli.option("--out", group=RESULTS, type=PATH, help="Append a line of JSON per result to this file.")
@cli.option("--cache", group=RESULTS, type=PATH, show_default="~/.cache/pv3d/metrics", help="Folder for finished work.")
@cli.option("--no-cache", group=RESULTS, is_flag=True, help="Keep and use no finished work.")
@cli.option(
    "--batch",
    group=MACHINE,
    type=click.IntRange(1),
    default=EvaluationOptions.batch,
    help="Videos at a time through a detector.",
)
@machine_options("device", "ops", "precision")
def main(
    metrics: str,
    network: Path | None,
    videos: Path | None,
    multiview: Path | None,
    data: Path | None,
    real_stats: Path | None,
    save_real_stats: Path | None,
    detector: str,
    detectors: Path | None,
    seed: int,
    batch: int,
    precision: str,
    cache: Path | None,
    no_cache: bool,
    out: Path | None,
    device: str,
    ops: str,
) -> None:
    """Score a generator, or videos made elsewhere.

    \b
    python calc_metrics.py --metrics=fvd,id,cd,we --network=SNAPSHOT --data=DATASET --detectors=DIR
    python calc_metrics.py --metrics=fvd2048_16f --videos=DIR --data=DATASET
    torchrun --nproc-per-node=8 calc_metrics.py --metrics=fvd --network=SNAPSHOT --data=DATASET

    Prints a line of JSON for each result as it is finished, and a table at the end. The same command again goes on
    where it was interrupted.
    """
    requests = parse_requests(metrics)
    if out:
        json_lines.require_lines(out)
    if no_cache:
        cache = None
    elif cache is None:
        cache = cache_root() / "metrics"
    with prepared_machine(device=device, ops=ops, precision=precision, join=True) as machine:
        with distributed.fail_together():
            require_ffmpeg()
            subject = open_subject(network, videos, multiview, machine)
            options = EvaluationOptions(
                dataset=open_dataset(data, subject),
                real_stats=real_stats,
                save_real_stats=save_real_stats,
                detector_weights=detector,
                detector_folder=detectors,
                seed=seed,
                device=machine.device,
                cache_folder=cache,
                batch=batch,
            )
        if options.dataset is not None:
            options.dataset.share_fingerprint()
        report(requests, subject, options, out)


def open_subject(
    network: Path | None, videos: Path | None, multiview: Path | None, machine: Machine
) -> EvaluationSubject:
    """Open what is scored; a snapshot in the machine's precision."""
    if network is None:
        return EvaluationSubject(video_folder=videos, multiview_folder=multiview)
    if videos or multiview:
        raise click.UsageError("Give --network, or --videos and --multiview: not both.")
    # Training may put a better one into its place meanwhile.
    snapshot, checksum = with_checksum(network, lambda path: load_generator(path, machine.device, machine.dtype))
    if distributed.is_main():
        for note in (*snapshot.notes, *machine.notes):
            click.echo(note, err=True)
    return EvaluationSubject(snapshot=snapshot, checksum=f"{checksum} {machine.number_format}")


def open_dataset(path: Path | None, subject: EvaluationSubject) -> ClipDataset | None:
    """Open the real videos, at the resolution of the generator's if there is one."""
    if path is None:
        return None
    resolution = None if subject.snapshot is None else subject.snapshot.config.generator.img_resolution
    dataset = ClipDataset(path, resolution)
    if distributed.is_main():
        for note in dataset.notes:
            click.echo(note, err=True)
        # Real videos need none, generated ones are seen by the dataset's cameras.
        warning = camera_warning(dataset, subject.snapshot.config.generator.rendering) if subject.snapshot else None
        if warning:
            click.echo(f"Warning: {warning}", err=True)
    return dataset


def report(
    requests: Sequence[Request], subject: EvaluationSubject, options: EvaluationOptions, out: Path | None
) -> None:
    """Evaluate on every process; print and write on the main one."""
    results = []
    for result in evaluate(requests, subject, options):
        results.append(result)
        if not distributed.is_main():
            continue
        for warning in result.warnings:
            click.echo(f"{result.metric}: {warning}", err=True)
        click.echo(result.json())
        if out:
            append_json(out, [result])
    if distributed.is_main():
        click.echo(table(results))


if __name__ == "__main__":
    main()
