"""Looks into checkpoints and rewrites them: `inspect`, `export` and `import` as safetensors, `compact`."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
from pathlib import Path
from typing import Any

import click

from dnnlib import cli
from dnnlib.files import require_file
from torch_utils import checkpoint
from torch_utils.pickles import reader
from torch_utils.pickles.report import report, text
from training.checkpoints import safetensors
from training.checkpoints.foreign import origin
from training.checkpoints.safetensors import export_snapshot, import_snapshot
from training.checkpoints.snapshots import compact_snapshot


@cli.group()
def main() -> None:
    """Look into checkpoints, make them smaller, and take them to other programs and back."""


@main.command()
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
def inspect(path: Path) -> None:
    """Print what is inside a checkpoint: header, options, every tensor, totals; nothing in it is run.

    FILE is a snapshot, a training state, a safetensors export, a checkpoint of the official PV3D or a pickle of EG3D.
    """
    path = require_file(path, "checkpoint")
    with checkpoint._readable(path):
        kind, content, version = _looked_into(path)
        size = path.stat().st_size
        lines = [f"{path}: {text(kind)}{version}, {size:,} bytes", *report(content, checkpoint.MAX_GROWTH * size)]
    click.echo("\n".join(lines))  # all, or in case of damage none


def _looked_into(path: Path) -> tuple[str, dict[str, Any], str]:
    """What a file is, what it holds, and a note on its version."""
    if path.suffix == safetensors.SUFFIX:
        return "safetensors", safetensors.read_safetensors(path), ""
    content = reader.parse(path)
    kind = origin(content)
    return (
        (kind, content, "")
        if kind
        else (*checkpoint._unwrapped(content, path), f", checkpoint version {checkpoint.VERSION}")
    )


@main.command("export")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("dest", type=click.Path(path_type=Path))
def export_command(source: Path, dest: Path) -> None:
    """Write the snapshot SOURCE as DEST (NAME.safetensors) and NAME.json."""
    export_snapshot(source, dest)
    click.echo(f"{dest}\n{dest.with_suffix('.json')}")


@main.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("dest", type=click.Path(path_type=Path))
def import_command(source: Path, dest: Path) -> None:
    """Write SOURCE (NAME.safetensors, with NAME.json beside it) as the snapshot DEST."""
    import_snapshot(source, dest)
    click.echo(dest)


@main.command("compact")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("dest", type=click.Path(path_type=Path))
def compact_command(source: Path, dest: Path):
    """Write snapshot SOURCE to DEST a third the size, fit to be shared: in half precision, without G."""
    compact_snapshot(source, dest)


if __name__ == "__main__":
    main()
