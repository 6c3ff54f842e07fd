"""From the command to a running viewer: machine, models, server, browser."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
import contextlib
import errno
import os
import secrets
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

import pv3d
from dnnlib import cli
from dnnlib.errors import UserError
from torch_utils.startup import Machine, prepared_machine
from training.checkpoints.opener import load_generator
from viewer.models import Load, located
from viewer.places import LOCAL, MAX_PANELS, USUAL_PORT
from viewer.server import ViewerServer
from viewer.service import Service

ANYWHERE = ("0.0.0.0", "::")


def serve(*, snapshots: Sequence[str], host: str, port: int | None, no_browser: bool, **machine: Any) -> None:
    """Serve the page until Ctrl-C; `machine` are the options of `prepared_machine`.

    Raises:
        UserError: there are no such snapshots, or it cannot listen there.
    """
    if len(snapshots) > MAX_PANELS:
        raise UserError(f"{len(snapshots)} models side by side are too many: give up to {MAX_PANELS}.")
    paths = [located(name) for name in snapshots]
    with prepared_machine(**machine) as prepared:
        cli.print_notes(prepared.notes)
        with running(paths, loader(prepared), host=host, port=port) as server:
            address = address_of(server, host)
            click.echo(f"The viewer is at {address}")
            click.echo(
                f"From another machine: ssh -L {server.port}:{LOCAL}:{server.port} HOST, and open the same address."
            )
            click.echo("Ctrl-C ends it.")
            if not no_browser and has_display():
                webbrowser.open(address)
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: its files are removed
            server.serve_forever()


def loader(machine: Machine) -> Load:
    """Return what loads a model for a machine."""

    def load(path: Path) -> pv3d.Model:
        snapshot = load_generator(path, machine.device, machine.dtype)
        cli.print_notes(snapshot.notes)
        return pv3d.Model(snapshot)

    return load


@contextlib.contextmanager
def running(
    paths: Sequence[Path],
    load: Load,
    *,
    host: str = LOCAL,
    port: int | None = 0,
    token: str | None = None,
    seconds: float | None = None,
) -> Iterator[ViewerServer]:
    """Yield a server that listens, for `serve_forever`; behind the block everything of it is gone.

    Args:
        port: 0: any free one; None: the usual one, else any free one.
        token: None: a new one.
        seconds: between two looks at whether models have changed on the disk.
    """
    service = Service(paths, load, seconds)
    try:
        server = _listening(host, port, service, token or secrets.token_urlsafe(24))
        try:
            yield server
        finally:
            server.server_close()
    finally:
        service.close()


@contextlib.contextmanager
def answering(server: ViewerServer) -> Iterator[None]:
    """Let a server answer in a thread of its own during the block."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


def _listening(host: str, port: int | None, service: Service, token: str) -> ViewerServer:
    own_names = (
        frozenset()
        if host == LOCAL
        else frozenset(name.lower() for name in (host, socket.gethostname(), socket.getfqdn()))
    )
    for candidate in (USUAL_PORT, 0) if port is None else (port,):
        try:
            return ViewerServer((host, candidate), service, token, own_names)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port is None:
                continue
            if error.errno == errno.EADDRINUSE:
                raise UserError(f"--port={port} is in use: give another one, or 0 for any free one.") from error
            raise UserError(f"Cannot listen at {host} port {candidate} ({error}): give others.") from error
    raise AssertionError("port 0 is never in use")


def address_of(server: ViewerServer, host: str) -> str:
    """Return the address of the page, with its token."""
    name = LOCAL if host in ANYWHERE else f"[{host}]" if ":" in host else host
    return f"http://{name}:{server.port}/?token={server.token}"


def has_display() -> bool:
    """Return whether there is a screen for a browser: without one, a text browser would take the terminal."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
