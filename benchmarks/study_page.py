"""What a study found, as a page, as data, and as a table in Markdown."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import study_statistics
from benchmarks.study_costs import Cost
from benchmarks.study_rows import PAPER_METRICS, Row
from benchmarks.study_scores import Score
from benchmarks.study_statistics import Losses, Spread
from dnnlib.page import Lines, Page, figure, legend, line_chart, table, video
from metrics.protocols import parse_request

READING = (
    "Mean ± standard deviation over the seeds, of the last snapshots. best: below the next row by more than the larger "
    "deviation of the two. worse: than the first row, by more than the deviation of its seeds. One seed has no "
    "deviation, so nothing is marked then. true heads: what real videos, or a perfect generator, have."
)
COSTS = ("s/kimg", "M parameters", "GFLOP a frame")  # parameters are the generator's
ORDERS = "Rows of the paper, best first; on other data, at another size and length."
CURVES = "Means over the seeds that have come so far."
FILMS = "The last snapshot of seed 0: the same four codes for every row, on an orbit; frame, depth, normals."


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A run: its scores by metric after so many kimg, seconds per kimg (NaN: not known), why it failed."""

    seed: int
    curve: list[tuple[float, dict[str, Score]]] = field(default_factory=list)
    seconds_per_kimg: float = math.nan
    failure: str | None = None

    def last(self, metric: str) -> Score | None:
        """Return the score of the last snapshot."""
        return self.curve[-1][1].get(metric) if self.curve else None


@dataclass(frozen=True, kw_only=True)
class RowResult:
    """A row, its runs, the first seed's video, and what its generator costs."""

    row: Row
    runs: list[RunResult]
    film: Path | None = None
    cost: Cost | None = None

    def scores(self, metric: str) -> list[Score]:
        """Return the scores of the last snapshots, one of each seed that has one."""
        found = [run.last(metric) for run in self.runs]
        return [score for score in found if score is not None]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All results.

    Args:
        rows: the first one is what the others are compared with.
        metrics: names.
        settings: of the study, as text beside their names.
        command: that repeats it.
    """

    rows: list[RowResult]
    metrics: Sequence[str]
    settings: dict[str, Any]
    command: str

    def losses(self, metric: str) -> Losses | None:
        """Return a metric's values of each row, so that less is better; None if nothing says which is."""
        found = {}
        for result in self.rows:
            scores = result.scores(metric)
            each = [study_statistics.losses(metric, [score.value], score.target) for score in scores]
            if any(values is None for values in each):
                return None
            found[result.row.name] = [value for values in each if values for value in values]
        return found

    def marks(self, metric: str) -> dict[str, list[str]]:
        """Return what is said of each row."""
        losses = self.losses(metric)
        return study_statistics.marks(losses) if losses else {}

    def failures(self) -> list[tuple[str, str]]:
        """Return run and reason of what failed."""
        found = []
        for result in self.rows:
            for run in result.runs:
                if run.failure is not None:
                    found.append((f"{result.row.name}, seed {run.seed}", run.failure))
        return found

    def doubts(self) -> list[str]:
        """Return sentences on what should not be compared as it stands."""
        found = []
        for metric in self.metrics:
            scores = [score for result in self.rows for score in result.scores(metric)]
            if len({score.instrument for score in scores}) > 1:
                found.append(
                    f"{metric}: not all rows were read by the same network: they were scored on different processors, "
                    "or with different numbers of threads. Remove the *.scores.jsonl and score all again."
                )
        counts = {len(result.scores(self.metrics[0])) for result in self.rows}
        if len(counts) > 1:
            found.append(f"Rows have different numbers of finished seeds: {', '.join(map(str, sorted(counts)))}.")
        return found


# --- Tables -----------------------------------------------------------------------------------------------------------


def main_table(findings: Findings) -> tuple[list[str], list[list[str]]]:
    """Return header and lines of the table of all rows."""
    header = ["row", "seeds", *findings.metrics, "paper: FVD, CD, WE", *COSTS, "options", "what"]
    marks = {metric: findings.marks(metric) for metric in findings.metrics}
    lines = []
    for result in findings.rows:
        row = result.row
        seeds = sum(bool(run.curve) for run in result.runs)
        speed = Spread.of([run.seconds_per_kimg for run in result.runs])
        cells = [_cell(result.scores(metric), marks[metric].get(row.name, [])) for metric in findings.metrics]
        paper = ", ".join(f"{number:g}" for number in row.paper or ())
        costs = [f"{speed.mean:.3g}" if speed.count else "", *_costs(result.cost)]
        lines.append([row.name, str(seeds), *cells, paper, *costs, " ".join(row.options), row.about])
    real = [Spread.of(_targets(findings, metric)) for metric in findings.metrics]
    known = [f"{spread.mean:.4g}" if spread.count else "" for spread in real]
    if any(known):
        lines.append(["true heads", "", *known, *[""] * (len(header) - 2 - len(known))])
    return header, lines


def _costs(cost: Cost | None) -> list[str]:
    """Return the columns of COSTS that are a generator's."""
    return ["", ""] if cost is None else [f"{cost.parameters / 1e6:.3g}", f"{cost.flops / 1e9:.3g}"]


