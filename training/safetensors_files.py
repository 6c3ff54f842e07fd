"""Snapshots as safetensors, for other programs: `NAME.safetensors` holds the tensors, `NAME.json` everything else.

Weights are called `<network>.<name in it>` (`G_ema.backbone.mapping.w_avg`), other tensors by their own name
(`camera_bank`). Both ways are exact to the bit. The JSON names the tensors' sha256, so that files of two snapshots are
not taken for one.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import click
import torch

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.files import atomic_path, read_json, require_file, shown, write_json
from torch_utils import checkpoint
from training.config import from_dict, validate
from training.snapshots import NAMES, config_of, parts

FORMAT = "pv3d-snapshot"
VERSION = 1
SUFFIX = ".safetensors"
CHUNK_BYTES = 1 << 20


def export_snapshot(source: str | os.PathLike, dest: str | os.PathLike) -> None:
    """Writes a snapshot as `dest` (NAME.safetensors) and NAME.json beside it, each atomically.

    Raises:
        UserError: the source is no snapshot; dest has another suffix; no space, no permission; no `safetensors`.
    """
    dest, library = _named(dest), _require_safetensors()
    payload = parts(checkpoint.load(source, "snapshot"), source)
    config_of(payload, source)
    tensors, rest = _split(payload, Path(source))
    try:
        content = library.save(tensors, metadata={"format": "pt"})  # what other readers ask for
    except (LookupError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{source} holds tensors that safetensors cannot ({shown(str(error))}).") from error
    header = {"format": FORMAT, "version": VERSION, "sha256": hashlib.sha256(content).hexdigest(), **rest}
    with atomic_path(dest) as temporary:  # here: its own writer hides a full disk
        temporary.write_bytes(content)
    write_json(dest.with_suffix(".json"), header)


def import_snapshot(source: str | os.PathLike, dest: str | os.PathLike) -> None:
    """Writes the snapshot that `export_snapshot` made two files of. Whoever opens it checks that its weights fit.

    Raises:
        UserError: a file is missing, damaged, not ours, of another version, or its pair is of another snapshot.
    """
    source, library = _named(source), _require_safetensors()
    require_file(source, "safetensors file")
    rest = _read_header(source)
    try:
        tensors = library.load_file(source)
    except Exception as error:  # its own SafetensorError, and whatever damage leads torch to
        raise UserError(f"{source} is damaged, or no safetensors file: export the snapshot again.") from error
    checkpoint.save(dest, parts(_join(tensors, rest, source), source), "snapshot")


def _require_safetensors():
    """safetensors for torch, an optional dependency; UserError without it."""
    try:
        import safetensors.torch
    except ImportError as error:
        raise UserError(
            "Safetensors need the package of this name: install it with `pip install safetensors`."
        ) from error
    return safetensors.torch


def _named(path: str | os.PathLike) -> Path:
    if Path(path).suffix != SUFFIX:
        raise UserError(f"{path} does not end in {SUFFIX}: give such a name; its .json lies beside it.")
    return Path(path)


def _split(payload: dict[str, Any], path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """A snapshot's tensors by their names in the file, and the rest."""
    named = dict(payload)
    for network, weights in named.pop("weights").items():
        if not isinstance(weights, dict):
            raise UserError(f"{path} is a damaged snapshot: it holds no weights of {network}.")
        named |= {f"{network}.{name}": value for name, value in weights.items()}
    tensors = {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}
    rest = {name: value for name, value in named.items() if name not in tensors}
    wrong = [str(name) for name in rest if "." in str(name)]
    if wrong:
        raise UserError(f"{path} is a damaged snapshot: {shown(wrong[0])} is no tensor.")
    return {name: value.contiguous() for name, value in tensors.items()}, rest


def _join(tensors: dict[str, torch.Tensor], rest: dict[str, Any], path: Path) -> dict[str, Any]:
    """Inverse of `_split`."""
    payload: dict[str, Any] = {**rest, "weights": {}}
    for name, value in tensors.items():
        network, dot, own = name.partition(".")
        if dot and network not in NAMES:
            raise UserError(
                f"{path} holds {shown(name)}, which is of none of {', '.join(NAMES)}: export the snapshot again."
            )
        if dot:
            payload["weights"].setdefault(network, {})[own] = value
        else:
            payload[name] = value
    return payload


def _read_header(tensors: Path) -> dict[str, Any]:
    """What is not a tensor: the options, valid ones, and the progress."""
    path = tensors.with_suffix(".json")
    header = read_json(path)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UserError(f"{path} does not describe a snapshot: give files that `export` wrote.")
    if header.get("version") != VERSION:
        raise UserError(
            f"{path} has version {shown(repr(header.get('version')))}, but this code reads version "
            f"{VERSION}: export the snapshot again, or use the release that wrote it."
        )
    if header.get("sha256") != checksum(tensors):
        raise UserError(f"{path} belongs to other tensors than those in {tensors}: copy both files again.")
    rest = {name: value for name, value in header.items() if name not in ("format", "version", "sha256")}
    try:
        validate(from_dict(rest.get("config")))
    except UserError as error:
        raise UserError(f"{path} does not fit this version: {error}") from error
    return rest


def checksum(path: Path) -> str:
    """sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


@cli.group()
def main() -> None:
    """Snapshots to safetensors and JSON, and back."""


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


if __name__ == "__main__":
    main()
