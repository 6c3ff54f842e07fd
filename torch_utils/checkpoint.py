"""Checkpoints: written whole or not at all, read without running code from them.

A checkpoint is a `torch.save` file of {format: 'pv3d', kind, version, payload}. The payload holds only plain Python
values (None, bool, int, float, str; lists, tuples and dicts of them) and tensors, so that `weights_only` can read it
anywhere.
"""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import click
import torch

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.files import atomic_path, require_file, storage_error
from torch_utils.checkpoint_report import report, text

FORMAT = 'pv3d'
VERSION = 1
KINDS = {'snapshot': 'a network snapshot (network-snapshot-*.pkl)', 'state': 'a training state (training-state-*.pt)'}


def save(path: str | os.PathLike, payload: dict[str, Any], kind: str) -> None:
    """Write a checkpoint atomically. Tensors are stored as they are, from any device, without their gradient history.

    Args:
        path: the file; its folder is made if need be.
        payload: plain values and tensors under string keys.
        kind: 'snapshot' or 'state'.

    Raises:
        TypeError: the payload holds something else; the message says where. UserError: no space, no permission.
    """
    _check_kind(kind)
    content = {'format': FORMAT, 'kind': kind, 'version': VERSION, 'payload': _plain(payload, 'payload')}
    with atomic_path(path) as temporary:
        try:
            # Through a Python file: torch's own writer says "unexpected pos" where the disk is full.
            with open(temporary, 'wb') as file:
                torch.save(content, file)
        except RuntimeError as error:
            cause = error.__cause__ or error.__context__
            raise (isinstance(cause, OSError) and storage_error(cause, path)) or error from cause


def load(path: str | os.PathLike, kind: str, map_location: str | torch.device = 'cpu') -> dict[str, Any]:
    """Read the payload that `save` wrote as this `kind`, with its tensors on `map_location`.

    Raises:
        UserError: the file is missing, not a checkpoint, damaged, of another kind or of another version.
    """
    _check_kind(kind)
    content = _read(Path(path), map_location)
    if content.get('kind') != kind:
        actual = KINDS.get(content.get('kind'), f'of the unknown kind {content.get("kind")!r}')
        raise UserError(f'{path} is {actual}, but {KINDS[kind]} is needed: give the path of such a file.')
    return content['payload']


def _read(path: Path, map_location: str | torch.device) -> dict[str, Any]:
    """What `save` wrote, of any kind, with its header."""
    path = require_file(path, 'checkpoint')
    _check_container(path)
    try:
        content = torch.load(path, map_location=map_location, weights_only=True)
    except (pickle.UnpicklingError, EOFError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise _not_ours(path) from error
    if not isinstance(content, dict) or content.get('format') != FORMAT or 'payload' not in content:
        raise _not_ours(path)
    if content.get('version') != VERSION:
        raise UserError(f'{path} has checkpoint version {content.get("version")}, but this code reads version '
                        f'{VERSION}: use the release that wrote it, or make the checkpoint again.')
    return content


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f'Unknown checkpoint kind {kind!r}: use one of {", ".join(KINDS)}.')


def _not_ours(path: Path) -> UserError:
    return UserError(f'{path} is not a checkpoint of this software: give a file that train.py wrote.')


def _check_container(path: Path) -> None:
    """Raise UserError unless this is a file of torch.save with intact checksums, which torch does not check."""
    damaged = UserError(f'The checkpoint {path} is damaged or was cut short: copy it again, or use an earlier one.')
    try:
        with open(path, 'rb') as file:
            start = file.read(2)
        if start not in (b'PK', b''):
            raise _not_ours(path)
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise damaged
            members = {name.rpartition('/')[2] for name in archive.namelist()}
        if 'data.pkl' not in members or 'constants.pkl' in members:      # the latter marks TorchScript
            raise _not_ours(path)
    except (zipfile.BadZipFile, EOFError) as error:
        raise damaged from error
    except OSError as error:
        raise UserError(f'Cannot read the checkpoint {path} ({error.strerror}): check the file and its permissions.'
                        ) from error


def _plain(value: Any, where: str) -> Any:
    """A copy of nested containers with detached CPU tensors; TypeError names the first thing that is not plain."""
    kind = type(value)                   # exactly: numpy.float64 is a subclass of float, and must not get in
    if value is None or kind in (bool, int, float, str):
        return value
    if kind in (dict, OrderedDict):
        for key in value:
            if type(key) not in (int, str):
                raise TypeError(f'{where} has the key {key!r} of type {type(key).__name__}: use int or str.')
        return {key: _plain(item, f'{where}[{key!r}]') for key, item in value.items()}
    if kind in (list, tuple):
        return kind(_plain(item, f'{where}[{index}]') for index, item in enumerate(value))
    if kind in (torch.Tensor, torch.nn.Parameter) and value.layout == torch.strided:
        return _own_storage(value.detach().cpu())
    raise TypeError(f'{where} is a {kind.__module__}.{kind.__qualname__}, which a checkpoint cannot hold: '
                    'convert it to plain values or a tensor.')


def _own_storage(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, copied if it is a view: torch.save would write all of the storage behind it."""
    if tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size():
        return tensor
    return tensor.clone()


@cli.group()
def main() -> None:
    """Look into checkpoints."""


@main.command()
@click.argument('path', metavar='FILE', type=click.Path(path_type=Path))
def inspect(path: Path) -> None:
    """Print what is inside a snapshot or a training state: header, options, every tensor, totals."""
    content = _read(path, 'cpu')
    if not isinstance(content['payload'], dict):
        raise _not_ours(path)
    kind = text(content.get('kind'))
    click.echo(f'{path}: {kind}, checkpoint version {VERSION}, {path.stat().st_size:,} bytes')
    for line in report(content['payload']):
        click.echo(line)


if __name__ == '__main__':
    main()
