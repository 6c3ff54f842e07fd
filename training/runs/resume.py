"""Which run a start goes on with (--resume): one that it finds, one that is named, or a new one."""

import contextlib
import os
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from dnnlib.errors import UserError
from dnnlib.files import shown
from torch_utils import checkpoint, distributed
from training.checkpoints.states import require_sound
from training.runs.folder import RunFolder, Warn
from training.runs.options import OPTIONS, RunOptions

KEYWORDS = ("auto", "latest", "none")  # any other --resume is a path
# Of what is no part of a configuration.
FLAGS = {"init_from": "--init-from", "init_kimg": "--init-kimg", "fresh_motion": "--fresh-motion"}
MAX_CHANGES = 6  # that a message names


def open_run(
    outdir: Path, *, name: str, alike: str, options: RunOptions, resume: str, flags: dict[str, str], warn: Warn
) -> RunFolder:
    """Return the folder of the run to go on with or of a new one; the main process decides for all, and claims it.

    Args:
        name: of a new run's folder, behind its number.
        alike: a pattern of the names that the run has if its dataset was called otherwise.
        options: what the user asks for; its precision may be auto. The folder keeps the one that is computed in.
        resume: auto: the newest run under `outdir` with such a name and these options, else a new one; latest: the
            newest run under `outdir`, which must have these options; none: a new one; a folder: the run in it, whose
            dataset may have changed at its place; a training state in a run's folder: that run from there. Later states
            of it are neither dropped nor used: if there are any, a new run goes on, and a later start with `auto` finds
            that one.
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
            options = options.identified()
            found = _find(outdir, alike, options, resume, state)
            if found is not None and resume != "auto":
                _require_same_options(found, options, resume, flags)
            if found is not None:
                saved = RunOptions.load(found)
                expected = options.settled().precision
                options = options.going_on(saved).settled(saved)
                if not expected == saved.precision == options.precision:
                    warn(_other_precision(found, saved, options))
                if saved.fingerprint != options.fingerprint:
                    warn(_other_content(found, saved, options))
                if saved.image_fingerprint != options.image_fingerprint:
                    warn(_changed(found, options.image_data))
            elif resume == "auto":
                _tell_why_new(outdir, alike, options, flags, warn)
            if found is None:
                options = options.settled()
                found = RunFolder.create(outdir, name, options)
            elif state is not None and state != RunFolder(found).states()[-1]:
                warn(f"{found} has states later than {state.name}, which stay there: a new run goes on.")
                found = RunFolder.branch(outdir, name, options, state)
            run = RunFolder(found, fall_back=state is None)
            _claim(run, options)
    path = distributed.gather(None if run is None else run.path)[0]
    assert path is not None
    return run or RunFolder(path, fall_back=state is None)


def candidates(outdir: Path, alike: str, resume: str) -> list[Path]:
    """Return the folders of runs that `open_run` may go on with, by their names alone, the newest first."""
    if resume not in KEYWORDS:
        path = Path(resume)
        return [path.parent if path.is_file() else path]
    if resume == "none":
        return []
    found = RunFolder.all_with_states(outdir)
    return found if resume == "latest" else [path for path in found if fnmatch(path.name, f"?????-{alike}")]


def _other_precision(folder: Path, saved: RunOptions, options: RunOptions) -> str:
    """Return what to say of a run that goes on in another precision than the one that is asked for."""
    if saved.precision != options.precision:
        return (
            f"{folder} is of an earlier version, which computed in {options.precision} for {saved.precision} on such a "
            f"CPU: it goes on so, as a run of --precision={options.precision} from now on."
        )
    return (
        f"{folder} goes on in {saved.precision}, in which it began; a new run would compute in "
        f"{options.best_precision} on this machine."
    )


def _other_content(folder: Path, saved: RunOptions, options: RunOptions) -> str:
    """Return what to say of a run that goes on with a dataset of another fingerprint."""
    if saved.fingerprint != options.names_and_sizes:
        return _changed(folder, options.data)
    line = (
        f"{folder} knows its dataset by names and sizes alone, as runs of earlier versions do: they are those of "
        f"{options.data}, whose content counts from now on."
    )
    if options.is_reordered:
        line += " So far it has seen frame10 before frame2; --resume=none begins again without that."
    return line


def _changed(folder: Path, data: str | None) -> str:
    return f"{folder} goes on with {data}, which has changed since that run was last started."


def _find(outdir: Path, alike: str, options: RunOptions, resume: str, state: Path | None) -> Path | None:
    """Return the folder of the run that --resume means, None for a new one."""
    if resume == "auto":
        return RunFolder.find(outdir, alike, options)
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


# --- What differs -----------------------------------------------------------------------------------------------------


def _require_same_options(folder: Path, asked: RunOptions, resume: str, flags: dict[str, str]) -> None:
    """UserError unless the run in `folder` can go on with what is asked for. --init-from need not be repeated."""
    if not RunFolder(folder).states():
        raise UserError(f"--resume={resume} has no training-state-*.pt: give the folder of a run.")
    saved = RunOptions.load(folder)
    if resume not in KEYWORDS:  # a frame was mended, or so; the user names the run
        if _is_in_place(saved.data, asked.data):
            asked = replace(asked, fingerprint=saved.fingerprint)
        if _is_in_place(saved.image_data, asked.image_data):
            asked = replace(asked, image_fingerprint=saved.image_fingerprint)
    changes = _changes(saved, asked.going_on(saved), flags)
    if changes:
        meaning = f" means {folder}, which" if resume == "latest" else ""
        raise UserError(
            f"--resume={resume}{meaning} was started with other options ({changes}): repeat them, "
            "or start a new run from its snapshot with --resume=none --init-from."
        )


def _tell_why_new(outdir: Path, alike: str, asked: RunOptions, flags: dict[str, str], warn: Warn) -> None:
    """Say why none of the runs under `outdir` goes on, if one is of such a name or of this dataset.

    Of several it is told of the one with the fewest differences, the newest of them.
    """
    related: list[tuple[int, Path, RunOptions]] = []
    unreadable: list[str] = []
    for path in RunFolder.all_with_states(outdir):
        named = fnmatch(path.name, f"?????-{alike}")
        try:
            saved = RunOptions.load(path)
        except UserError as error:
            if named:
                unreadable.append(f"A new run starts, because the options of {path} cannot be read: {error}")
            continue
        different = saved.differences(asked)
        if named or "dataset" not in different:
            related.append((len(different), path, saved))
    if related:
        _, path, saved = min(related, key=lambda entry: entry[0])
        warn(_why_new(path, _changes(saved, asked, flags)))
    elif unreadable:
        warn(unreadable[0])


def _why_new(path: Path, changes: str) -> str:
    """Return why a start does not go on with the run in `path`, and how to do that."""
    if not changes:
        return (
            f"A new run starts, because {path}, of the same options and data, has another name: "
            f"--resume={path} goes on with that one."
        )
    return (
        f"A new run starts, because {path} was started with other options ({changes}): "
        f"repeat them with --resume={path} to go on with that one, or take its weights with --init-from."
    )


def _changes(saved: RunOptions, asked: RunOptions, flags: dict[str, str]) -> str:
    """Return what `asked` would change of a run, as flags with their values then and now; "" if nothing."""
    changes = []
    for key, (then, now) in saved.differences(asked).items():
        if key == "dataset":
            changed = "has changed since" if _is_in_place(saved.data, asked.data) else f"was another one, {saved.data}"
            changes.append(f"the dataset {changed}")
        elif key == "image_dataset" and _is_in_place(saved.image_data, asked.image_data):
            changes.append("the dataset of --image-data has changed since")
        elif key == "image_dataset":
            changes.append(f"--image-data was {_shown(saved.image_data)}, not {_shown(asked.image_data)}")
        else:
            name = flags.get(key) or FLAGS.get(key) or f"{key} of --cfg"
            changes.append(f"{name} was {_shown(then)}, not {_shown(now)}")
    more = len(changes) - MAX_CHANGES
    if more > 0:
        changes[MAX_CHANGES:] = [f"and {more} more"]
    return "; ".join(changes)


def _is_in_place(saved: str | None, asked: str | None) -> bool:
    """Return whether the datasets of two starts lie at the same place; None: there is none."""
    return saved is not None and asked is not None and os.path.abspath(saved) == os.path.abspath(asked)


def _shown(value: object) -> str:
    return "none" if value is None else shown(str(value))
