"""A run in Weights & Biases (`--wandb`): statistics, pictures, options; what fails is a warning, never the end."""

import re
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dnnlib.errors import UserError
from dnnlib.files import read_json, shown, write_json
from dnnlib.optional import optional_packages
from training.runs.options import OPTIONS
from training.runs.writers import Writer

PROJECT = "pv3d"  # of --wandb alone
PROJECT_NAME = re.compile(r"([^/\\#?%:\s]+/)?[^/\\#?%:]+")
IDS = "wandb.json"  # in the run's folder: project -> the id of this run in it
FOLDER = "wandb"  # in the run's folder: the library's own files
START_SECONDS = 60.0  # that a server has to answer
END_SECONDS = 120.0  # that training waits for at its end, until all is sent
ID_BYTES = 8
KINDS = {".png": "Image", ".mp4": "Video"}  # suffix -> the library's class of it


def require_wandb() -> Any:
    """Return wandb, an optional dependency. UserError without it, or if it cannot be imported."""
    with optional_packages("Runs with --wandb", "wandb"):
        import wandb
    return wandb


def require_project(project: str | None) -> None:
    """Check what --wandb is given, before training. UserError if it names no project, or there is no wandb."""
    if project is None:
        return
    if not PROJECT_NAME.fullmatch(project):
        raise UserError(f"--wandb={shown(project)} is no project: give PROJECT or ENTITY/PROJECT.")
    require_wandb()


class WandbLog(Writer):
    """A run as Weights & Biases shows it; each start of the run goes on in the same one.

    A step there is a clip, so what a run that was killed does again is in it once: the library leaves out steps before
    the last. The environment (WANDB_MODE=offline, WANDB_BASE_URL, ...) counts as it does everywhere.

    Args:
        folder: of the run; it keeps the id, and the library's files.
        project: PROJECT, or ENTITY/PROJECT.
        warn: called with a sentence for the first failure, such as no login or no network; nothing is sent after it.
    """

    def __init__(self, folder: Path, project: str, warn: Callable[[str], None]):
        super().__init__(
            lost=f"Nothing more of {folder} goes to Weights & Biases",
            kept="stats.jsonl holds the same",
            warn=warn,
        )
        with self._failures_as_warning():
            self._library = _started(folder, project)
            self.kept += f", and `wandb sync` sends what lies in {folder / FOLDER}"

    @property
    def url(self) -> str | None:
        """Where the run is seen; None offline, and after a failure."""
        with self._failures_as_warning():
            if self._library is not None and not self._library.offline:
                return self._library.url
        return None

    def _add(self, stats: dict[str, float], clips: int) -> None:
        self._library.log({**stats, "kimg": clips / 1000}, step=clips)

    def _show(self, files: Sequence[Path], clips: int) -> None:
        wandb = require_wandb()
        shown: dict[str, Any] = {"kimg": clips / 1000}
        for path in files:
            if path.suffix in KINDS:
                shown[f"fakes/{path.suffix[1:]}"] = getattr(wandb, KINDS[path.suffix])(str(path))
        self._library.log(shown, step=clips)

    def _close(self) -> None:
        self._library.finish()


def _started(folder: Path, project: str) -> Any:
    """Return the library's run for the one in a folder: the same one at every start."""
    wandb = require_wandb()
    settings = wandb.Settings(
        console="off",  # what training prints is drawn over itself
        silent=True,
        init_timeout=START_SECONDS,
        finish_timeout=END_SECONDS,
        finish_timeout_raises=True,
    )
    # Nobody may sit at the terminal to answer a question.
    is_online = wandb.setup().settings.mode in ("online", "run", "shared")
    if is_online and not wandb.login(prompt=False, verify=False):
        raise RuntimeError("not logged in: run `wandb login`, or set WANDB_MODE=offline")
    entity, _, name = project.rpartition("/")
    run = wandb.init(
        entity=entity or None,
        project=name,
        id=_own_id(folder, project),
        resume="allow",
        reinit="create_new",
        name=folder.name,
        dir=str(folder.absolute()),
        config=read_json(folder / OPTIONS),
        allow_val_change=True,  # a later start may have another --kimg
        settings=settings,
    )
    run.define_metric("kimg")
    run.define_metric("*", step_metric="kimg")
    return run


def _own_id(folder: Path, project: str) -> str:
    """Return the id of a run in a project, the one that its folder keeps, or a new one, which it keeps from now on."""
    path = folder / IDS
    ids = read_json(path) if path.exists() else {}
    if project not in ids:
        ids[project] = secrets.token_hex(ID_BYTES)
        write_json(path, ids)
    return ids[project]
