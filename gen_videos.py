"""Make videos from a snapshot: frames, depth, normals and shapes of seeds, seen by any cameras."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch
from tqdm import tqdm

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.files import read_json
from dnnlib.video import write_video
from torch_utils import custom_ops, runtime
from training.cameras import CAMERA_DIM, frontal_label, orbit_labels, parse_label, resample_labels
from training.checkpoints.opener import load_generator
from training.checkpoints.snapshots import Snapshot
from training.sampling import mesh, pictures
from training.sampling.clips import PAPER_FRAMES, ClipSpec, SamplingOptions, clip_densities, clip_spec, generate

LAYERS = ("rgb", "depth", "normals")


@dataclass(frozen=True)
class Clip:
    """One clip that was asked for."""

    seed: int
    motion_seed: int
    spec: ClipSpec

    @property
    def name(self) -> str:
        """Of its files."""
        motion = f"-motion{self.motion_seed:04d}" if self.motion_seed != self.seed else ""
        return f"seed{self.seed:04d}{motion}"


class GridSize(click.ParamType):
    """`4x3`: columns x rows."""

    name = "WxH"

    def convert(self, value, param, ctx):
        """-> (columns, rows)."""
        if isinstance(value, tuple):
            return value
        columns, _, rows = value.lower().partition("x")
        if not (columns.isdigit() and rows.isdigit() and int(columns) and int(rows)):
            self.fail(f"{value!r} is no grid; write columns x rows, such as 4x4.", param, ctx)
        return int(columns), int(rows)


class LayerList(click.ParamType):
    """`rgb,depth,normals`."""

    name = "LAYERS"

    def convert(self, value, param, ctx):
        """-> tuple of layer names."""
        names = value if isinstance(value, tuple) else tuple(part.strip() for part in value.split(","))
        unknown = [name for name in names if name not in LAYERS]
        if unknown or not names:
            self.fail(f"{', '.join(unknown) or 'nothing'} is no layer; choose from {', '.join(LAYERS)}.", param, ctx)
        return names


@cli.command()
@click.option("--network", type=click.Path(path_type=Path), required=True, help="network-snapshot-*.pkl")
@click.option("--outdir", type=click.Path(path_type=Path), required=True, help="Where files are written.")
@click.option("--seeds", type=cli.IntList(), default="0-3", help="Appearances, such as 0-15,20.")
@click.option(
    "--motion-seeds",
    type=cli.IntList(),
    help="Motions; every appearance gets each of them. [default: each appearance its own]",
)
@click.option("--trunc", type=float, default=1.0, help="Truncation psi; 1: none, 0: the mean appearance.")
@click.option("--trunc-cutoff", type=click.IntRange(0), help="Rows of latents that are truncated. [default: all]")
@click.option("--frames", type=click.IntRange(1), default=PAPER_FRAMES, help="Frames of each video.")
@click.option("--fps", type=click.FloatRange(min=0, min_open=True), default=25.0, help="Frames per second.")
@click.option(
    "--cameras",
    default="dataset",
    metavar="dataset|frontal|orbit|FILE",
    help="Camera path: real ones kept in the snapshot, frontal, around the head, or a JSON list of labels.",
)
@click.option("--layers", type=LayerList(), default="rgb", help="Pictures side by side: rgb,depth,normals.")
@click.option("--grid", type=GridSize(), help="One video of columns x rows clips instead of one video each.")
@click.option("--shapes", is_flag=True, help="Also a mesh (PLY) of each frame.")
@click.option(
    "--shape-resolution", type=click.IntRange(8, 1024), default=128, help="Points of the mesh's lattice a side."
)
@click.option("--shape-level", type=float, default=10.0, help="Raw density at the mesh's surface.")
@click.option(
    "--neural-rendering-resolution", type=click.IntRange(4, 512), help="Side of the ray grid. [default: as trained]"
)
@click.option("--batch", type=click.IntRange(1), default=1, help="Frames per forward pass.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    help="Of the super-resolution's convolutions; bf16: of the backbone's too.",
)
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:<number>.")
@click.option("--ops", type=click.Choice(["auto", "native", "cuda"]), default="auto", help="Custom CUDA operations.")
def main(
    network: Path,
    outdir: Path,
    seeds: list[int],
    motion_seeds: list[int] | None,
    trunc: float,
    trunc_cutoff: int | None,
    frames: int,
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
):
    """Make videos of a trained generator.

    \b
    python gen_videos.py --network=models/heads.pkl --outdir=out --seeds=0-15 --grid=4x4 --cameras=orbit
    One appearance, several motions:  --seeds=3 --motion-seeds=0-3 --grid=4x1
    One motion, several appearances:  --seeds=0-3 --motion-seeds=7 --grid=4x1
    """
    if not math.isfinite(trunc):
        raise UserError(f"--trunc={trunc} is no finite number.")
    if shapes:
        mesh.require_marching_cubes()  # before the videos, not after
    snapshot = load(network, device, precision, ops)
    clips = [
        Clip(seed, motion, spec(snapshot, seed, motion, cameras, frames)) for seed, motion in pairs(seeds, motion_seeds)
    ]
    options = SamplingOptions(trunc, trunc_cutoff, neural_rendering_resolution, batch)
    paths = (
        write_grid(snapshot, clips, grid, options, layers, fps, outdir)
        if grid
        else write_each(snapshot, clips, options, layers, fps, outdir)
    )
    if shapes:
        paths += write_shapes(snapshot, clips, options, shape_resolution, shape_level, outdir)
    for path in paths:
        click.echo(path)


def load(network: Path, device: str, precision: str, ops: str) -> Snapshot:
    """The snapshot on its device, in its precision."""
    runtime.tune_cpu_allocator()
    runtime.set_threads()
    runtime.disable_tf32()
    custom_ops.set_ops_mode(ops)
    place = runtime.select_device(device)
    dtype, reason = runtime.compute_dtype(precision, place)
    snapshot = load_generator(network, place, dtype)
    for note in [*snapshot.notes, *([reason] if reason else [])]:
        click.echo(note, err=True)
    return snapshot


def pairs(seeds: list[int], motion_seeds: list[int] | None) -> list[tuple[int, int]]:
    """(appearance seed, motion seed) of every clip, appearances outermost."""
    return [(seed, seed) for seed in seeds] if motion_seeds is None else list(itertools.product(seeds, motion_seeds))


def spec(snapshot: Snapshot, seed: int, motion_seed: int, cameras: str, frames: int) -> ClipSpec:
    """What one clip is made from."""
    return clip_spec(snapshot.G, seed, motion_seed, camera_path(snapshot, seed, cameras, frames))


def camera_path(snapshot: Snapshot, seed: int, cameras: str, frames: int) -> torch.Tensor:
    """Cameras [frames, 25]: of the snapshot's bank, frontal, an orbit, or from a file."""
    if cameras == "dataset":
        bank = snapshot.camera_bank
        if len(bank) == 0:
            raise UserError("The snapshot holds no cameras; choose --cameras=frontal, orbit or a file.")
        return resample_labels(bank[seed % len(bank)], frames)
    if cameras == "frontal":
        return frontal_label().expand(frames, -1)
    if cameras == "orbit":
        return orbit_labels(frames)
    if not Path(cameras).exists():
        raise UserError(f"--cameras={cameras} is neither dataset, frontal or orbit nor a file.")
    return resample_labels(read_cameras(Path(cameras)), frames)


