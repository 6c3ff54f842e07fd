"""A study of training options on procedural heads: rows x seeds, scored along the way, on one page.

    python benchmarks/study.py --outdir=study --rows=table2,table3 --seeds=2
    python benchmarks/study.py --outdir=learning --seeds=3 --row old ../old "" --row new . ""

All runs train `--cfg=demo` on the same heads; this checkout scores them alike, on heads of people that none has seen.
The first row is the yardstick. What is done is not done again, and what was interrupted goes on (docs/study.md).
"""

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from dnnlib import openmp  # noqa: E402, F401  (before torch)

# isort: split
import click  # noqa: E402
import torch  # noqa: E402

from benchmarks import study_data, study_page, study_rows, study_runs  # noqa: E402
from benchmarks.study_costs import Cost, known_cost  # noqa: E402
from benchmarks.study_runs import Run, Settings, Study  # noqa: E402
from benchmarks.study_scores import Scoring  # noqa: E402
from benchmarks.study_workers import finished  # noqa: E402
from dnnlib import cli  # noqa: E402
from dnnlib.errors import UserError  # noqa: E402
from dnnlib.files import write_json  # noqa: E402
from dnnlib.locks import alone_in  # noqa: E402
from dnnlib.progress import Counter, print_line  # noqa: E402
from metrics.protocols import parse_requests  # noqa: E402
from torch_utils import runtime  # noqa: E402
from torch_utils.machine_options import AUTO, PRECISIONS  # noqa: E402
from training.data.dataset import ClipDataset  # noqa: E402

METRICS = "fvd128_16f,cd64,we64,pose128,depth128,motion-share16,diversity64"
TEST_CLIPS = 128
FOLDER = click.Path(path_type=Path, file_okay=False)

# Headings of `--help`.
TRAINED = "What is trained"
LENGTH = "Length"
DATA = "Procedural heads"
SCORES = "Scores"
WORK = "Work"


