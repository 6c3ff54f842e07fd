"""The runs of a study: what each must be, what of it is done, and the rest of the work."""

import contextlib
import hashlib
import math
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks import study_data, study_twins
from benchmarks.study_data import Dataset
from benchmarks.study_rows import ROOT, Row
from benchmarks.study_scores import Score, Scoring, Trained, score_missing
from dnnlib import json_lines
from dnnlib.errors import UserError
from dnnlib.files import file_checksum, read_json, write_json

TICK_CLIPS = 200  # about as many between two status lines, as the demo has
TRAINING_CODE = ("train.py", "pv3d", "dnnlib", "torch_utils", "training")
SCORING_CODE = ("calc_metrics.py", *TRAINING_CODE[1:], "detectors", "metrics")
SOURCES = {".py", ".cpp", ".cu", ".h", ".cuh"}
STOPPED = 130  # exit status of train.py
REMARKS = ("commit", "checkout")  # of a record: for people; that they differ matters to nobody
FILM = ("--seeds=0-3", "--motion-seeds=0", "--cameras=orbit", "--layers=rgb,depth,normals", "--grid=2x2", "--frames=24")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all runs of a study have alike: length, snapshots, data, options of train.py, cpu or cuda, and precision."""

    kimg: float
    snapshots: int
    clips: int
    test_clips: int
    frames: int
    resolution: int
    yaw_range: float | None  # None: that of dataset_tool.py
    options: tuple[str, ...]
    device: str
    precision: str  # never auto, which means another one on another machine


@dataclass(frozen=True, kw_only=True)
class Run:
    """A row from one seed, and its folder."""

    row: Row
    seed: int
    place: Path

    def __str__(self) -> str:
        return f"{self.row.name}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Study:
    """All that the work on a run needs.

    Args:
        data: the people to train on, by name of the dataset.
        films: whether the run of the first seed gets a video.
    """

    settings: Settings
    data: Mapping[str, Dataset]
    scoring: Scoring
    films: bool = True


class Call(Protocol):
    """Runs a command of a checkout and returns its exit status; what it prints goes to the end of a log."""

    def __call__(self, checkout: Path, command: Sequence[str], log: Path) -> int: ...


Scorer = Callable[[Trained, Scoring], None]

# --- What a run must be -----------------------------------------------------------------------------------------------


def keep_settings(outdir: Path, settings: Settings) -> None:
    """Write the settings of a new study. UserError if there is one with others: their numbers must not be mixed."""
    path = outdir / "settings.json"
    now = _as_json(asdict(settings))
    if path.exists():
        then = read_json(path)
        for name, value in now.items():
            if then.get(name) != value:
                flag = "--gpus" if name == "device" else "--" + name.replace("_", "-")
                raise UserError(
                    f"{outdir} holds a study of another {flag} ({_shown(then.get(name))}, now {_shown(value)}): "
                    "give the same, or another --outdir."
                )
    else:
        write_json(path, now)


def keep_record(run: Run, study: Study, code: str) -> None:
    """Write what a new run is. UserError if the run that is there is another.

    Args:
        code: fingerprint of what trains.
    """
    path = run.place / "record.json"
    checkout = run.row.checkout
    wanted = {
        **asdict(study.settings),
        "row": run.row.name,
        "seed": run.seed,
        "row_options": run.row.options,
        "schedule": run.row.schedule,
        **study_data.fingerprints(run.row, study.data),
        "code": code,
        "commit": commit_of(checkout),
        "checkout": str(checkout),
    }
    now = _as_json(wanted)
    if not path.exists():
        write_json(path, now)
        return
    then = read_json(path)
    for name in sorted(now.keys() - set(REMARKS)):
        if then.get(name) != now[name]:
            if name == "code":
                what = f"other training code (commit {then.get('commit')}, now {now['commit']})"
            else:
                what = f"another {name.replace('_', ' ')} ({_shown(then.get(name))}, now {_shown(now[name])})"
            raise UserError(f"{run} was trained with {what}: go on with that, or give another name or --outdir.")


def code_of(checkout: Path, parts: Sequence[str] = TRAINING_CODE) -> str:
    """Return a fingerprint of the sources in some files and folders of a checkout, committed or not."""
    digest = hashlib.sha256()
    for part in parts:
        inside = sorted((checkout / part).rglob("*")) if (checkout / part).is_dir() else [checkout / part]
        for path in inside:
            if path.suffix in SOURCES and path.is_file():
                digest.update(f"{path.relative_to(checkout).as_posix()} {file_checksum(path)}\n".encode())
    return digest.hexdigest()


def commit_of(checkout: Path) -> str:
    """Return the commit of a checkout, with a + if its files differ from it; unknown where there is no git."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        git = ["git", "-C", str(checkout)]
        name = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], stderr=subprocess.DEVNULL, text=True)
        changes = subprocess.check_output([*git, "status", "--porcelain", "-uno"], stderr=subprocess.DEVNULL)
        return name.strip() + ("+" if changes else "")
    return "unknown"


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    """Return values as they come back from a file."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _shown(value: Any) -> str:
    return shlex.join(value) or "none" if isinstance(value, list) else str(value)


# --- What is done -----------------------------------------------------------------------------------------------------


def trained(run: Run) -> list[Trained]:
    """Return the snapshots of a run, in their order; none if it is not finished."""
    path = run.place / "trained.json"
    if not path.exists():
        return []
    snapshots = []
    for line in read_json(path)["snapshots"]:
        snapshots.append(Trained(kimg=line["kimg"], path=run.place / line["file"], sha256=line["sha256"]))
    return snapshots


def seconds_per_kimg(run: Run) -> float:
    """Return how long a thousand clips took, the median of a run's status lines; NaN if it is not finished."""
    path = run.place / "trained.json"
    seconds = read_json(path)["seconds_per_kimg"] if path.exists() else None
    return math.nan if seconds is None else seconds


