"""How fast videos become a dataset, stage by stage, and what further worker processes give.

    python benchmarks/preprocessing.py --source ../shared/data/mini_voxceleb/recrop_faces --workers 2

Work folders are made anew for each run; on a machine that does nothing else, two workers take little more than half as
long as one.
"""

import sys
import tempfile
import time
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from dnnlib import cli  # noqa: E402
from dnnlib.options import add_flags, given, override  # noqa: E402
from preprocessing.options import PreprocessOptions  # noqa: E402
from preprocessing.pipeline import run_stages  # noqa: E402
from preprocessing.report import make_report  # noqa: E402
from preprocessing.sources import list_sources  # noqa: E402
from preprocessing.stages import Workplace  # noqa: E402


@cli.command()
@cli.option("--source", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of videos.")
@cli.option("--workers", type=click.IntRange(2), default=2, help="Processes that are compared with a single one.")
@add_flags(PreprocessOptions())
def main(source: Path, workers: int, **flags: object) -> None:
    """Preprocess a folder with one worker and with more; print seconds, and frames a second a core of each stage."""
    options = override(PreprocessOptions(), given(PreprocessOptions, flags))
    videos, _ = list_sources(source)
    first: float | None = None
    for count in (1, workers):
        with tempfile.TemporaryDirectory() as folder:
            place = Workplace(root=Path(folder), options=options)
            started = time.perf_counter()
            outcome = run_stages(videos, place, count)
            seconds = time.perf_counter() - started
            report = make_report(source, Path("-"), videos, outcome, place)
        first = first or seconds
        click.echo(f"{count} workers: {seconds:.1f} s, {first / seconds:.2f} times as fast as the first")
        for stage in report.stages:
            click.echo(f"  {stage.stage:7s} {stage.frames:6d} frames, {stage.speed:7.1f} a second a core")


if __name__ == "__main__":
    main()
