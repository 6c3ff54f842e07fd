"""`dataset_tool.py`: datasets from videos, from published clips and of procedural heads, and what is broken in one."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
import contextlib
import math
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import click

from dnnlib import cli
from dnnlib.files import refuse_existing
from dnnlib.optional import optional_packages
from dnnlib.options import check as check_options
from dnnlib.options import given, override
from dnnlib.parallel import parallel_map
from dnnlib.progress import Counter, counted, print_line
from preprocessing.options import PreprocessOptions
from preprocessing.sources import list_sources
from training.data.aligned import Wanted, aligned_jobs, convert_aligned
from training.data.camera_files import read_cameras
from training.data.check import camera_warning, check_dataset, summary
from training.data.convert import ConvertJob, convert_clip
from training.data.dataset import ClipDataset
from training.data.options import YAW_RANGE
from training.data.published import published_clips
from training.data.writer import ClipRecord, write_dataset
from training.synthetic.job import SynthJob, synth_clip


def convert(
    *,
    source: Path,
    cameras: Path | None,
    pose: str,
    focal: float,
    dest: Path,
    resolution: int | None,
    max_frames: int | None,
    clips: int | None,
    skip_broken: bool,
    workers: int,
) -> None:
    """Make a dataset from the published PV3D layout, or from other aligned data."""
    refuse_existing(dest)
    if cameras is not None:
        wanted = Wanted(resolution=resolution, max_frames=max_frames, skip_broken=skip_broken)
        aligned, notes = aligned_jobs(source, read_cameras(cameras, pose, focal), wanted)
        cli.print_notes(notes)
        write(dest, parallel_map(convert_aligned, aligned[:clips], workers), len(aligned[:clips]))
        return
    found, notes = published_clips(source)
    cli.print_notes(notes)
    jobs = [
        ConvertJob(clip=clip, resolution=resolution, max_frames=max_frames, skip_broken=skip_broken)
        for clip in found[:clips]
    ]
    write(dest, parallel_map(convert_clip, jobs, workers), len(jobs))


def synth(
    *,
    dest: Path,
    clips: int,
    frames: int,
    resolution: int,
    fps: float,
    seed: int,
    split: str,
    yaw_range: float | None,
    depth: bool,
    workers: int,
) -> None:
    """Make a dataset of procedural talking heads with exact cameras."""
    refuse_existing(dest)
    radians = YAW_RANGE if yaw_range is None else math.radians(yaw_range)
    jobs = [
        SynthJob(
            seed=seed,
            index=index,
            frames=frames,
            resolution=resolution,
            fps=fps,
            depth=depth,
            yaw_range=radians,
            split=split,
        )
        for index in range(clips)
    ]
    write(dest, parallel_map(synth_clip, jobs, workers), clips)


def preprocess(
    *,
    source: Path,
    dest: Path,
    work: Path | None,
    report: Path | None,
    speakers: Path | None,
    redo: tuple[str, ...],
    dry_run: bool,
    workers: int,
    **flags: object,
) -> None:
    """Make a dataset from ordinary videos; `flags` are those of `PreprocessOptions`."""
    with optional_packages("Faces and cameras of videos", "'pv3d[preprocess]'"):
        from preprocessing import command
        from preprocessing.pipeline import clip_records
        from preprocessing.report import licences
        from preprocessing.stages import Workplace
    refuse_existing(dest)
    options = override(PreprocessOptions(), given(PreprocessOptions, flags))
    check_options(options)
    work = work or dest.with_suffix(".work")
    videos, notes = list_sources(source, speakers, work)
    cli.print_notes(notes)
    place = Workplace(root=work, options=options)
    if dry_run:
        click.echo("\n".join(command.plan(videos, place)))
        return
    click.echo("\n".join(licences(place)))
    done = command.run(videos, place, source=source, dest=dest, page=report, redo=redo, workers=workers)
    write(dest, clip_records(done.outcome, place), len(done.outcome.taken))
    for reason, count in done.report.reasons():
        click.echo(f"Left out: {count} clips, {reason}.")
    for one in done.report.sources:
        if one.failed is not None:
            click.echo(f"Not read: {one.failed}", err=True)
    click.echo(f"The reason of each is in {place.root}; the folder may be deleted.")


def check(*, path: Path, workers: int) -> None:
    """Name everything that is broken in a dataset; exit status 1 if there is anything."""
    findings = list(check_dataset(path, workers=workers, progress=counted_frames))
    for finding in findings:  # after the progress bar, which would run into them
        click.echo(finding)
    problems = sum(finding.broken for finding in findings)
    if problems:
        noun = "problem" if problems == 1 else "problems"
        click.echo(f"{path}: {problems} {noun} found.")
        raise click.exceptions.Exit(1)
    click.echo(summary(ClipDataset(path)))


def write(dest: Path, records: Generator[ClipRecord | str], total: int) -> None:
    """Write clips as they come; a text instead of a clip says why it was left out."""
    left_out = 0
    with contextlib.closing(records), write_dataset(dest) as writer, Counter(total, unit="clip") as counter:
        for record in counted(records, counter):
            if isinstance(record, str):
                left_out += 1
                print_line(f"Left out: {record}")
            else:
                writer.add(record)
    dataset = ClipDataset(dest)
    click.echo(summary(dataset))
    warning = camera_warning(dataset)
    if warning:
        click.echo(f"Warning: {warning}", err=True)
    if left_out:
        click.echo(f"Left out {left_out} of {total} clips, named above.", err=True)


def counted_frames(items: Iterable, total: int) -> Iterator:
    """Yield the same items, one for each frame, each counted."""
    with Counter(total, unit="frame") as counter:
        yield from counted(items, counter)
