"""Which version this is."""

import importlib.metadata
import re

from pv3d.shadowing import ROOT


def version() -> str:
    """Return the version of the checkout, or of what is installed."""
    project = ROOT / "pyproject.toml"
    if project.is_file():
        match = re.search(r'^version = "(.*)"$', project.read_text(encoding="utf-8"), re.MULTILINE)
        return f"{match[1] if match else 'unknown'}, a checkout"
    try:
        return importlib.metadata.version("pv3d")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
