"""Which run a start goes on with (--resume): one that it finds, one that is named, or a new one."""

import contextlib
from dataclasses import replace
from pathlib import Path

from dnnlib.errors import UserError
from torch_utils import checkpoint, distributed
from training.checkpoints.states import require_sound
from training.runs.folder import RunFolder, Warn
from training.runs.options import OPTIONS, RunOptions

KEYWORDS = ("auto", "latest", "none")  # any other --resume is a path


def open_run(
    outdir: Path, *, name: str, options: RunOptions, resume: str, flags: dict[str, str], warn: Warn
) -> RunFolder:
    """Return the folder of the run to go on with or of a new one; the main process decides for all, and claims it.

    Args:
        name: of a new run's folder, behind its number.
        options: what the user asks for.
        resume: auto: the newest run under `outdir` with this name and these options, else a new one; latest: the
            newest run under `outdir`, which must have these options; none: a new one; a folder: the run in it; a
            training state in a run's folder: that run from there. Later states of it are neither dropped nor used: if
            there are any, a new run goes on, and a later start with `auto` finds that one.
        flags: how the configuration's values are called on the command line.
        warn: called with what the user should know.

    Raises:
        UserError: there is no such run, its options are others, or another process is training it.
    """
    # The state that the user names is the newest one of the run that goes on, so no other may take its place.
    state = Path(resume) if resume not in KEYWORDS and Path(resume).is_file() else None
    run = None
    with distributed.fail_together():
        if distributed.is_main():
            found = _find(outdir, name, options, resume, state)
            if found is not None and resume != "auto":
                options = _same_options(found, options, resume, flags)
            if found is None:
                found = RunFolder.create(outdir, name, options)
            elif state is not None and state != RunFolder(found).states()[-1]:
                warn(f"{found} has states later than {state.name}, which stay there: a new run goes on.")
                found = RunFolder.branch(outdir, name, options, state)
            run = RunFolder(found, fall_back=state is None)
            _claim(run, options)
    path = distributed.gather(None if run is None else run.path)[0]
    assert path is not None
    return run or RunFolder(path, fall_back=state is None)


def _find(outdir: Path, name: str, options: RunOptions, resume: str, state: Path | None) -> Path | None:
    """Return the folder of the run that --resume means, None for a new one."""
    if resume == "auto":
        return RunFolder.find(outdir, name, options)
    if resume == "latest":
        return _latest(outdir)
    if resume == "none":
        return None
    if state is not None:
        _require_state(state)
        return state.parent
    return Path(resume)


def _claim(run: RunFolder, options: RunOptions) -> None:
    """Take the run for this process, and write its options down: --kimg and the like may be new."""
    run.claim()
    with contextlib.ExitStack() as undo:
        undo.enter_context(run)
        options.save(run.path)
        undo.pop_all()


def _latest(outdir: Path) -> Path:
    found = RunFolder.latest(outdir)
    if found is None:
        raise UserError(
            f"--resume=latest finds no run with a training-state-*.pt in {outdir}: give the --outdir of a "
            "run, or --resume=auto to start one."
        )
    return found


def _require_state(file: Path) -> None:
    """UserError unless the file is a training state in the folder of a run, whole and finite."""
    if file not in RunFolder(file.parent).states() or not (file.parent / OPTIONS).is_file():
        raise UserError(
            f"--resume={file} is no training-state-*.pt in the folder of a run: give one that is, or take "
            "the weights of a snapshot with --init-from."
        )
    require_sound(checkpoint.load(file, "state"), file)


def _same_options(folder: Path, asked: RunOptions, resume: str, flags: dict[str, str]) -> RunOptions:
    """Return `asked` if the run in `folder` can go on with it, else UserError. --init-from need not be repeated."""
    if not RunFolder(folder).states():
        raise UserError(f"--resume={resume} has no training-state-*.pt: give the folder of a run.")
    saved = RunOptions.load(folder)
    asked = replace(asked, init_from=asked.init_from or saved.init_from)
    changed = []
    for key, (then, now) in saved.differences(asked).items():
        if key == "dataset":
            changed.append("the dataset was another one")
        else:
            changed.append(f"{flags.get(key, key)} was {then}, not {now}")
    if changed:
        meaning = f" means {folder}, which" if resume == "latest" else ""
        raise UserError(
            f"--resume={resume}{meaning} was started with other options ({'; '.join(changed)}): repeat them, "
            "or start a new run from its snapshot with --resume=none --init-from."
        )
    return asked
