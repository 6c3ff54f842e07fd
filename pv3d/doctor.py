"""`pv3d doctor`: what this machine has, and what is broken; that may be torch, which its options do without."""

from typing import Any

from dnnlib import cli
from dnnlib.lazy import lazy_module

action = lazy_module("pv3d.actions.doctor")


@cli.command()
@cli.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
@cli.option("--no-build", is_flag=True, help="Compile and load no CUDA op.")
def main(**chosen: Any) -> None:
    """Say what is here and what is broken; fit for a report of a fault.

    Exit status 0 if all is usable, 1 if something is broken. What is missing but is only an extra is not broken.
    """
    action.run(**chosen)
