"""Make videos from a snapshot: frames, depth, normals and shapes of seeds, seen by any cameras."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch

from dnnlib import cli
from dnnlib.cli import FRAME_RATE, PATH
from dnnlib.errors import UserError
from dnnlib.options import options_of
from dnnlib.progress import Counter, counted
from dnnlib.video import write_video
from torch_utils.machine_options import MACHINE, machine_options
from torch_utils.startup import prepared_machine
from training.camera_checks.judgement import judge
from training.checkpoints.opener import load_generator
from training.checkpoints.snapshots import Snapshot
from training.config import RenderingConfig
from training.sampling import mesh, pictures
from training.sampling.camera_paths import KINDS, camera_path, read_cameras
from training.sampling.clips import (
    PAPER_FRAMES,
    ClipSpec,
    SamplingOptions,
    clip_densities,
    clip_spec,
    generate,
    slow_motion,
)

LAYERS = ("rgb", "depth", "normals")
# Headings of `--help`.
FILES = "Files"
CLIPS = "Clips"
PICTURES = "Pictures"
MESHES = "Meshes"
RAY_GRID = next(option for option in options_of(RenderingConfig) if option.key == "resolution")  # says what is possible


# --- The command -----------------------------------------------------------------------------------------------------


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


class LayerList(click.ParamType):
    """Names of layers, such as `rgb,depth`."""

    name = "LAYERS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names."""
        if isinstance(value, tuple):
            return value
        names = tuple(part.strip() for part in value.split(","))
        unknown = [name for name in names if name not in LAYERS]
        if unknown:
            self.fail(f"{', '.join(unknown) or 'nothing'} is no layer; choose from {', '.join(LAYERS)}.", param, ctx)
        return names


@cli.command()
@cli.option("--network", group=FILES, type=PATH, required=True, help="network-snapshot-*.pkl")
@cli.option("--outdir", group=FILES, type=PATH, required=True, help="Where files are written.")
@cli.option("--seeds", group=CLIPS, type=cli.IntList(), default="0-3", help="Appearances, such as 0-15,20.")
@cli.option(
    "--motion-seeds",
    group=CLIPS,
    type=cli.IntList(),
    show_default="each appearance its own",
    help="Motions; every appearance gets each of them.",
)
@cli.option(
    "--trunc",
    group=CLIPS,
    type=float,
    default=SamplingOptions.psi,
    help="Truncation psi; 1: none, 0: the mean appearance.",
)
@cli.option(
    "--trunc-cutoff",
    group=CLIPS,
    type=click.IntRange(0),
    show_default="all",
    help="Rows of latents that are truncated.",
)
@cli.option(
    "--frames",
    group=CLIPS,
    type=click.IntRange(1),
    show_default=f"as many as a file of cameras has, else {PAPER_FRAMES}",
    help="Frames of each video; a camera path of another length is resampled.",
)
@cli.option("--fps", group=CLIPS, type=FRAME_RATE, default=25.0, help="Frames per second.")
@cli.option(
    "--cameras",
    group=CLIPS,
    default="dataset",
    metavar="PATH",
    help="Camera path: dataset (real ones kept in the snapshot), frontal, orbit (around the head), or a file with a "
    "JSON list of labels.",
)
@cli.option(
    "--layers", group=PICTURES, type=LayerList(), default="rgb", help="Pictures side by side, of rgb,depth,normals."
)
@cli.option(
    "--grid",
    group=PICTURES,
    type=GridSize(),
    metavar="WxH",
    help="One video of columns x rows clips instead of one video each.",
)
@cli.option(
    "--neural-rendering-resolution",
    group=PICTURES,
    type=int,
    show_default="as trained",
    help="Side of the ray grid.",
)
@cli.option("--shapes", group=MESHES, is_flag=True, help="Also a mesh (PLY) of each frame.")
@cli.option(
    "--shape-resolution",
    group=MESHES,
    type=click.IntRange(8, 1024),
    default=128,
    help="Points of the mesh's lattice a side.",
)
@cli.option("--shape-level", group=MESHES, type=float, default=10.0, help="Raw density at the mesh's surface.")
@cli.option("--batch", group=MACHINE, type=click.IntRange(1), default=1, help="Frames per forward pass.")
@machine_options("device", "ops", "precision")
def main(
    network: Path,
    outdir: Path,
    seeds: list[int],
    motion_seeds: list[int] | None,
    trunc: float,
    trunc_cutoff: int | None,
    frames: int | None,
    fps: float,
    cameras: str,
    layers: tuple[str, ...],
    grid: tuple[int, int] | None,
    shapes: bool,
    shape_resolution: int,
    shape_level: float,
    neural_rendering_resolution: int | None,
    batch: int,
    precision: str,
    device: str,
    ops: str,
) -> None:
    """Make videos of a trained generator.

    \b
    python gen_videos.py --network=models/heads.pkl --outdir=out --seeds=0-15 --grid=4x4 --cameras=orbit
    One appearance, several motions:  --seeds=3 --motion-seeds=0-3 --grid=4x1
    One motion, several appearances:  --seeds=0-3 --motion-seeds=7 --grid=4x1
    """
    if neural_rendering_resolution is not None:
        RAY_GRID.check(neural_rendering_resolution)
    if shapes:
        mesh.require_marching_cubes()  # before the videos, not after
    path = cameras if cameras in KINDS else read_cameras(Path(cameras))
    if frames is None:
        frames = PAPER_FRAMES if isinstance(path, str) else len(path)
    with prepared_machine(device=device, ops=ops, precision=precision) as machine:
        snapshot = load_generator(network, machine.device, machine.dtype)
        for note in (*snapshot.notes, *machine.notes):
            click.echo(note, err=True)
        if not isinstance(path, str):
            warn_of_cameras(path, cameras, snapshot)
        clips = []
        for seed, motion_seed in seed_pairs(seeds, motion_seeds):
            labels = camera_path(snapshot.camera_bank, seed, path, frames)
            spec = clip_spec(snapshot.G, seed, motion_seed, labels)
            clips.append(Clip(seed=seed, motion_seed=motion_seed, spec=spec))
        slowed = slow_motion(snapshot.G, snapshot.config.training.window, len(clips[0].spec.times))
        if slowed:
            click.echo(slowed, err=True)
        drawing = Drawing(
            snapshot=snapshot,
            clips=clips,
            sampling=SamplingOptions(
                psi=trunc,
                cutoff=trunc_cutoff,
                neural_rendering_resolution=neural_rendering_resolution,
                frames_per_batch=batch,
            ),
            layers=layers,
            fps=fps,
            outdir=outdir,
        )
        paths = drawing.write_grid(*grid) if grid else drawing.write_each()
        if shapes:
            paths += drawing.write_meshes(shape_resolution, shape_level)
    for written in paths:
        click.echo(written)


