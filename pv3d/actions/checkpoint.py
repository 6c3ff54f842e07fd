"""`checkpoint_tool.py`: what is inside checkpoints, and copies of them in other forms."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
from pathlib import Path

import click

from dnnlib import cli
from dnnlib.files import refuse_existing
from pv3d import publishing
from pv3d.model_card import GAP, About
from training.checkpoints import sources
from training.checkpoints.inspection import inspection
from training.checkpoints.safetensors import export_snapshot, import_snapshot
from training.checkpoints.snapshots import compact_snapshot


def inspect(*, path: str) -> None:
    """Print what is inside a checkpoint."""
    lines = inspection(located(path))
    click.echo("\n".join(lines))  # all, or in case of damage none


def export(*, source: str, dest: Path) -> None:
    """Write a snapshot as safetensors and JSON."""
    export_snapshot(located(source), dest)
    click.echo(f"{dest}\n{dest.with_suffix('.json')}")


def import_(*, source: Path, dest: Path) -> None:
    """Write safetensors and JSON as a snapshot."""
    refuse_existing(dest)
    import_snapshot(source, dest)
    click.echo(dest)


def compact(*, source: str, dest: Path) -> None:
    """Write a snapshot in half precision, without G."""
    refuse_existing(dest)
    compact_snapshot(located(source), dest)


def publish(
    *,
    source: str,
    outdir: Path,
    name: str | None,
    license: str | None,
    trained_on: str | None,
    cannot: str | None,
    scores: Path | None,
    preview: list[int],
) -> None:
    """Write the folder of a model to publish."""
    about = About(name=name or outdir.absolute().name, license=license, trained_on=trained_on, cannot=cannot)
    gaps = publishing.publish(located(source), outdir, about, scores=scores, preview=preview)
    click.echo(outdir)
    if gaps:
        count = "one gap" if gaps == 1 else f"{gaps} gaps"
        click.echo(f"{outdir / publishing.CARD} has {count} for you to fill in: look for {GAP}", err=True)


def located(source: str) -> Path:
    """Return the file of a checkpoint, called as of `sources.found`; say which it is unless its name does."""
    found = sources.found(source)
    cli.print_notes(found.notes)
    return found.path