def film(run: Run) -> Path:
    """Return where a run's video is."""
    return run.place / "film" / "grid.mp4"


def curve(run: Run, scoring: Scoring) -> list[tuple[float, dict[str, Score]]]:
    """Return the scores of each snapshot of a run by metric, with its kimg."""
    return [(snapshot.kimg, scoring.scores(snapshot)) for snapshot in trained(run)]


def is_done(run: Run, study: Study) -> bool:
    """Return whether a run is trained and scored, and has its video if it is to have one."""
    snapshots = trained(run)
    is_scored = bool(snapshots) and not any(study.scoring.missing(snapshot) for snapshot in snapshots)
    return is_scored and (film(run).exists() or not _is_filmed(run, study))


def _is_filmed(run: Run, study: Study) -> bool:
    return study.films and run.seed == 0


# --- Work -------------------------------------------------------------------------------------------------------------


def call(checkout: Path, command: Sequence[str], log: Path) -> int:
    """Run a command of a checkout (`Call`). If this process is interrupted, it is asked to end, and waited for."""
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ python {shlex.join(command)}\n")
        file.flush()
        with subprocess.Popen([sys.executable, *command], cwd=checkout, stdout=file, stderr=file) as process:
            try:
                return process.wait()
            except KeyboardInterrupt:
                process.terminate()
                process.wait()
                raise


def work(run: Run, study: Study, *, call: Call = call, score: Scorer = score_missing) -> str | None:
    """Do what is left of a run; return why it failed, if it did.

    Raises:
        KeyboardInterrupt: it was stopped; the same command goes on.
    """
    log = run.place / "log.txt"
    try:
        snapshots = trained(run) or _take_over(run, log) or _train(run, study, call, log)
        with (
            log.open("a", encoding="utf-8") as file,
            contextlib.redirect_stdout(file),
            contextlib.redirect_stderr(file),
        ):
            for snapshot in snapshots:
                score(snapshot, study.scoring)
        if _is_filmed(run, study) and not film(run).exists():
            outdir = f"--outdir={film(run).parent}"
            must_succeed(call, ROOT, ["gen_videos.py", f"--network={snapshots[-1].path}", outdir, *FILM], log)
    except UserError as error:
        return str(error)
    except Exception as error:  # a fault of ours in one row, such as a metric that divides by zero
        return f"{type(error).__name__}: {error}"
    return None