@cli.command()
@cli.option("--outdir", group=TRAINED, type=cli.PATH, required=True, help="Where data, runs, scores and page are kept.")
@cli.option(
    "--rows",
    group=TRAINED,
    default="",
    metavar="NAMES",
    show_default="none",
    help=f"Sets {', '.join(study_rows.SETS)}, or single rows such as cameras-all (docs/study.md).",
)
@cli.option(
    "--row",
    "own",
    group=TRAINED,
    type=(str, FOLDER, str),
    multiple=True,
    metavar="NAME CHECKOUT OPTIONS",
    help="A row of one's own: train.py of a checkout (. is this folder) with options in one word.",
)
@cli.option("--options", group=TRAINED, default="", show_default="none", help="Options of train.py for all rows.")
@cli.option(
    "--precision",
    group=TRAINED,
    type=click.Choice((AUTO, *PRECISIONS)),
    default=AUTO,
    help="Of training, for all rows; auto: what the machine on which the study begins is fastest in.",
)
@cli.option("--seeds", group=TRAINED, type=click.IntRange(1), default=2, help="Runs of each row, of seeds 0, 1, ...")
@cli.option(
    "--kimg", group=LENGTH, type=click.FloatRange(min=0, min_open=True), default=8.0, help="Thousand clips a run."
)
@cli.option("--snapshots", group=LENGTH, type=click.IntRange(1), default=4, help="Scored ones a run, evenly spaced.")
@cli.option("--clips", group=DATA, type=click.IntRange(1), default=500, help="People to train on.")
@cli.option("--test-clips", group=DATA, type=click.IntRange(1), default=TEST_CLIPS, help="Other people, to score on.")
@cli.option("--frames", group=DATA, type=click.IntRange(1), default=20, help="Frames a clip.")
@cli.option("--resolution", group=DATA, type=click.IntRange(16, 1024), default=64, help="Side of the frames in pixels.")
@cli.option(
    "--yaw-range",
    group=DATA,
    type=click.FloatRange(1, 75),
    show_default="that of dataset_tool.py synth",
    help="Degrees to either side within which cameras stay.",
)
@cli.option("--metrics", group=SCORES, default=METRICS, help="Of every snapshot, as calc_metrics.py takes them.")
@cli.option(
    "--detector",
    group=SCORES,
    type=click.Choice(["public", "random"]),
    default="random",
    help="Networks that look at the videos.",
)
@cli.option("--detectors", group=SCORES, type=cli.PATH, help="Folder with the public detectors' files.")
@cli.option(
    "--jobs",
    group=WORK,
    type=click.IntRange(1),
    show_default="as many as cores",
    help="Runs at a time on a CPU; they share its cores.",
)
@cli.option("--gpus", group=WORK, type=click.IntRange(0), default=0, help="Runs at a time, each on a GPU; 0: on a CPU.")
def main(
    outdir: Path,
    rows: str,
    own: Sequence[tuple[str, Path, str]],
    options: str,
    precision: str,
    seeds: int,
    metrics: str,
    detector: str,
    detectors: Path | None,
    jobs: int | None,
    gpus: int,
    **lengths: Any,
) -> None:
    """Train rows from several seeds, score their snapshots, and compare them on a page.

    \b
    python benchmarks/study.py --outdir=study --rows=table2,table3 --seeds=2
    python benchmarks/study.py --outdir=learning --seeds=3 --row old ../old "" --row new . ""

    The same command again goes on; rows, seeds and metrics may be added. Exit status 1: a run failed.
    """
    found = study_rows.resolve(rows, own)
    names = tuple(request.metric for request in parse_requests(metrics))
    devices = workers(jobs, gpus)
    threads = max(1, runtime.cores() // len(devices))
    device = "cuda" if gpus else "cpu"
    if precision == AUTO:
        precision = runtime.best_precision(torch.device(device))
    everywhere = study_rows.split(options, "--options")
    settings = Settings(**lengths, options=everywhere, device=device, precision=precision)
    outdir = outdir.resolve()
    with sigterm_as_ctrl_c(), alone_in(outdir, "wait for it, or give another --outdir"):
        study_runs.keep_settings(outdir, settings)
        names_of_data = dict.fromkeys(name for row in found for name in row.datasets)  # each once
        paths = {name: make_data(outdir, settings, name) for name in (*names_of_data, study_rows.TEST)}
        test = paths.pop(study_rows.TEST)
        data = {}
        for name, path in paths.items():
            data[name] = study_data.Dataset(path=path, fingerprint=ClipDataset(path).fingerprint())
        scoring = Scoring(
            data=test,
            fingerprint=ClipDataset(test).fingerprint(),
            metrics=names,
            detector=detector,
            folder=detectors,
            cache=outdir / "cache",
            code=study_runs.code_of(ROOT, study_runs.SCORING_CODE),
            threads=threads,
        )
        study = Study(settings=settings, data=data, scoring=scoring)
        runs = all_runs(outdir, found, range(seeds), study)
        failures = do_all(outdir, runs, study, devices)
    click.echo(study_page.markdown(findings(runs, study, failures)))
    click.echo(f"\nOpen {outdir / 'index.html'}")
    if failures:
        raise click.exceptions.Exit(1)


# --- Preparation ------------------------------------------------------------------------------------------------------


def workers(jobs: int | None, gpus: int) -> list[str]:
    """Return what CUDA_VISIBLE_DEVICES is for each worker. UserError if there are too few GPUs."""
    if not gpus:
        return [""] * (jobs or runtime.cores())
    if jobs is not None:
        raise UserError(
            "--jobs is for a CPU, and --gpus says how many runs there are at a time: leave one of them out."
        )
    present = torch.cuda.device_count()
    if gpus > present:
        raise UserError(f"--gpus={gpus} is not possible: there are {present} here.")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",") if visible else [str(number) for number in range(present)]
    return names[:gpus]


