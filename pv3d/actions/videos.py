"""`gen_videos.py`: load a model, and make what is not there yet of its videos and meshes."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import compress, islice
from pathlib import Path

import click
import torch

from applications.latents import Latents, digest_of, digest_of_latents, load_latents, tuned_generator
from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.files import remove_unfinished, with_checksum
from dnnlib.progress import Counter
from torch_utils import distributed
from torch_utils.startup import Machine, prepared_machine
from training.camera_checks.judgement import judge
from training.cameras import frontal_label
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
    with prepared_machine(device=device, ops=ops, precision=precision, join=True) as machine:
        # All processes load the same one, whatever training writes meanwhile.
        source = distributed.from_main(partial(sources.found, network))
        with distributed.fail_together():
            if mesh_files is not None:
                mesh.require_packages()  # before the videos, not after
            drawing, notes = drawing_of(
                source.path, outdir, wanted=wanted, shown=shown, shape=shape, machine=machine, batch=batch
            )
        distributed.require_same(
            json.dumps([drawing.checksum, drawing.given and drawing.given.digest, drawing.software]),
            "The processes see different snapshots, latents or versions of this software: let all machines share one "
            "folder of each.",
        )
        if distributed.is_main():
            cli.print_notes([*source.notes, *notes])
            if outdir.is_dir():
                remove_unfinished(outdir)  # of starts that were killed
        make(work_of(drawing, shown.grid, mesh_files))


# --- What is made ----------------------------------------------------------------------------------------------------


def drawing_of(
    network: Path,
    outdir: Path,
    *,
    wanted: ClipOptions,
    shown: PictureOptions,
    shape: Shape,
    machine: Machine,
    batch: int,
) -> tuple[Drawing, list[str]]:
    """Load the model, and return what is drawn of it, and sentences for the user.

    Raises:
        UserError: there is no such model, latents have no motion or appearance for so many frames, or an interpolation
            has more appearances than frames.
    """
    cameras = wanted.cameras
    path = cameras if cameras is None or cameras in KINDS else read_cameras(Path(cameras))
    # Training may put a better one into its place meanwhile.
    snapshot, checksum = with_checksum(network, lambda file: load_generator(file, machine.device, machine.dtype))
    G = snapshot.G
    wanted.check_rows(G.num_ws)
    found = None if wanted.latents is None else load_latents(wanted.latents, G, digest_of(G))
    if path is None:
        path = "dataset" if found is None else found.cameras
    frames = wanted.frames or natural_length(wanted, found, path)
    if found is not None:
        require_length(found, wanted.motion_seeds, frames, wanted.latents)
    if wanted.interpolate and frames < len(wanted.appearances):
        raise UserError(
            f"{frames} frames are too few to go through {len(wanted.appearances)} seeds: give more --frames, or fewer "
            "--seeds."
        )
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
        mapped_with=frontal_label() if wanted.mapping_camera == "frontal" else None,
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
    notes = [*snapshot.notes, *machine.notes, *doubts(snapshot, path, wanted.cameras, frames)]
    uneven = frame_files.uneven_times(shown.format, fps)
    return drawing, [*notes, uneven] if uneven else notes


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


# --- Making it -------------------------------------------------------------------------------------------------------


def make(work: Work) -> None:
    """Make what is not there yet, by the unit that is counted; print the names of all files.

    Products are divided among the processes: each is made by one of them. Every process must call it.
    """
    missing = distributed.from_main(partial(missing_of, work))
    for unit, products in work.items():
        make_share(unit, products, missing[unit])
    if not distributed.is_main():
        return
    kept = sum(not is_missing for unit in work for is_missing in missing[unit])
    if kept:
        click.echo(f"{kept} already there, made with the same options.", err=True)
    for products in work.values():
        for product in products():
            for path in product.files():
                click.echo(path)


def missing_of(work: Work) -> dict[str, list[bool]]:
    """Return of each product whether it is to be made. UserError, before any work, if something else is in the way."""
    missing: dict[str, list[bool]] = {}
    others = 0
    for unit, products in work.items():
        missing[unit] = []
        for product in products():
            missing[unit].append(not product.is_made())
            others += missing[unit][-1] and product.path.exists()
    if others:
        click.echo(f"{others} already there, made by another version of the software or device: made anew.", err=True)
    return missing


def make_share(unit: str, products: Callable[[], Iterator[Product]], missing: Sequence[bool]) -> None:
    """Make every n-th missing product, of n processes, in rounds: an error in one ends all after the round.

    The main process counts its own share, and what is there already.
    """
    world = distributed.world_size()
    rounds = math.ceil(sum(missing) / world)
    if world > 1 and sum(missing) == 1 and distributed.is_main():
        click.echo(f"There is one file of {unit}s to make, so one of {world} processes makes it.", err=True)

    def share() -> Iterator[Product]:
        return islice(compress(products(), missing), distributed.rank(), None, world)

    total = sum(product.frames for product in share())
    there = 0
    if distributed.is_main():
        there = sum(product.frames for product, is_missing in zip(products(), missing, strict=True) if not is_missing)
    title = "" if world == 1 else f"process 0 of {world}"
    with Counter(total + there, unit=unit, title=title, silent=not distributed.is_main()) as counter:
        counter.update(there)
        own = share()
        for _ in range(rounds):
            with distributed.fail_together(distributed.patient_group()):
                product = next(own, None)
                if product is not None:
                    product.make(counter)
