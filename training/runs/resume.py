"""Which run a start goes on with (--resume): one that it finds, one that is named, or a new one."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dnnlib.errors import UserError
from torch_utils import checkpoint, distributed
from training.checkpoints.states import require_sound
from training.runs.folder import OPTIONS, RunFolder, RunOptions


def open_run(
    outdir: Path, name: str, asked: RunOptions, resume: str, flags: dict[str, str], tell: Callable[[str], None]
) -> RunFolder:
    """The folder of the run to go on with or of a new one; the main process decides for all, and claims it.

    Args:
        name: of a new run's folder, behind its number.
        resume: auto: the newest run under `outdir` with this name and these options, else a new one; latest: the
            newest run under `outdir`, which must have these options; none: a new one; a folder: the run in it; a
            training state in a run's folder: that run from there. Later states of it are neither dropped nor used: if
            there are any, a new run goes on, and a later start with `auto` finds that one.
        flags: how the configuration's values are called on the command line.
        tell: hears what the user should know.

    Raises:
        UserError: there is no such run, its options are others, or another process is training it.
    """
    run = None
    with distributed.fail_together():
        if distributed.is_main():
            run = _choose(outdir, name, asked, resume, flags, tell)
    path, only = distributed.gather(run and (str(run.path), run.only and str(run.only)))[0]
    return run or RunFolder(Path(path), asked.config.training.keep, only and Path(only))


def _choose(
    outdir: Path, name: str, asked: RunOptions, resume: str, flags: dict[str, str], tell: Callable[[str], None]
) -> RunFolder:
    """The run, claimed for this process, with its options written down."""
    found, only = None, None
    if resume == "auto":
        found = RunFolder.find(outdir, name, asked)
    elif resume == "latest":
        found = _latest(outdir)
    elif Path(resume).is_file():
        found, only = Path(resume).parent, _require_state(Path(resume))
    elif resume != "none":
        found = Path(resume)
    if found and resume != "auto":
        asked = _same_options(found, asked, resume, flags)
    if only and only != RunFolder(found).states()[-1]:
        tell(f"{found} has states later than {only.name}, which stay there: a new run goes on.")
        found, only = RunFolder.branch(outdir, name, asked, only), None
    run = RunFolder(found or RunFolder.create(outdir, name, asked), asked.config.training.keep, only)
    run.claim()
    with contextlib.ExitStack() as undo:
        undo.enter_context(run)
        asked.save(run.path)  # --kimg and the like may be new
        undo.pop_all()
    return run


def _latest(outdir: Path) -> Path:
    found = RunFolder.latest(outdir)
    if found is None:
        raise UserError(
            f"--resume=latest finds no run with a training-state-*.pt in {outdir}: give the --outdir of a "
            "run, or --resume=auto to start one."
        )
    return found


def _require_state(file: Path) -> Path:
    """The file. UserError unless it is a training state in the folder of a run, whole and finite."""
    if file not in RunFolder(file.parent).states() or not (file.parent / OPTIONS).is_file():
        raise UserError(
            f"--resume={file} is no training-state-*.pt in the folder of a run: give one that is, or take "
            "the weights of a snapshot with --init-from."
        )
    require_sound(checkpoint.load(file, "state"), file)
    return file


def _same_options(folder: Path, asked: RunOptions, resume: str, flags: dict[str, str]) -> RunOptions:
    """`asked` if the run in `folder` can go on with it, else UserError. --init-from need not be repeated."""
    if not RunFolder(folder).states():
        raise UserError(f"--resume={resume} has no training-state-*.pt: give the folder of a run.")
    saved = RunOptions.load(folder)
    asked = replace(asked, init_from=asked.init_from or saved.init_from)
    changed = [
        f"{flags.get(key, key)} was {then}, not {now}" if key != "dataset" else "the dataset was another one"
        for key, (then, now) in saved.differences(asked).items()
    ]
    if changed:
        means = f" means {folder}, which" if resume == "latest" else ""
        raise UserError(
            f"--resume={resume}{means} was started with other options ({'; '.join(changed)}): repeat them, "
            "or start a new run from its snapshot with --resume=none --init-from."
        )
    return asked
