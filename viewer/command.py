"""The command line of the viewer; what it does needs torch, and is imported when it runs."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
from typing import Any

import click

from dnnlib import cli
from dnnlib.lazy import lazy_module
from torch_utils.machine_options import machine_options
from viewer.places import LOCAL, USUAL_PORT

action = lazy_module("viewer.serving")
SERVER = "Server"  # heading in `--help`


@cli.command()
@click.argument("snapshots", type=cli.SOURCE, nargs=-1, required=True, metavar="SNAPSHOT...")
@cli.option("--host", group=SERVER, default=LOCAL, help="Address to listen at; 0.0.0.0: all of this machine's.")
@cli.option(
    "--port",
    group=SERVER,
    type=click.IntRange(0, 65535),
    show_default=f"{USUAL_PORT}, or any free one",
    help="Port to listen at; 0: any free one.",
)
@cli.option("--no-browser", group=SERVER, is_flag=True, help="Only print the page's address.")
@machine_options("device", "ops", "precision", "threads")
def main(**chosen: Any) -> None:
    """Look at a trained generator on a page: turn it, play it, mix it, record it.

    \b
    SNAPSHOT is a network-snapshot-*.pkl; a run's folder: its newest, followed while it
    trains; RUN/best: its best; or a model that is shipped: heads. Several are shown side
    by side. The page is for whoever knows its address, which has a secret in it.
    On a machine that you reach by SSH: ssh -L 8123:127.0.0.1:8123 HOST, and open the same address.
    """
    action.serve(**chosen)