def read_cameras(path: Path) -> torch.Tensor:
    """Labels [F, 25] of a JSON list: 25 numbers each, or [name, 25 numbers] as in the published data."""
    rows = read_json(path)
    rows = rows if isinstance(rows, list) else []
    labels = [parse_label(row[1] if isinstance(row, list) and len(row) == 2 else row) for row in rows]
    if not labels or any(label is None for label in labels):
        raise UserError(f"{path} is no camera path: expected a JSON list of labels of {CAMERA_DIM} finite numbers.")
    return torch.from_numpy(np.stack(labels))


def cells(snapshot: Snapshot, clip: Clip, options: SamplingOptions, layers: tuple[str, ...]) -> Iterator[torch.Tensor]:
    """Frames uint8 [3, R, R * len(layers)] of a clip, one at a time."""
    for out in generate(snapshot.G, clip.spec, options):
        drawn = {"rgb": pictures.to_uint8(out["image"]), **pictures.depth_layers(out, snapshot.G.config)}
        yield from torch.cat([drawn[layer].cpu() for layer in layers], dim=3)


def write_each(
    snapshot: Snapshot,
    clips: list[Clip],
    options: SamplingOptions,
    layers: tuple[str, ...],
    fps: float,
    outdir: Path,
) -> list[Path]:
    """One video per clip."""
    paths = [outdir / f"{clip.name}.mp4" for clip in clips]
    with tqdm(total=sum(len(clip.spec.times) for clip in clips), unit="frame", dynamic_ncols=True) as bar:
        for clip, path in zip(clips, paths, strict=True):
            frames = (frame.permute(1, 2, 0).numpy() for frame in cells(snapshot, clip, options, layers))
            write_video(path, counted(frames, bar), fps)
    return paths


def write_grid(
    snapshot: Snapshot,
    clips: list[Clip],
    size: tuple[int, int],
    options: SamplingOptions,
    layers: tuple[str, ...],
    fps: float,
    outdir: Path,
) -> list[Path]:
    """One video of all clips."""
    columns, rows = size
    if len(clips) != columns * rows:
        raise UserError(
            f"--grid={columns}x{rows} has {columns * rows} places but there are {len(clips)} clips: "
            "change --grid, --seeds or --motion-seeds."
        )
    runs = [cells(snapshot, clip, replace(options, frames_per_batch=1), layers) for clip in clips]
    with tqdm(total=len(clips) * len(clips[0].spec.times), unit="frame", dynamic_ncols=True) as bar:
        together = zip(*(counted(run, bar) for run in runs), strict=True)
        frames = (pictures.image_grid(torch.stack(frame), columns) for frame in together)
        path = outdir / "grid.mp4"
        write_video(path, frames, fps)
    return [path]


def write_shapes(
    snapshot: Snapshot, clips: list[Clip], options: SamplingOptions, resolution: int, level: float, outdir: Path
) -> list[Path]:
    """A mesh for every frame of every clip, in world units: shapes/<clip>/frame000.ply."""
    paths = []
    for clip in clips:
        side = snapshot.config.generator.rendering.box_side
        densities = clip_densities(snapshot.G, clip.spec, options)
        for index, density in enumerate(tqdm(densities, total=len(clip.spec.times), unit="mesh", dynamic_ncols=True)):
            sigma = mesh.density_lattice(density, resolution, side, next(snapshot.G.parameters()).device)
            vertices, faces = mesh.density_grid_to_mesh(sigma, level, side)
            paths.append(outdir / "shapes" / clip.name / f"frame{index:03d}.ply")
            mesh.write_ply(paths[-1], vertices, faces)
    return paths


def counted(frames: Iterator, bar: tqdm) -> Iterator:
    """The same frames, each ticking the progress bar."""
    for frame in frames:
        bar.update()
        yield frame


if __name__ == "__main__":
    main()