@contextlib.contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM interrupt the block as Ctrl-C does: runs are asked to end, and keep their states."""
    old = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


def make_data(outdir: Path, settings: Settings, name: str) -> Path:
    """Make a dataset of `study_data` unless it is there; return its path."""
    path = outdir / f"{name}.zip"
    if not path.exists():
        lengths = {"clips": settings.clips, "test_clips": settings.test_clips, "frames": settings.frames}
        what = [f"--dest={path}", *study_data.synth_options(name, **lengths)]
        views = [] if settings.yaw_range is None else [f"--yaw-range={settings.yaw_range}"]
        command = ["dataset_tool.py", "synth", *what, f"--resolution={settings.resolution}", *views]
        print_line(f"Drawing heads: {path}")
        study_runs.must_succeed(study_runs.call, ROOT, command, outdir / "log.txt")
    return path


def all_runs(outdir: Path, rows: Sequence[study_rows.Row], seeds: Sequence[int], study: Study) -> list[Run]:
    """Return the runs, all rows of one seed before the next seed. UserError if one that is there is another."""
    code = {row.checkout: study_runs.code_of(row.checkout) for row in rows}
    runs = []
    for seed in seeds:
        for row in rows:
            run = Run(row=row, seed=seed, place=outdir / "rows" / row.name / f"seed{seed}")
            study_runs.keep_record(run, study, code[row.checkout])
            runs.append(run)
    return runs


# --- Work and results -------------------------------------------------------------------------------------------------


def do_all(outdir: Path, runs: Sequence[Run], study: Study, devices: Sequence[str]) -> dict[Run, str]:
    """Do what is left, writing the page after each run; return why runs failed."""
    failures: dict[Run, str] = {}
    left = [run for run in runs if not study_runs.is_done(run, study)]
    print_line(f"{len(runs) - len(left)} of {len(runs)} runs are done; {len(left)} to go, {len(devices)} at a time.")
    write_results(outdir, findings(runs, study, failures))
    with Counter(len(left), title="study", unit="run") as counter:
        for run, failure in finished(left, study, devices, study.scoring.threads) if left else ():
            if failure is None:
                print_line(f"{run}: done")
            else:
                failures[run] = failure
                print_line(f"{run}: FAILED: {failure}")
            counter.update()
            write_results(outdir, findings(runs, study, failures))
    return failures


def findings(runs: Sequence[Run], study: Study, failures: Mapping[Run, str]) -> study_page.Findings:
    """Return all that is known."""
    by_row: dict[str, list[Run]] = {}
    for run in runs:
        by_row.setdefault(run.row.name, []).append(run)
    rows = []
    for own in by_row.values():
        results = []
        for run in own:
            results.append(
                study_page.RunResult(
                    seed=run.seed,
                    curve=study_runs.curve(run, study.scoring),
                    seconds_per_kimg=study_runs.seconds_per_kimg(run),
                    failure=failures.get(run),
                )
            )
        film = study_runs.film(own[0])
        rows.append(
            study_page.RowResult(row=own[0].row, runs=results, film=film if film.exists() else None, cost=row_cost(own))
        )
    settings = asdict(study.settings) | {"options": " ".join(study.settings.options) or "none"}
    if study.settings.yaw_range is None:
        settings["yaw_range"] = "that of dataset_tool.py synth"
    return study_page.Findings(
        rows=rows,
        metrics=study.scoring.metrics,
        settings={**settings, "detector": study.scoring.detector, "commit": study_runs.commit_of(ROOT)},
        command=f"python benchmarks/study.py {shlex.join(sys.argv[1:])}",
    )


def row_cost(runs: Sequence[Run]) -> Cost | None:
    """Return what the generator of a row costs; None until one of its runs is trained."""
    for run in runs:
        snapshots = study_runs.trained(run)
        if snapshots:
            return known_cost(run.place, snapshots[-1].path)
    return None


def write_results(outdir: Path, found: study_page.Findings) -> None:
    """Write the page and the data."""
    write_json(outdir / "study.json", study_page.as_json(found))
    study_page.write_page(outdir / "index.html", found)


if __name__ == "__main__":
    main()
