"""Options of a command about pictures: which layers, in which colours, how many side by side, from how many rays."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.options import options_of
from training.config import RenderingConfig
from training.sampling.options import LAYERS, SamplingOptions

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
    """

    layers: tuple[str, ...]
    depth_range: tuple[float, float] | None
    grid: tuple[int, int] | None
    neural_rendering_resolution: int | None

    def check(self) -> None:
        """Raise a UserError if an option does nothing, or is not possible."""
        if self.depth_range is not None and "depth" not in self.layers:
            raise UserError("--depth-range does nothing without depth in --layers: give that too, or leave it out.")
        if self.neural_rendering_resolution is not None:
            RAY_GRID.check(self.neural_rendering_resolution)

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
        default="rgb",
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
)


def picture_options(command: Callable) -> Callable:
    """Declare the options; the command gets `shown`, PictureOptions that are possible."""

    @functools.wraps(command)
    def with_pictures(
        *args: Any,
        layers: tuple[str, ...],
        depth_range: tuple[float, float] | None,
        grid: tuple[int, int] | None,
        neural_rendering_resolution: int | None,
        **others: Any,
    ) -> Any:
        shown = PictureOptions(
            layers=layers,
            depth_range=depth_range,
            grid=grid,
            neural_rendering_resolution=neural_rendering_resolution,
        )
        shown.check()
        return command(*args, shown=shown, **others)

    decorated: Callable = with_pictures
    for option in reversed(OPTIONS):
        decorated = option(decorated)
    return decorated
