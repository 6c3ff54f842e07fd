"""`gen_videos.py`: load a model, and make what is not there yet of its videos and meshes."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click
import torch

from applications.latents import Latents, digest_of, digest_of_latents, load_latents, tuned_generator
from dnnlib.errors import UserError
from dnnlib.files import remove_unfinished, with_checksum
from dnnlib.progress import Counter
from torch_utils.startup import Machine, prepared_machine
from training.camera_checks.judgement import judge
from training.checkpoints import sources
from training.checkpoints.opener import load_generator
from training.checkpoints.snapshots import Snapshot
from training.sampling import frame_files, mesh, records
from training.sampling.camera_paths import read_cameras
from training.sampling.clip_options import ClipOptions
from training.sampling.clips import slow_motion
from training.sampling.drawing import Drawing, Given
from training.sampling.options import DEFAULT_FPS, KINDS, PAPER_FRAMES, MeshFiles, Shape
from training.sampling.picture_options import PictureOptions
from training.sampling.records import Product

Work = dict[str, Callable[[], Iterator[Product]]]  # products by the unit that is counted


def run(
    *,
    network: str,
    outdir: Path,
    wanted: ClipOptions,
    shown: PictureOptions,
    shape: Shape,
    mesh_files: MeshFiles | None,
    batch: int,
    precision: str,
    device: str,
    ops: str,
) -> None:
    """Do what the options of `gen_videos.py` ask for."""
    if mesh_files is not None:
        mesh.require_packages()  # before the videos, not after
    cameras = wanted.cameras
    path = cameras if cameras is None or cameras in KINDS else read_cameras(Path(cameras))
    with prepared_machine(device=device, ops=ops, precision=precision) as machine:
        drawing, notes = drawing_of(
            network, outdir, wanted=wanted, shown=shown, shape=shape, path=path, machine=machine, batch=batch
        )
        for note in notes:
            click.echo(note, err=True)
        if outdir.is_dir():
            remove_unfinished(outdir)  # of starts that were killed
        make(work_of(drawing, shown.grid, mesh_files))


# --- What is made ----------------------------------------------------------------------------------------------------


def drawing_of(
    network: str,
    outdir: Path,
    *,
    wanted: ClipOptions,
    shown: PictureOptions,
    shape: Shape,
    path: str | torch.Tensor | None,
    machine: Machine,
    batch: int,
) -> tuple[Drawing, list[str]]:
    """Load the model, and return what is drawn of it, and sentences for the user.

    Args:
        path: of cameras: one of KINDS, or [F, 25] of a file; None: nobody says.

    Raises:
        UserError: there is no such model, or latents have no motion or appearance for so many frames.
    """
    source = sources.found(network)
    # Training may put a better one into its place meanwhile.
    snapshot, checksum = with_checksum(source.path, lambda file: load_generator(file, machine.device, machine.dtype))
    G = snapshot.G
    found = None if wanted.latents is None else load_latents(wanted.latents, G, digest_of(G))
    if path is None:
        path = "dataset" if found is None else found.cameras
    frames = wanted.frames or natural_length(wanted, found, path)
    if found is not None:
        require_length(found, wanted.motion_seeds, frames, wanted.latents)
    fps = shown.fps or (DEFAULT_FPS if found is None else found.fps)
    shown.check_rate(fps)
    drawing = Drawing(
        G=G if found is None else tuned_generator(G, found),
        bank=snapshot.camera_bank,
        checksum=checksum,
        precision=machine.number_format,
        clips=wanted.clips,
        given=None if found is None else Given(spec=found.spec(), digest=digest_of_latents(found)),
        cameras=path,
        orbit=wanted.orbit,
        frames=frames,
        sampling=shown.sampling(psi=wanted.trunc, cutoff=wanted.trunc_cutoff, batch=batch),
        layers=shown.layers,
        shape=shape,
        depth_range=shown.depth_range,
        scale=shown.scale,
        labels=shown.labels,
        format=shown.format,
        fps=fps,
        software=records.software(machine.device),
        outdir=outdir,
    )
    about: list[str | None] = [
        *source.notes,
        *snapshot.notes,
        *machine.notes,
        *doubts(snapshot, path, wanted.cameras, frames),
    ]
    about.append(frame_files.uneven_times(shown.format, fps))
    return drawing, [note for note in about if note]


def natural_length(wanted: ClipOptions, found: Latents | None, path: str | torch.Tensor) -> int:
    """Return how many frames a video has where nobody says: those of latents, or of a camera path [F, 25]."""
    if found is not None and len(found) > 1:
        return len(found)
    if not isinstance(path, str) and len(path) > 1:
        return len(path)
    return PAPER_FRAMES * (len(wanted.appearances) if wanted.interpolate else 1)


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
