"""Work with a trained model: animate a picture, rebuild a clip, give it another motion, mix, interpolate, analyse."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
from typing import Any

import click

from applications.flags import (
    CLIPS,
    INPUT,
    analysis_options,
    cameras_option,
    clip_frames_option,
    frames_option,
    input_options,
    model_options,
    motions_option,
    video_options,
)
from dnnlib import cli
from dnnlib.cli import PATH
from dnnlib.lazy import lazy_module
from training.sampling.options import PAPER_FRAMES

action = lazy_module("pv3d.actions.edit")


@cli.group()
def main() -> None:
    """Animate a portrait, rebuild a clip, give it another motion, look inside a model (docs/applications.md)."""


@main.command()
@model_options
@input_options
@cli.option("--frame", group=INPUT, type=click.IntRange(0), show_default="0", help="Number of the clip's frame.")
@motions_option
@frames_option
@cameras_option
@video_options
def animate(**chosen: Any) -> None:
    """Find the appearance of a picture, and let it move.

    \b
    python edit_videos.py animate --network=models/heads.pkl --input=me.jpg --outdir=out
    The same person again:  --latents=out/latents.pt
    """
    action.animate(**chosen)


@main.command()
@model_options
@input_options
@clip_frames_option
@cli.option(
    "--cameras",
    group=CLIPS,
    default="orbit",
    metavar="PATH",
    help="New camera path: orbit, frontal, dataset, or a file with a JSON list of labels.",
)
@video_options
def reconstruct(**chosen: Any) -> None:
    """Find appearance and motion of a clip, and show it from its own and from new cameras."""
    action.reconstruct(**chosen)


@main.command()
@model_options
@input_options
@clip_frames_option
@motions_option
@cameras_option
@video_options
def edit(**chosen: Any) -> None:
    """Keep the appearance of a clip, and give it new motions."""
    action.edit(**chosen)


@main.command()
@model_options
@cli.option("--appearance", group=INPUT, required=True, help="Seed or latents to be moved.")
@cli.option("--motion", group=INPUT, type=PATH, required=True, help="Latents of the clip whose motion is taken.")
@cameras_option
@video_options
def retarget(**chosen: Any) -> None:
    """Move one appearance by the motion of another clip.

    \b
    python edit_videos.py retarget --network=models/heads.pkl --appearance=a/latents.pt --motion=b/latents.pt \\
      --outdir=out
    """
    action.retarget(**chosen)


@main.command()
@model_options
@cli.option("--appearance", group=INPUT, required=True, help="Seed or latents that keep their other rows.")
@cli.option("--style", group=INPUT, required=True, help="Seed or latents whose rows are taken.")
@cli.option("--layers", group=INPUT, type=cli.IntList(), required=True, help="Rows of latents to take, such as 0-3.")
@cli.option(
    "--frames",
    group=CLIPS,
    type=click.IntRange(2),
    show_default=f"those of the appearance, {PAPER_FRAMES} of a seed",
    help="Frames of the video.",
)
@cameras_option
@video_options
def mix(**chosen: Any) -> None:
    """Put rows of one appearance's latents into another's (style mixing)."""
    action.mix(**chosen)


@main.command()
@model_options
@cli.option("--start", group=INPUT, required=True, help="Seed or latents to begin with.")
@cli.option("--end", group=INPUT, required=True, help="Seed or latents to end with.")
@cli.option(
    "--what",
    group=INPUT,
    type=click.Choice(["appearance", "motion", "both"]),
    default="both",
    help="What goes from one to the other: w+, z_m or both.",
)
@cli.option("--frames", group=CLIPS, type=click.IntRange(2), default=48, help="Frames of the video.")
@cameras_option
@video_options
def interpolate(**chosen: Any) -> None:
    """Go from one appearance or motion to another."""
    action.interpolate(**chosen)


@main.command()
@model_options
@analysis_options
def analyse(**chosen: Any) -> None:
    """Look into a model: pictures, charts and numbers of what its parts do."""
    action.analyse(**chosen)


if __name__ == "__main__":
    main()
