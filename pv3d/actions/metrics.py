"""`calc_metrics.py`: open what is scored and the real videos, evaluate, print and write."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from dnnlib import cli, json_lines
from dnnlib.cache import cache_root
from dnnlib.files import with_checksum
from dnnlib.video import require_ffmpeg
from metrics.evaluation import evaluate
from metrics.options import EvaluationOptions, EvaluationSubject
from metrics.protocols import Request, parse_requests
from metrics.results import append_json, table
from torch_utils import distributed
from torch_utils.startup import Machine, prepared_machine
from training.checkpoints import sources
from training.checkpoints.opener import load_generator
from training.data.check import camera_warning
from training.data.dataset import ClipDataset
from training.sampling.clips import STATIC


def run(
    *,
    metrics: str,
    network: str | None,
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
    """Do what the options of `calc_metrics.py` ask for."""
    requests = parse_requests(metrics)
    if out:
        json_lines.require_lines(out)
    if no_cache:
        cache = None
    elif cache is None:
        cache = cache_root() / "metrics"
    with prepared_machine(device=device, ops=ops, precision=precision, join=True) as machine:
        # All processes score the same one, whatever training writes meanwhile.
        source = None if network is None else distributed.from_main(partial(sources.found, network))
        with distributed.fail_together():
            require_ffmpeg()
            subject = open_subject(source, videos, multiview, machine)
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
    source: sources.Found | None, videos: Path | None, multiview: Path | None, machine: Machine
) -> EvaluationSubject:
    """Open what is scored; a snapshot in the machine's precision."""
    if source is None:
        return EvaluationSubject(video_folder=videos, multiview_folder=multiview)
    if videos or multiview:
        raise click.UsageError("Give --network, or --videos and --multiview: not both.")
    # Training may put a better one into its place meanwhile.
    snapshot, checksum = with_checksum(source.path, lambda path: load_generator(path, machine.device, machine.dtype))
    if distributed.is_main():
        static = [STATIC] if snapshot.config.generator.is_static else []
        cli.print_notes([*source.notes, *snapshot.notes, *static, *machine.notes])
    return EvaluationSubject(snapshot=snapshot, checksum=f"{checksum} {machine.number_format}")


def open_dataset(path: Path | None, subject: EvaluationSubject) -> ClipDataset | None:
    """Open the real videos, at the resolution of the generator's if there is one."""
    if path is None:
        return None
    resolution = None if subject.snapshot is None else subject.snapshot.config.generator.img_resolution
    dataset = ClipDataset(path, resolution)
    if distributed.is_main():
        cli.print_notes(dataset.notes)
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
