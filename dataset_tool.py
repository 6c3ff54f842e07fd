"""Make and check datasets of portrait clips: `preprocess` videos, `convert` published ones, `synth` heads, `check`."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
import math
import os
from typing import Any

import click

from dnnlib import cli
from dnnlib.cli import PATH
from dnnlib.lazy import lazy_module
from dnnlib.options import add_flags
from dnnlib.video_formats import MAX_FPS, MIN_FPS
from preprocessing.options import STAGES, PreprocessOptions
from training.config import FOCAL, FOCALS
from training.data.options import MAX_YAW, POSES, SPLITS, YAW_RANGE

action = lazy_module("pv3d.actions.data")
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
def convert(**chosen: Any) -> None:
    """Make a dataset from the published PV3D layout (videos, cameras, list), or from other aligned data."""
    action.convert(**chosen)


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
def synth(**chosen: Any) -> None:
    """Make a dataset of procedural talking heads with exact cameras."""
    action.synth(**chosen)


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
def preprocess(**chosen: Any) -> None:
    """Make a dataset from ordinary videos: find faces, align them, fit cameras, choose clips (docs/preprocessing.md).

    A run that was interrupted goes on where it was, by the same command.
    """
    action.preprocess(**chosen)


@main.command()
@click.argument("path", type=PATH)
@workers_option
def check(**chosen: Any) -> None:
    """Name everything that is broken in a dataset, a line each; exit status 1 if there is anything."""
    action.check(**chosen)


if __name__ == "__main__":
    main()
