"""Options of a command about pictures: which layers, in which colours, how many side by side, from how many rays."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import click

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.options import options_of
from dnnlib.video_formats import MAX_FPS, MAX_GIF_FPS, MIN_FPS
from training.config import RenderingConfig
from training.sampling.options import (
    ARRAYS,
    DEFAULT_FPS,
    FORMATS,
    FRAME_LAYERS,
    LAYERS,
    MAX_SCALE,
    SHAPE,
    SamplingOptions,
)

IDLE = {
    "png": ("--fps",),
    ARRAYS: ("--fps", "--grid", "--scale", "--labels", "--depth-range"),
}  # what does nothing with a format
PICTURES = "Pictures"  # heading in `--help`
RAY_GRID = next(option for option in options_of(RenderingConfig) if option.key == "resolution")  # says what is possible


@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """How pictures are made.

    Args:
        layers: side by side, of LAYERS.
        depth_range: distances between which depth has its colours, world units; None: what a first frame shows.
        grid: columns and rows of one video of all clips; None: a video each.
        neural_rendering_resolution: side of the ray grid; None: as trained.
        scale: how many times larger than they are made.
        labels: whether a strip above each cell says which clip it is, and which layers.
        format: of files, of FORMATS.
        fps: frames a second; None: nobody says.
    """

    layers: tuple[str, ...]
    depth_range: tuple[float, float] | None
    grid: tuple[int, int] | None
    neural_rendering_resolution: int | None
    scale: int
    labels: bool
    format: str
    fps: float | None

    def check(self) -> None:
        """Raise a UserError if an option does nothing, or is not possible."""
        if self.depth_range is not None and "depth" not in self.layers:
            raise UserError("--depth-range does nothing without depth in --layers: give that too, or leave it out.")
        if self.neural_rendering_resolution is not None:
            RAY_GRID.check(self.neural_rendering_resolution)
        if self.format == ARRAYS and SHAPE in self.layers:
            raise UserError("--format=npz holds arrays, and the layer shape is a picture: leave it out of --layers.")
        given = {
            "--fps": self.fps is not None,
            "--grid": self.grid is not None,
            "--scale": self.scale != 1,
            "--labels": self.labels,
            "--depth-range": self.depth_range is not None,
        }
        for flag in IDLE.get(self.format, ()):
            if given[flag]:
                raise UserError(f"{flag} does nothing with --format={self.format}: leave it out.")
        if self.fps is not None:
            self.check_rate(self.fps)

    def check_rate(self, fps: float) -> None:
        """Raise a UserError if the format cannot show so many frames a second."""
        if self.format == "gif" and fps > MAX_GIF_FPS:
            raise UserError(f"--fps={fps:g} is not possible with --format=gif: a GIF has up to {MAX_GIF_FPS}.")

    def sampling(self, *, psi: float, cutoff: int | None, batch: int) -> SamplingOptions:
        """Return how clips are sampled for them, with this truncation, `batch` frames at a time."""
        return SamplingOptions(
            psi=psi,
            cutoff=cutoff,
            neural_rendering_resolution=self.neural_rendering_resolution,
            frames_per_batch=batch,
        )


class GridSize(click.ParamType):
    """A grid, columns x rows, such as `4x3` -> (4, 3)."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return (columns, rows)."""
        if isinstance(value, tuple):
            return value
        columns, _, rows = value.lower().partition("x")
        if not (columns.isdigit() and rows.isdigit() and int(columns) and int(rows)):
            self.fail(f"{value!r} is no grid; write columns x rows, such as 4x4.", param, ctx)
        return int(columns), int(rows)


class DepthRange(click.ParamType):
    """Two distances, such as `2.3,2.9`."""

    name = "NEAR,FAR"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        """Return (near, far)."""
        if isinstance(value, tuple):
            return value
        try:
            near, far = map(float, value.split(","))
        except ValueError:
            self.fail(f"{value!r} are no two numbers; write near,far, such as 2.3,2.9.", param, ctx)
        if not (0 <= near < far < math.inf):
            self.fail(f"{value!r} is no range: the first number must be less than the second.", param, ctx)
        return near, far


OPTIONS = (
    cli.option(
        "--layers",
        group=PICTURES,
        type=cli.NameList("layer", LAYERS),
        show_default=f"rgb; of npz, {','.join(FRAME_LAYERS)}",
        help="Pictures side by side, of rgb,depth,normals,shape; shape: the mesh in grey, under a light.",
    ),
    cli.option(
        "--depth-range",
        group=PICTURES,
        type=DepthRange(),
        show_default="what the first frame of a clip shows",
        help="Distances between which depth has its colours, world units.",
    ),
    cli.option(
        "--grid",
        group=PICTURES,
        type=GridSize(),
        metavar="WxH",
        help="One video of columns x rows clips instead of one video each.",
    ),
    cli.option(
        "--neural-rendering-resolution",
        group=PICTURES,
        type=int,
        show_default="as trained",
        help="Side of the ray grid.",
    ),
    cli.option(
        "--scale",
        group=PICTURES,
        type=click.IntRange(1, MAX_SCALE),
        default=1,
        help="How many times larger pictures are shown than the model makes them.",
    ),
    cli.option(
        "--labels", group=PICTURES, is_flag=True, help="A strip above each clip with its seeds, and names of layers."
    ),
    cli.option(
        "--format",
        group=PICTURES,
        type=click.Choice(FORMATS),
        default=FORMATS[0],
        help="mp4, webm and gif are videos; png: a folder of frames; npz: arrays of layers, cameras and times.",
    ),
    cli.option(
        "--fps",
        group=PICTURES,
        type=click.FloatRange(MIN_FPS, MAX_FPS),
        show_default=f"{DEFAULT_FPS:g}; of latents, their own",
        help="Frames per second.",
    ),
)


def picture_options(command: Callable) -> Callable:
    """Declare the options; the command gets `shown`, PictureOptions that are possible."""

    @functools.wraps(command)
    def with_pictures(*args: Any, **flags: Any) -> Any:
        own = {field.name: flags.pop(field.name) for field in fields(PictureOptions)}
        if own["layers"] is None:
            own["layers"] = FRAME_LAYERS if own["format"] == ARRAYS else ("rgb",)
        shown = PictureOptions(**own)
        shown.check()
        return command(*args, shown=shown, **flags)

    return cli.together(*OPTIONS)(with_pictures)
