"""Looks into checkpoints and rewrites them: `inspect`, `export` and `import` as safetensors, `publish`, `compact`."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
from pathlib import Path
from typing import Any

import click

from dnnlib import cli
from dnnlib.cli import PATH, SOURCE, IntList
from dnnlib.lazy import lazy_module

action = lazy_module("pv3d.actions.checkpoint")


@cli.group()
def main() -> None:
    """Look into checkpoints, make them smaller, and take them to other programs and back."""


@main.command("inspect")
@click.argument("path", metavar="FILE", type=SOURCE)
def inspect_command(path: str) -> None:
    """Print what is inside a checkpoint: header, options, every tensor, totals; nothing in it is run.

    FILE is a snapshot, a training state, a safetensors export, a checkpoint of the official PV3D or a pickle of EG3D;
    of a run's folder it is the newest snapshot, RUN/best is its best one, and `heads` the model that is shipped.
    """
    action.inspect(path=path)


@main.command("export")
@click.argument("source", type=SOURCE)
@click.argument("dest", type=PATH)
def export_command(source: str, dest: Path) -> None:
    """Write the snapshot SOURCE as DEST (NAME.safetensors) and NAME.json.

    SOURCE may be a run's folder, for its newest snapshot, or RUN/best.
    """
    action.export(source=source, dest=dest)


@main.command("publish")
@click.argument("source", type=SOURCE)
@cli.option("--outdir", type=PATH, required=True, help="A new folder for the files.")
@cli.option("--name", show_default="that of the folder", help="The model's name in its card.")
@cli.option("--license", help="Such as mit or cc-by-4.0.")
@cli.option("--trained-on", metavar="TEXT", help="The data: which videos, of whom, with whose consent.")
@cli.option("--cannot", metavar="TEXT", help="What it cannot do: sides it was not seen from, people it shows badly.")
@cli.option("--scores", type=PATH, help="File of calc_metrics.py --out; its lines of this very snapshot are shown.")
@cli.option("--preview", type=IntList(), default=(), show_default="none", help="Seeds of a moving picture, as 0-3.")
def publish_command(**chosen: Any) -> None:
    """Write SOURCE as a folder to publish: model.safetensors and .json, a card (README.md), SHA256SUMS.

    pv3d.load and --network take the folder. What nobody has said is a gap in the card, marked for you to fill in.
    For a third of the size, publish what `compact` makes (and score that). SOURCE may be a run's folder, or RUN/best.
    """
    action.publish(**chosen)


@main.command("import")
@click.argument("source", type=PATH)
@click.argument("dest", type=PATH)
def import_command(source: Path, dest: Path) -> None:
    """Write SOURCE (NAME.safetensors, with NAME.json beside it) as the snapshot DEST."""
    action.import_(source=source, dest=dest)


@main.command("compact")
@click.argument("source", type=SOURCE)
@click.argument("dest", type=PATH)
def compact_command(source: str, dest: Path) -> None:
    """Write snapshot SOURCE to DEST a third the size, fit to be shared: in half precision, without G.

    SOURCE may be a run's folder, for its newest snapshot, or RUN/best.
    """
    action.compact(source=source, dest=dest)


if __name__ == "__main__":
    main()
