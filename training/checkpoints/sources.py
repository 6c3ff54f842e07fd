"""Where a snapshot is, by what a user calls it: a file, a run's folder, its best one, a model that is shipped."""

from dataclasses import dataclass
from pathlib import Path

from dnnlib.errors import UserError
from dnnlib.files import shown
from dnnlib.names import natural_key
from training.checkpoints import addresses

SHIPPED = {"heads": Path(__file__).parents[2] / "models" / "heads.pkl"}
SNAPSHOTS = "network-snapshot-*.pkl"
PUBLISHED = "model.safetensors"  # in the folder of a model that `checkpoint_tool.py publish` made
HELP = f"{SNAPSHOTS}; a run's folder: its newest; RUN/best: its best; or a model that is shipped: {', '.join(SHIPPED)}."
BEST = "best"  # RUN/best names the file below in a run's folder
BEST_FILE = "best-snapshot.pkl"


@dataclass(frozen=True, kw_only=True)
class Found:
    """A snapshot's file, and a sentence for the user that says which it is, unless its name did."""

    path: Path
    notes: tuple[str, ...] = ()


def found(source: str | Path) -> Found:
    """Return the file that is meant.

    Args:
        source: a file; the folder of a published model; the folder of a run, for its newest snapshot; RUN/best, for its
            best one; as a text, the name of a model that is shipped, too (a path of the same name is ./NAME).

    Raises:
        UserError: it is a folder without snapshots, there is no best one, or it is an address of the web.
    """
    if isinstance(source, str):
        if source in SHIPPED:
            return Found(path=SHIPPED[source], notes=(f"{source} is the model that is shipped, {SHIPPED[source]}.",))
        if addresses.is_address(source):
            raise UserError(
                f"{shown(source)} is an address: pv3d.load takes it, or download the file and give its path."
            )
    path = Path(source)
    is_run = any(path.glob(SNAPSHOTS))  # what a run exported into its own folder stays, while it trains on
    if (path / PUBLISHED).is_file() and not is_run:
        return Found(path=path / PUBLISHED, notes=(f"{path / PUBLISHED} is taken, a published model.",))
    if path.is_dir():
        return _newest(path)
    if path.name == BEST and path.parent.is_dir() and not path.exists():
        best = path.with_name(BEST_FILE)
        if not best.is_file():
            raise UserError(
                f"{path.parent} has no {BEST_FILE}, which training with --metrics keeps: give the folder for its "
                "newest snapshot."
            )
        return Found(path=best, notes=(f"{path} is {best}.",))
    return Found(path=path)


def lasting(source: str | Path) -> Path:
    """Return the file that is meant where the same words must mean the same file another day, as for `found`.

    Raises:
        UserError: it is a run's folder, whose newest and best snapshots change while it trains, or as of `found`.
    """
    path = found(source).path
    is_named = isinstance(source, str) and source in SHIPPED
    if is_named or path.name == PUBLISHED or path == Path(source):
        return path
    raise UserError(f"{source} would be another snapshot once that run has trained on: give the file itself, {path}.")


def _newest(folder: Path) -> Found:
    """Return the newest snapshot in a folder."""
    paths = sorted(folder.glob(SNAPSHOTS), key=natural_key)
    if not paths:
        runs = sorted({path.parent for path in folder.glob(f"*/{SNAPSHOTS}")}, key=natural_key)
        hint = f"one of its folders, such as {runs[-1]}" if runs else "the folder of a run that has one, or a file"
        if (folder / BEST_FILE).is_file():
            hint = f"{folder / BEST}"
        raise UserError(f"{folder} is a folder without snapshots ({SNAPSHOTS}): give {hint}.")
    best = f"; {folder / BEST} would be its best" if (folder / BEST_FILE).is_file() else ""
    count = "the only snapshot" if len(paths) == 1 else f"the newest of {len(paths)} snapshots"
    return Found(path=paths[-1], notes=(f"{paths[-1]} is taken, {count} in that folder{best}.",))