# --- Clips -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A clip that was asked for."""

    seed: int
    motion_seed: int
    spec: ClipSpec

    @property
    def name(self) -> str:
        """The name of its files."""
        if self.motion_seed == self.seed:
            return f"seed{self.seed:04d}"
        return f"seed{self.seed:04d}-motion{self.motion_seed:04d}"


def seed_pairs(seeds: list[int], motion_seeds: list[int] | None) -> list[tuple[int, int]]:
    """Return (appearance seed, motion seed) of every clip, appearances outermost."""
    if motion_seeds is None:
        return [(seed, seed) for seed in seeds]
    return list(itertools.product(seeds, motion_seeds))


def warn_of_cameras(labels: torch.Tensor, where: str, snapshot: Snapshot) -> None:
    """Print one line if labels [F, 25] of a file look wrong for this model."""
    warning = judge(labels.numpy(), snapshot.config.generator.rendering).warning(where)
    if warning:
        click.echo(f"Warning: {warning}", err=True)


# --- Files -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Clips of one generator, how their frames are drawn, and where they are written."""

    snapshot: Snapshot
    clips: list[Clip]
    sampling: SamplingOptions
    layers: tuple[str, ...]
    fps: float
    outdir: Path

    def frames(self, clip: Clip, sampling: SamplingOptions) -> Iterator[torch.Tensor]:
        """Yield frames uint8 [3, R, R * layers] of a clip, one at a time."""
        G = self.snapshot.G
        for out in generate(G, clip.spec, sampling):
            drawn = {"rgb": pictures.to_uint8(out["image"]), **pictures.depth_layers(out, G.config)}
            yield from torch.cat([drawn[layer].cpu() for layer in self.layers], dim=3)

    def progress(self, unit: str) -> Counter:
        """Return a counter of all frames."""
        return Counter(sum(len(clip.spec.times) for clip in self.clips), unit=unit)

    def write_each(self) -> list[Path]:
        """Write one video per clip."""
        paths = [self.outdir / f"{clip.name}.mp4" for clip in self.clips]
        with self.progress("frame") as counter:
            for clip, path in zip(self.clips, paths, strict=True):
                drawn = counted(self.frames(clip, self.sampling), counter)
                write_video(path, (frame.permute(1, 2, 0).numpy() for frame in drawn), self.fps)
        return paths

    def write_grid(self, columns: int, rows: int) -> list[Path]:
        """Write one video of all clips."""
        if len(self.clips) != columns * rows:
            raise UserError(
                f"--grid={columns}x{rows} has {columns * rows} places but there are {len(self.clips)} clips: "
                "change --grid, --seeds or --motion-seeds."
            )
        path = self.outdir / "grid.mp4"
        sampling = replace(self.sampling, frames_per_batch=1)  # all clips are in memory at once
        with self.progress("frame") as counter:
            runs = [counted(self.frames(clip, sampling), counter) for clip in self.clips]
            moments = zip(*runs, strict=True)
            write_video(path, (pictures.image_grid(torch.stack(cells), columns) for cells in moments), self.fps)
        return [path]

    def write_meshes(self, resolution: int, level: float) -> list[Path]:
        """Write a mesh for every frame of every clip, in world units: shapes/<clip>/frame000.ply."""
        paths = []
        G = self.snapshot.G
        side = self.snapshot.config.generator.rendering.box_side
        device = next(G.parameters()).device
        with self.progress("shape") as counter:
            for clip in self.clips:
                densities = counted(clip_densities(G, clip.spec, self.sampling), counter)
                for index, density in enumerate(densities):
                    sigma = mesh.density_lattice(density, resolution, side, device)
                    vertices, faces = mesh.density_grid_to_mesh(sigma, level, side)
                    path = self.outdir / "shapes" / clip.name / f"frame{index:03d}.ply"
                    mesh.write_ply(path, vertices, faces)
                    paths.append(path)
        return paths


if __name__ == "__main__":
    main()
