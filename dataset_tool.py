"""Make and check datasets of portrait clips: `preprocess` videos, `convert` published ones, `synth` heads, `check`."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
import contextlib
import math
import os
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import click

from dnnlib import cli
from dnnlib.cli import PATH
from dnnlib.files import refuse_existing
from dnnlib.optional import optional_packages
from dnnlib.options import add_flags, given, override
from dnnlib.options import check as check_options
from dnnlib.parallel import parallel_map
from dnnlib.progress import Counter, counted, print_line
from dnnlib.video import MAX_FPS, MIN_FPS
from preprocessing.options import STAGES, PreprocessOptions
from preprocessing.sources import list_sources
from training.camera_checks.views import FOCALS
from training.cameras import FOCAL
from training.data.aligned import Wanted, aligned_jobs, convert_aligned
from training.data.camera_files import POSES, read_cameras
from training.data.check import camera_warning, check_dataset, summary
from training.data.convert import ConvertJob, convert_clip
from training.data.dataset import ClipDataset
from training.data.published import published_clips
from training.data.writer import ClipRecord, write_dataset
from training.synthetic.job import SynthJob, synth_clip
from training.synthetic.motion import YAW_RANGE
from training.synthetic.render import SPLITS
from training.synthetic.room import MAX_YAW

COUNT = click.IntRange(1)


def cpu_cores() -> int:
    """Return the CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


workers_option = cli.option(
    "--workers", type=COUNT, default=cpu_cores, show_default="one a CPU core", help="Processes at work."
)
dest_option = cli.option("--dest", type=PATH, required=True, help="Dataset to make: a .zip, or a folder.")


@cli.group()
def main() -> None:
    """Make and check datasets of portrait clips with cameras (docs/data.md)."""


@main.command()
@cli.option(
    "--source",
    type=PATH,
    required=True,
    help="Folder with recrop_faces/*.mp4, smoothed_camera2world/*.json and, if wanted, a *.list of clips; or, with "
    "--cameras, of any aligned videos and folders of pictures.",
)
@cli.option("--cameras", type=PATH, help="Cameras of another tracker: .json, .csv, or a folder of .mat (docs/data.md).")
@cli.option(
    "--pose",
    type=click.Choice(POSES),
    default=POSES[0],
    help="What R and t are there; 25 numbers hold cam2world.",
)
@cli.option(
    "--focal",
    type=click.FloatRange(*FOCALS),
    default=FOCAL,
    help="Focal length that goes with R and t, and with .mat files, in sides of the frame.",
)
@dest_option
@cli.option(
    "--resolution", type=click.IntRange(4, 4096), show_default="as they are", help="Resize frames to this side."
)
@cli.option(
    "--max-frames", type=COUNT, show_default="all", help="Take at most this many frames of a clip, from its start."
)
@cli.option("--clips", type=COUNT, show_default="all", help="Take at most this many clips, from the start of the list.")
@cli.option("--skip-broken", is_flag=True, help="Name clips that cannot be read and leave them out; else stop.")
@workers_option
def convert(
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
    """Make a dataset from the published PV3D layout (videos, cameras, list), or from other aligned data."""
    refuse_existing(dest)
    if cameras is not None:
        wanted = Wanted(resolution=resolution, max_frames=max_frames, skip_broken=skip_broken)
        aligned, notes = aligned_jobs(source, read_cameras(cameras, pose, focal), wanted)
        for note in notes:
            click.echo(note, err=True)
        write(dest, parallel_map(convert_aligned, aligned[:clips], workers), len(aligned[:clips]))
        return
    found, notes = published_clips(source)
    for note in notes:
        click.echo(note, err=True)
    jobs = [
        ConvertJob(clip=clip, resolution=resolution, max_frames=max_frames, skip_broken=skip_broken)
        for clip in found[:clips]
    ]
    write(dest, parallel_map(convert_clip, jobs, workers), len(jobs))


@main.command()
@dest_option
@cli.option("--clips", type=COUNT, default=200, help="Clips, each of a person of its own.")
@cli.option("--frames", type=COUNT, default=24, help="Frames a clip.")
@cli.option("--resolution", type=click.IntRange(16, 1024), default=64, help="Side of the frames in pixels.")
@cli.option("--fps", type=click.FloatRange(MIN_FPS, MAX_FPS), default=25.0, help="Frames a second.")
@cli.option("--seed", type=click.IntRange(0), default=0, help="Another seed gives other people.")
@cli.option(
    "--split",
    type=click.Choice([*SPLITS]),
    default="train",
    help="People to train on or to test on: nobody is in both, whatever the seeds.",
)
@cli.option(
    "--yaw-range",
    type=click.FloatRange(1, MAX_YAW),
    show_default=f"{math.degrees(YAW_RANGE):.1f}, that is {YAW_RANGE} radians",
    help="Degrees to either side within which cameras stay; more of them teach more of the shape (docs/data.md).",
)
@cli.option("--depth", is_flag=True, help="Store the true depth beside every frame (16-bit PNG, docs/data.md).")
@workers_option
def synth(
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


@main.command()
@cli.option("--source", type=PATH, required=True, help="Folder of videos and pictures, or a single one.")
@dest_option
@cli.option(
    "--work", type=PATH, show_default="DEST.work", help="Folder for what stages find: a run goes on from there."
)
@cli.option("--report", type=PATH, help="Page to write: FILE.html, with what was found, kept and left out, and why.")
@cli.option("--speakers", type=PATH, help="Text file of who is where: a line `video speaker` for each.")
@cli.option("--redo", type=click.Choice(STAGES), multiple=True, help="Forget what this stage has found; several times.")
@cli.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@workers_option
@add_flags(PreprocessOptions())
def preprocess(
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
    """Make a dataset from ordinary videos: find faces, align them, fit cameras, choose clips (docs/preprocessing.md).

    A run that was interrupted goes on where it was, by the same command.
    """
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
    for note in notes:
        click.echo(note, err=True)
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


@main.command()
@click.argument("path", type=PATH)
@workers_option
def check(path: Path, workers: int) -> None:
    """Name everything that is broken in a dataset, a line each; exit status 1 if there is anything."""
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


if __name__ == "__main__":
    main()