def _cell(scores: Sequence[Score], marks: Sequence[str]) -> str:
    """Return mean and deviation with what is said of them; how many seeds they are of where some have no number."""
    if not scores:
        return ""
    spread = Spread.of([score.value for score in scores])
    lacking = [f"{spread.count} of {len(scores)} seeds"] if spread.count < len(scores) else []
    return ", ".join([str(spread), *lacking, *marks])


def order_table(findings: Findings) -> tuple[list[str], list[list[str]]]:
    """Return header and lines of the orders of the paper's rows; no lines where there is nothing to order."""
    header = ["metric", "the paper's order", "here", "pairs that the spread bears", "of these in the paper's order"]
    lines = []
    for metric in findings.metrics:
        kind = parse_request(metric).kind
        losses = findings.losses(metric)
        if kind not in PAPER_METRICS or not losses:
            continue
        place = PAPER_METRICS.index(kind)
        paper = {found.row.name: found.row.paper[place] for found in findings.rows if found.row.paper}
        means = {name: Spread.of(losses[name]).mean for name in paper if losses.get(name)}
        if len(means) < 2:
            continue
        same, borne = study_statistics.agreement({name: paper[name] for name in means}, losses)
        orders = [", ".join(sorted(means, key=lambda name: values[name])) for values in (paper, means)]
        lines.append([metric, *orders, str(borne), str(same)])
    return header, lines


def markdown(findings: Findings) -> str:
    """Return the tables in Markdown, and what failed."""
    parts = [_markdown_table(*main_table(findings))]
    header, lines = order_table(findings)
    if lines:
        parts.append(_markdown_table(header, lines))
    parts += [f"Failed: {run}: {reason}" for run, reason in findings.failures()]
    return "\n\n".join([*parts, *findings.doubts()])


def _markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in (header, ["---"] * len(header), *lines)]
    return "\n".join("| " + " | ".join(line) + " |" for line in escaped)


def _targets(findings: Findings, metric: str) -> list[float]:
    scores = [score for result in findings.rows for score in result.scores(metric)]
    return [score.target for score in scores if score.target is not None]


# --- The page ---------------------------------------------------------------------------------------------------------


def write_page(path: Path, findings: Findings) -> None:
    """Write everything on one page."""
    page = Page("A study of training options on procedural heads")
    page.code(findings.command)
    page.add(table([], [[name, str(value)] for name, value in findings.settings.items()]))
    failures = findings.failures()
    if failures:
        page.heading("Failures", "The same command tries them again, and leaves what is done.")
        page.add(table(["run", "reason"], failures))
    page.heading("Scores", READING)
    page.add(table(*main_table(findings), is_wide=True))
    for doubt in findings.doubts():
        page.heading("A doubt", doubt)
    header, lines = order_table(findings)
    if lines:
        page.heading("The paper's order", ORDERS)
        page.add(table(header, lines))
    page.heading("Scores while training", CURVES)
    page.add(legend([result.row.name for result in findings.rows]))
    page.grid([curve_chart(findings, metric) for metric in findings.metrics])
    films = [figure(video(result.film), result.row.name) for result in findings.rows if result.film is not None]
    if films:
        page.heading("Samples", FILMS)
        page.grid(films)
    page.write(path)


def curve_chart(findings: Findings, metric: str) -> str:
    """Return a metric's curves as a figure, without names."""
    return figure(line_chart(*curves(findings, metric), "kimg", with_names=False), metric)


def curves(findings: Findings, metric: str) -> tuple[list[float], Lines]:
    """Return kimg, and the means of each row over its seeds there; None where there are none."""
    found: dict[str, dict[float, list[float]]] = {}
    for result in findings.rows:
        values = found.setdefault(result.row.name, {})
        for run in result.runs:
            for kimg, scores in run.curve:
                if metric in scores:
                    values.setdefault(kimg, []).append(scores[metric].value)
    x = sorted({kimg for values in found.values() for kimg in values})
    lines: Lines = {}
    for name, values in found.items():
        lines[name] = [Spread.of(values[kimg]).mean if kimg in values else None for kimg in x]
    return x, lines


# --- Data -------------------------------------------------------------------------------------------------------------


def as_json(findings: Findings) -> dict[str, Any]:
    """Return everything as plain values; null where a number is not known."""
    rows = []
    for result in findings.rows:
        summary = {}
        for metric in findings.metrics:
            spread = Spread.of([score.value for score in result.scores(metric)])
            summary[metric] = {**asdict(spread), "marks": findings.marks(metric).get(result.row.name, [])}
        row = {
            "name": result.row.name,
            "options": list(result.row.options),
            "checkout": str(result.row.checkout),
            "paper": dict(zip(PAPER_METRICS, result.row.paper, strict=True)) if result.row.paper else None,
            "summary": summary,
            "cost": None if result.cost is None else asdict(result.cost),
            "runs": [asdict(run) for run in result.runs],
        }
        rows.append(row)
    header, lines = order_table(findings)
    orders = [dict(zip(header, line, strict=True)) for line in lines]
    whole = {"command": findings.command, "settings": findings.settings, "rows": rows, "orders": orders}
    return _plain({**whole, "doubts": findings.doubts()})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
