"""Options of a command about shapes: meshes, and pictures of them."""

import functools
from collections.abc import Callable
from typing import Any

import click

from dnnlib import cli
from dnnlib.errors import UserError
from training.sampling.options import MESH_FORMATS, SHAPE, MeshFiles, Shape
from training.sampling.picture_options import PictureOptions

MESHES = "Meshes, and the layer shape"  # heading in `--help`

OPTIONS = (
    cli.option(
        "--shapes", group=MESHES, is_flag=True, help="Also a mesh of each frame, in the colours of its pictures."
    ),
    cli.option(
        "--shape-format",
        group=MESHES,
        type=click.Choice(MESH_FORMATS),
        show_default=MeshFiles.format,
        help="Files of meshes.",
    ),
    cli.option(
        "--shape-frames",
        group=MESHES,
        type=cli.IntList(),
        show_default="all",
        help="Frames that get a mesh, such as 0,8,15; the first is 0.",
    ),
    cli.option(
        "--shape-resolution",
        group=MESHES,
        type=click.IntRange(8, 1024),
        show_default=f"{Shape.resolution}",
        help="Points of the mesh's lattice a side.",
    ),
    cli.option(
        "--shape-level",
        group=MESHES,
        type=float,
        show_default="where the first frame shows the surface",
        help="Raw density at the mesh's surface.",
    ),
    cli.option("--all-parts", group=MESHES, is_flag=True, help="Keep what has no connection with the head."),
)


def shape_options(command: Callable) -> Callable:
    """Declare the options; the command gets `shape`, a Shape, and `mesh_files`, MeshFiles or None without --shapes.

    `picture_options` come above them, for a layer may show the shape.
    """

    @functools.wraps(command)
    def with_shape(
        *args: Any,
        shapes: bool,
        shape_format: str | None,
        shape_frames: list[int] | None,
        shape_resolution: int | None,
        shape_level: float | None,
        all_parts: bool,
        shown: PictureOptions,
        **others: Any,
    ) -> Any:
        for name, value in (("format", shape_format), ("frames", shape_frames)):
            if value is not None and not shapes:
                raise UserError(f"--shape-{name} does nothing without --shapes: give that too, or leave it out.")
        decided = {
            "--shape-resolution": shape_resolution is not None,
            "--shape-level": shape_level is not None,
            "--all-parts": all_parts,
        }
        if not shapes and SHAPE not in shown.layers:
            for flag, is_given in decided.items():
                if is_given:
                    raise UserError(
                        f"{flag} does nothing without --shapes or shape in --layers: give one of them, or leave it out."
                    )
        shape = Shape(resolution=shape_resolution or Shape.resolution, level=shape_level, all_parts=all_parts)
        files = MeshFiles(format=shape_format or MeshFiles.format, frames=shape_frames) if shapes else None
        return command(*args, shown=shown, shape=shape, mesh_files=files, **others)

    return cli.together(*OPTIONS)(with_shape)
