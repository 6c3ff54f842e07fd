"""What the commands of edit_videos.py begin and end with: a model that is loaded, and files that are made."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import torch

from applications.jobs import Session
from applications.options import COLUMNS, USUAL_OUTPUT, Output
from applications.showing import strips_of
from dnnlib import cli
from dnnlib.files import remove_unfinished
from dnnlib.locks import alone_in
from dnnlib.progress import Counter
from torch_utils.startup import prepared_machine
from training.camera_checks.judgement import judge
from training.sampling.camera_paths import read_cameras
from training.sampling.clips import STATIC
from training.sampling.frame_files import uneven_times
from training.sampling.options import KINDS
from training.sampling.records import Product

Plain = dict[str, Any]


@contextlib.contextmanager
def opened(flags: Plain, cameras: str | torch.Tensor = "own") -> Iterator[Session]:
    """Load the model of the options `model_options`; say what there is to say about it, and about a path [F, 25]."""
    names = ("device", "ops", "precision")
    with prepared_machine(**{name: flags[name] for name in names}) as machine:
        session = Session.open(
            flags["network"],
            flags["outdir"],
            machine,
            batch=flags["batch"],
            recompute=flags["recompute"],
            detectors=flags["detectors"],
            output=Output(**{name: flags[name] for name in vars(USUAL_OUTPUT) if name in flags}),
        )
        cli.print_notes([*session.notes, *([STATIC] if session.G.config.is_static else [])])
        if session.output.labels and "file" in flags:  # before latents are searched for
            scale = session.output.scale
            strips_of(COLUMNS, session.config.generator.img_resolution * scale, scale)
        if isinstance(cameras, torch.Tensor):
            doubt_cameras(session, cameras, "the file of --cameras")
        with alone_in(session.outdir, "wait for it, or choose another --outdir"):
            remove_unfinished(session.outdir)  # of starts that were killed
            yield session


def doubt_cameras(session: Session, cameras: torch.Tensor, where: str) -> None:
    """Warn of cameras [T, 25] that look wrong for a model; `where` says which."""
    warning = judge(cameras.numpy(), session.config.generator.rendering).warning(where)
    if warning:
        click.echo(f"Warning: {warning}", err=True)


def camera_kind(cameras: str) -> str | torch.Tensor:
    """Return a kind of camera path, or the path [F, 25] of a file."""
    return cameras if cameras in ("own", *KINDS) else read_cameras(Path(cameras))


def make(products: Sequence[Product]) -> None:
    """Make what is not there yet; print the names of all files."""
    for product in products:
        product.is_made()  # refuses, before any work, what is in the way
    cli.print_notes(dict.fromkeys(filter(None, map(_unevenness, products))))
    with Counter(sum(product.frames for product in products), unit="frame") as counter:
        for product in products:
            product.make(counter)
    for product in products:
        for path in product.files():
            click.echo(path)


def _unevenness(product: Product) -> str | None:
    """Return a sentence if the frames of a file cannot all be shown for the same time."""
    fps = product.options().get("fps")
    return None if fps is None else uneven_times(product.path.suffix[1:], fps)
