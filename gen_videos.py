"""Make videos from a snapshot: frames, depth, normals and shapes of seeds, seen by any cameras."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click
import torch

from applications.latents import Latents, digest_of, digest_of_latents, load_latents, tuned_generator
from applications.options import DEFAULT_FPS
from dnnlib import cli
from dnnlib.cli import PATH
from dnnlib.errors import UserError
from dnnlib.files import remove_unfinished, with_checksum
from dnnlib.progress import Counter
from dnnlib.video import MAX_FPS, MIN_FPS
from torch_utils.machine_options import MACHINE, machine_options
from torch_utils.startup import prepared_machine
from training.camera_checks.judgement import judge
from training.checkpoints.opener import load_generator
from training.checkpoints.snapshots import Snapshot
from training.sampling import mesh, records
from training.sampling.camera_paths import read_cameras
from training.sampling.clips import slow_motion
from training.sampling.drawing import Clips, Drawing, Given, Product
from training.sampling.options import KINDS, PAPER_FRAMES, MeshFiles, Orbit, SamplingOptions, Shape
from training.sampling.picture_options import PictureOptions, picture_options
from training.sampling.shape_options import shape_options

# Headings of `--help`.
FILES = "Files"
CLIPS = "Clips"
DEFAULT_SEEDS = range(4)
ORBIT = "--cameras=orbit: degrees either side of the front."
Work = dict[str, Callable[[], Iterator[Product]]]  # products by the unit that is counted


# --- The command -----------------------------------------------------------------------------------------------------


@cli.command()
@cli.option("--network", group=FILES, type=PATH, required=True, help="network-snapshot-*.pkl")
@cli.option("--outdir", group=FILES, type=PATH, required=True, help="Where files are written.")
@cli.option("--seeds", group=CLIPS, type=cli.IntList(), show_default="0-3", help="Appearances, such as 0-15,20.")
@cli.option("--latents", group=CLIPS, type=PATH, help="Appearance and motion of a file, in place of seeds.")
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
    show_default=f"as many as latents or a file of cameras have, else {PAPER_FRAMES}",
    help="Frames of each video; a camera path of another length is resampled.",
)
@cli.option(
    "--fps",
    group=CLIPS,
    type=click.FloatRange(MIN_FPS, MAX_FPS),
    show_default=f"{DEFAULT_FPS:g}; of latents, their own",
    help="Frames per second.",
)
@cli.option(
    "--cameras",
    group=CLIPS,
    show_default="dataset; of latents, their own",
    metavar="PATH",
    help="Camera path: dataset (real ones kept in the snapshot), shared (one of them for all), frontal, orbit (around "
    "the head), or a file with a JSON list of labels.",
)
@cli.option("--orbit-yaw", group=CLIPS, type=click.FloatRange(-180, 180), show_default=f"{Orbit.yaw:g}", help=ORBIT)
@cli.option("--orbit-pitch", group=CLIPS, type=click.FloatRange(-88, 88), show_default=f"{Orbit.pitch:g}", help=ORBIT)
@picture_options
@shape_options
@cli.option("--batch", group=MACHINE, type=click.IntRange(1), default=1, help="Frames per forward pass.")
@machine_options("device", "ops", "precision")
def main(
    network: Path,
    outdir: Path,
    seeds: list[int] | None,
    latents: Path | None,
    motion_seeds: list[int] | None,
    trunc: float,
    trunc_cutoff: int | None,
    frames: int | None,
    fps: float | None,
    cameras: str | None,
    orbit_yaw: float | None,
    orbit_pitch: float | None,
    shown: PictureOptions,
    shape: Shape,
    mesh_files: MeshFiles | None,
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
    if seeds is not None and latents is not None:
        raise UserError("Give appearances by --seeds or by --latents, not by both.")
    orbit = orbit_of(cameras, orbit_yaw, orbit_pitch)
    if mesh_files is not None:
        mesh.require_packages()  # before the videos, not after
    path = None if cameras is None else cameras if cameras in KINDS else read_cameras(Path(cameras))
    with prepared_machine(device=device, ops=ops, precision=precision) as machine:
        # Training may put a better one into its place meanwhile.
        snapshot, checksum = with_checksum(network, lambda file: load_generator(file, machine.device, machine.dtype))
        found = None if latents is None else load_latents(latents, snapshot.G, digest_of(snapshot.G))
        if path is None:
            path = "dataset" if found is None else found.cameras
        frames = frames or natural_length(found, path)
        if found is not None:
            require_length(found, motion_seeds, frames, latents)
        for note in (*snapshot.notes, *machine.notes, *doubts(snapshot, path, cameras, frames)):
            click.echo(note, err=True)
        drawing = Drawing(
            G=snapshot.G if found is None else tuned_generator(snapshot.G, found),
            bank=snapshot.camera_bank,
            checksum=checksum,
            precision=machine.number_format,
            clips=Clips((seeds or DEFAULT_SEEDS) if found is None else [None], motion_seeds),
            given=None if found is None else Given(spec=found.spec(), digest=digest_of_latents(found)),
            cameras=path,
            orbit=orbit,
            frames=frames,
            sampling=shown.sampling(psi=trunc, cutoff=trunc_cutoff, batch=batch),
            layers=shown.layers,
            shape=shape,
            depth_range=shown.depth_range,
            fps=fps or (DEFAULT_FPS if found is None else found.fps),
            software=records.software(machine.device),
            outdir=outdir,
        )
        if outdir.is_dir():
            remove_unfinished(outdir)  # of starts that were killed
        make(work_of(drawing, shown.grid, mesh_files))


# --- Files -----------------------------------------------------------------------------------------------------------


def orbit_of(cameras: str | None, yaw: float | None, pitch: float | None) -> Orbit:
    """Return how far an orbit goes, in degrees. UserError if that is said, and there is none."""
    given = {name: value for name, value in (("yaw", yaw), ("pitch", pitch)) if value is not None}
    if given and cameras != "orbit":
        raise UserError(
            f"--orbit-{next(iter(given))} does nothing without --cameras=orbit: give that too, or leave it out."
        )
    return Orbit(**given)


def natural_length(found: Latents | None, path: str | torch.Tensor) -> int:
    """Return how many frames a video has where nobody says: those of latents, or of a camera path [F, 25]."""
    if found is not None and len(found) > 1:
        return len(found)
    return PAPER_FRAMES if isinstance(path, str) or len(path) == 1 else len(path)


def require_length(found: Latents, motion_seeds: list[int] | None, frames: int, path: Path | None) -> None:
    """Raise a UserError if latents of so many frames have no motion, or no appearance, for so many others."""
    if len(found) in (1, frames):
        return
    if found.ws.ndim == 3:
        raise UserError(
            f"--frames={frames} is not possible with {path}, whose appearance changes over {len(found)} frames: leave "
            "it out."
        )
    if motion_seeds is None:
        raise UserError(
            f"--frames={frames} is not possible with the motion of {path}, which has {len(found)} frames: leave it "
            "out, or give --motion-seeds."
        )


def doubts(snapshot: Snapshot, path: str | torch.Tensor, where: str | None, frames: int) -> Iterator[str]:
    """Yield sentences if cameras [F, 25] of a file look wrong for this model, or its motion is slowed down."""
    if not isinstance(path, str) and where is not None:
        warning = judge(path.numpy(), snapshot.config.generator.rendering).warning(where)
        if warning:
            yield f"Warning: {warning}"
    slowed = slow_motion(snapshot.G, snapshot.config.training.window, frames)
    if slowed:
        yield slowed


def work_of(drawing: Drawing, grid: tuple[int, int] | None, mesh_files: MeshFiles | None) -> Work:
    """Return what is made: a video a clip or one of all, and meshes if there are to be files of them."""
    work: Work = {"frame": drawing.videos if grid is None else partial(drawing.grid, *grid)}
    if mesh_files is not None:
        work["shape"] = partial(drawing.meshes, mesh_files)
    return work


def make(work: Work) -> None:
    """Make what is not there yet, by the unit that is counted; print the names of all files."""
    others = 0
    for products in work.values():
        for product in products():
            # Refuses, before any work, what is in the way.
            others += not product.is_made() and product.path.exists()
    if others:
        click.echo(f"{others} already there, made by another version of the software or device: made anew.", err=True)
    kept = 0
    for unit, products in work.items():
        with Counter(sum(product.frames for product in products()), unit=unit) as counter:
            for product in products():
                kept += not product.make(counter)
    if kept:
        click.echo(f"{kept} already there, made with the same options.", err=True)
    for products in work.values():
        for product in products():
            for path in product.files():
                click.echo(path)


if __name__ == "__main__":
    main()
