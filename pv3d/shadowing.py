"""Whether the modules beside pv3d are ours: `training`, `dnnlib`, `metrics` and others are names that projects share.

EG3D and StyleGAN have modules of the same names. Started from such a project's folder, or with it in PYTHONPATH, Python
takes theirs. This module imports nothing of ours, so that it can say so.
"""

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # of this checkout, or where it is installed
LIBRARY = ("applications", "dnnlib", "torch_utils", "training")  # what `import pv3d` needs
MODULES = (  # and what the command needs
    *LIBRARY,
    *("detectors", "metrics", "preprocessing", "viewer"),
    *("calc_metrics", "checkpoint_tool", "dataset_tool", "demo", "edit_videos", "gen_videos", "train"),
)


def foreign(names: Iterable[str]) -> dict[str, Path]:
    """Return {name: folder} of those modules that Python takes from elsewhere, or has taken."""
    found = {}
    for name in names:
        folder = _folder_of(name)
        if folder is not None and folder != ROOT:
            found[name] = folder
    return found


def fault(names: Iterable[str]) -> str | None:
    """Return a sentence if another project's modules hide ours of these names."""
    others = foreign(names)
    if not others:
        return None
    folder = next(iter(others.values()))
    hidden = [name for name, place in others.items() if place == folder]
    noun, verb = ("module", "hides") if len(hidden) == 1 else ("modules", "hide")
    if folder == Path.cwd():
        remedy = "start from another folder"
    else:
        remedy = "take that folder out of PYTHONPATH and sys.path"
    if any(name in sys.modules for name in hidden):
        remedy += ", in a new process"
    return f"The {noun} {', '.join(hidden)} of {folder} {verb} PV3D's own of {ROOT}: {remedy}."


def _folder_of(name: str) -> Path | None:
    """Return the folder that a top-level module is in; None if there is no such module."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # something in sys.modules that was made by hand
        return None
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    file = Path(spec.origin).resolve()
    return file.parents[1] if spec.submodule_search_locations else file.parent
