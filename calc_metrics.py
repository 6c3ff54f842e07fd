"""Score a trained generator, or videos made elsewhere, as the paper does: FVD, KVD, ID, CD, WE, and controls."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
from collections.abc import Sequence
from pathlib import Path

import click
import torch

from detectors.weights import checksum
from dnnlib import cli
from dnnlib.cache import cache_root
from dnnlib.video import require_ffmpeg
from metrics.evaluation import evaluate
from metrics.options import EvaluationOptions, EvaluationSubject
from metrics.protocols import PAPER_VIDEOS, Request, parse_requests
from metrics.results import Result, append_json, table
from torch_utils import custom_ops, distributed, runtime
from training.checkpoints.opener import load_generator
from training.data.dataset import ClipDataset

PATH = click.Path(path_type=Path)


@cli.command()
@click.option("--metrics", required=True, help=f"Such as fvd,cd200,fvd2048_16f; of {', '.join(PAPER_VIDEOS)}.")
@click.option("--network", type=PATH, help="Score this network-snapshot-*.pkl.")
@click.option("--videos", type=PATH, help="fvd, kvd: score the video files, or folders of frames, in this folder.")
@click.option("--multiview", type=PATH, help="id, cd, we: score this folder of four renders per video.")
@click.option("--data", type=PATH, help="Dataset of real videos: a folder or an uncompressed zip.")
@click.option("--real-stats", type=PATH, help="fvd, kvd: statistics in place of --data; also the reference's .pkl.")
@click.option("--save-real-stats", type=PATH, help="Write the real videos' statistics for --real-stats.")
@click.option(
    "--detector",
    type=click.Choice(["public", "random"]),
    default="public",
    help="Networks that look at the videos: those of the papers, or seeded random ones for smoke tests.",
)
@click.option("--detectors", type=PATH, help="Folder with the public detectors' files.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of codes, cameras and times.")
@click.option("--batch", type=click.IntRange(1), default=2, help="Videos at a time through a detector.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    help="Of the generator, as in gen_videos.py.",
)
@click.option("--cache", type=PATH, help="Folder for finished work. [default: ~/.cache/pv3d/metrics]")
@click.option("--no-cache", is_flag=True, help="Keep and use no finished work.")
@click.option("--out", type=PATH, help="Append a line of JSON per result to this file.")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:<number>.")
@click.option("--ops", type=click.Choice(["auto", "native", "cuda"]), default="auto", help="Custom CUDA operations.")
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
):
    """Score a generator, or videos made elsewhere.

    \b
    python calc_metrics.py --metrics=fvd,id,cd,we --network=SNAPSHOT --data=DATASET --detectors=DIR
    python calc_metrics.py --metrics=fvd2048_16f --videos=DIR --data=DATASET
    torchrun --nproc-per-node=8 calc_metrics.py --metrics=fvd --network=SNAPSHOT --data=DATASET

    Prints a line of JSON for each result as it is finished, and a table at the end. The same command again goes on
    where it was interrupted.
    """
    requests = parse_requests(metrics)
    runtime.tune_cpu_allocator()
    runtime.set_threads()
    custom_ops.set_ops_mode(ops)
    place = distributed.init(runtime.select_device(device))
    try:
        runtime.disable_tf32()
        with distributed.fail_together():
            require_ffmpeg()
            subject = open_subject(network, videos, multiview, precision, place)
            options = EvaluationOptions(
                dataset=open_dataset(data, subject),
                real_stats=real_stats,
                save_real_stats=save_real_stats,
                detector_weights=detector,
                detector_folder=detectors,
                seed=seed,
                device=place,
                cache_folder=None if no_cache else cache or cache_root() / "metrics",
                batch=batch,
            )
        report(requests, subject, options, out)
    finally:
        distributed.shutdown()


def open_subject(
    network: Path | None, videos: Path | None, multiview: Path | None, precision: str, place: torch.device
) -> EvaluationSubject:
    """What is scored; the snapshot in its precision."""
    if network is None:
        return EvaluationSubject(video_folder=videos, multiview_folder=multiview)
    if videos or multiview:
        raise click.UsageError("Give --network, or --videos and --multiview: not both.")
    dtype, reason = runtime.compute_dtype(precision, place)
    snapshot = load_generator(network, place, dtype)
    if distributed.is_main():
        for note in [*snapshot.notes, *([reason] if reason else [])]:
            click.echo(note, err=True)
    return EvaluationSubject(snapshot=snapshot, checksum=f"{checksum(network)} {dtype or 'fp32'}")


def open_dataset(path: Path | None, subject: EvaluationSubject) -> ClipDataset | None:
    """The real videos, at the resolution of the generator's if there is one."""
    if path is None:
        return None
    return ClipDataset(path, subject.snapshot and subject.snapshot.config.generator.img_resolution)


def report(
    requests: Sequence[Request], subject: EvaluationSubject, options: EvaluationOptions, out: Path | None
) -> None:
    """Evaluates on every process; the main one prints and writes."""
    results: list[Result] = []
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