def _take_over(run: Run, log: Path) -> list[Trained]:
    """Take the weights of a row that is trained alike, if its run is done; return the snapshots, else none."""
    if run.row.twin is None:
        return []
    place = study_twins.place_beside(run.place, run.row.twin)
    theirs = place / "trained.json"
    if not (theirs.exists() and study_twins.are_alike(run.place, place)):
        return []
    found = read_json(theirs)
    for line in found["snapshots"]:
        source = place / line["file"]
        line["file"] = f"of-{run.row.twin}/{source.name}"
        study_twins.sample_otherwise(source, run.place / line["file"], run.row.options)
        line["sha256"] = file_checksum(run.place / line["file"])
    log.write_text(f"Its weights are those of {run.row.twin}, which is trained alike.\n", encoding="utf-8")
    write_json(run.place / "trained.json", found)
    return trained(run)


def _train(run: Run, study: Study, call: Call, log: Path) -> list[Trained]:
    """Train a run, or go on with it; return its snapshots."""
    settings = study.settings
    place = run.place / "runs"
    what = [f"--outdir={place}", "--cfg=demo", *study_data.training_options(run.row, study.data), f"--seed={run.seed}"]
    what.append(f"--precision={settings.precision}")
    options = [*what, *length(settings.kimg, settings.snapshots), *run.row.schedule]
    options += [*settings.options, *run.row.options, *study_twins.generator_of(run.place, run.row.moves)]
    must_succeed(call, run.row.checkout, ["train.py", *options], log)
    folders = sorted(path.parent for path in place.glob("*/network-snapshot-*.pkl"))
    paths = due_snapshots(folders[-1], settings) if folders else []
    if len(set(paths)) != settings.snapshots:
        raise UserError(
            f"train.py wrote {len(set(paths))} snapshots, not {settings.snapshots}: "
            "give fewer --snapshots or a larger --kimg."
        )
    lines = []
    for number, path in enumerate(paths, 1):
        kimg = settings.kimg * number / settings.snapshots
        file = path.relative_to(run.place).as_posix()
        lines.append({"kimg": kimg, "file": file, "sha256": file_checksum(path)})
    speed = _median_speed(folders[-1] / "stats.jsonl")
    write_json(run.place / "trained.json", {"seconds_per_kimg": speed, "snapshots": lines})
    return trained(run)


def length(kimg: float, snapshots: int) -> list[str]:
    """Return options of train.py for so many snapshots, evenly spaced, of which the last one is the end."""
    tick, ticks = _rhythm(kimg, snapshots)
    return [f"--kimg={kimg:.12g}", f"--tick={tick / 1000:.12g}", f"--snap={ticks}", "--keep=1"]


def due_snapshots(folder: Path, settings: Settings) -> list[Path]:
    """Return the snapshots of a run's folder that were due; a run that was stopped has others besides."""
    tick, ticks = _rhythm(settings.kimg, settings.snapshots)
    written = sorted((_clips(path), path) for path in folder.glob("network-snapshot-*.pkl"))
    found = []
    for number in range(1, settings.snapshots + 1):
        due = min(number * ticks * tick, settings.kimg * 1000)
        found += [path for clips, path in written if clips >= due][:1]
    return found


def _rhythm(kimg: float, snapshots: int) -> tuple[int, int]:
    """Return the clips of a tick, and ticks between snapshots.

    Ticks are whole clips, rounded up: the last snapshot falls due at the end or behind it, so there is none before.
    """
    clips = kimg * 1000
    ticks = max(1, round(clips / snapshots / TICK_CLIPS))
    return math.ceil(clips / snapshots / ticks - 1e-6), ticks


def _clips(snapshot: Path) -> int:
    """Return after how many clips a snapshot was written, which its name says."""
    return round(float(snapshot.stem.rpartition("-")[2]) * 1000)


def must_succeed(call: Call, checkout: Path, command: list[str], log: Path) -> None:
    """Run a command. UserError with its last line if it fails; KeyboardInterrupt if it was stopped."""
    status = call(checkout, command, log)
    if status == STOPPED:
        raise KeyboardInterrupt
    if status:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] if log.exists() else []
        raise UserError(f"{command[0]} ended with status {status}: {''.join(last) or 'it said nothing'} ({log})")


def _median_speed(path: Path) -> float | None:
    """Return the median of a run's seconds per kimg, None if it wrote none."""
    lines = json_lines.read(path) if path.exists() else []
    speeds = [json_lines.number(line, "time/sec_per_kimg") for line in lines]
    known = [speed for speed in speeds if math.isfinite(speed)]
    return statistics.median(known) if known else None
