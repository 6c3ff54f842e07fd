"""Modules that are imported when they are first used: what a command does is, where its options alone are not enough.

Torch takes seconds to import, and `--help`, a mistyped option and the completion of a shell do without it. So a script
declares its options without torch, and names the module that does the work:

    action = lazy_module("pv3d.actions.train")

    def main(**options):
        action.run(**options)  # imported here
"""

import importlib
import sys
from types import ModuleType
from typing import Any

from dnnlib.errors import UserError

# The packages that everything needs: {name for pip: name for Python}.
PACKAGES = {
    "torch": "torch",
    "numpy": "numpy",
    "click": "click",
    "imageio-ffmpeg": "imageio_ffmpeg",
    "ninja": "ninja",
    "pillow": "PIL",
    "pyspng": "pyspng",
    "scipy": "scipy",
    "tqdm": "tqdm",
}


class LazyModule:
    """A module by its name, imported when something of it is first asked for."""

    def __init__(self, name: str):
        self.name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(_imported(self.name), attribute)


def lazy_module(name: str) -> Any:
    """Return a module that is imported when something of it is first asked for.

    Args:
        name: dotted, as a literal: `tests/test_house.py` reads it as an import.
    """
    return LazyModule(name)


def found(place: str) -> Any:
    """Import what `module:name` says, and return it."""
    module, _, name = place.partition(":")
    return getattr(_imported(module), name)


def _imported(name: str) -> ModuleType:
    """Import a module of ours. UserError if a package that it needs is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in PACKAGES.values():
            raise
        raise UserError(
            f"The package {package} is not installed in {sys.prefix}: README says how to install this software, and "
            "`python -m pv3d doctor` what else is missing."
        ) from error
