"""Charts of measurements as SVG files that stand alone: ticks and units on both axes, for light and dark screens."""

import html
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dnnlib.files import atomic_path
from dnnlib.page import COLOURS

STYLE = """
.chart { --ink: #1d2129; --soft: #5a6070; --line: #d9dce3; --paper: #ffffff; font: 13px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { .chart { --ink: #e7e9ee; --soft: #a2a8b6; --line: #3a404c; --paper: #14161b; } }
.chart text { fill: var(--soft); } .chart .title { fill: var(--ink); font-weight: 600; font-size: 15px; }
.chart .number { fill: var(--ink); } .chart .grid { stroke: var(--line); } .chart .axis { stroke: var(--soft); }
.chart .mark { stroke: var(--ink); stroke-dasharray: 4 3; } .chart .curve { fill: none; stroke-width: 1.8; }
"""
BINS = 41  # of a histogram; odd, so that numbers alike but for rounding are in the middle of one
TICKS = 5  # about so many on an axis
STEPS = (1, 2, 5, 10)  # between ticks, times a power of ten
# Lengths in pixels.
PANEL_WIDTH, PANEL_HEIGHT = 450, 340
LINES_WIDTH = 640
LEGEND_WIDTH, LEGEND_STEP = 200, 20
TITLE_HEIGHT = 44
LEFT_MARGIN, RIGHT_MARGIN, TOP_MARGIN, BOTTOM_MARGIN = 74, 24, 30, 56
DASHES = ("", "6 3", "2 3")  # of curves, after each round of the colours

Curves = Sequence[Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Numbers to count, [N] finite ones with N >= 1.

    Args:
        title: what they are.
        unit: label of their axis, with the unit.
        counted: what one number belongs to, in the plural: label of the other axis.
    """

    title: str
    values: Sequence[float] | np.ndarray
    unit: str
    counted: str


# --- Charts -----------------------------------------------------------------------------------------------------------


def histograms(title: str, panels: Sequence[Histogram]) -> str:
    """Draw histograms side by side, each with a dashed line at its mean."""
    drawn = [_histogram(panel, index * PANEL_WIDTH) for index, panel in enumerate(panels)]
    return _document(title, len(panels) * PANEL_WIDTH, TITLE_HEIGHT + PANEL_HEIGHT, drawn)


def line_chart(
    title: str,
    x: Sequence[float],
    groups: Mapping[str, Curves],
    *,
    x_label: str,
    y_label: str,
) -> str:
    """Draw groups of curves over x; those of a group share a colour and an entry of the legend.

    Args:
        x: at least two numbers, rising.
        groups: curves by name, each of as many finite numbers as x; at least one curve.
        x_label, y_label: of the axes, with units.
    """
    values = [value for curves in groups.values() for curve in curves for value in curve]
    axes = _Axes.around((x[0], x[-1]), _span(min(0, *values), max(values)), left=0, width=LINES_WIDTH)
    drawn = axes.frame("", x_label, y_label)
    rows = zip(groups.items(), itertools.cycle(itertools.product(DASHES, COLOURS)), strict=False)
    for row, ((name, curves), (dash, colour)) in enumerate(rows):
        pen = f'stroke="{colour}" stroke-dasharray="{dash}"'
        for curve in curves:
            points = " ".join(axes.place(a, b) for a, b in zip(x, curve, strict=True))
            drawn.append(f'<polyline class="curve" points="{points}" {pen}/>')
        top = axes.top + 6 + row * LEGEND_STEP
        drawn.append(f'<path class="curve" d="M{LINES_WIDTH} {top}h26" {pen}/>')
        drawn.append(_text(name, LINES_WIDTH + 34, top + 4, "start"))
    height = max(TITLE_HEIGHT + PANEL_HEIGHT, axes.top + len(groups) * LEGEND_STEP + 12)
    return _document(title, LINES_WIDTH + LEGEND_WIDTH, height, drawn)


def write_chart(path: Path, svg: str) -> None:
    """Write a chart atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(svg, encoding="utf-8")


# --- Axes -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Axes:
    """A rectangle of a chart, in pixels, and the ranges of x and y that it shows."""

    left: float
    right: float
    top: float
    bottom: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    @classmethod
    def around(
        cls, x_range: tuple[float, float], y_range: tuple[float, float], *, left: float, width: float
    ) -> "_Axes":
        """Return the axes of a panel that begins at `left`, under the title."""
        return cls(
            left=left + LEFT_MARGIN,
            right=left + width - RIGHT_MARGIN,
            top=TITLE_HEIGHT + TOP_MARGIN,
            bottom=TITLE_HEIGHT + PANEL_HEIGHT - BOTTOM_MARGIN,
            x_range=x_range,
            y_range=y_range,
        )

    def across(self, x: float) -> float:
        """Return where x is, in pixels from the left."""
        low, high = self.x_range
        return self.left + (x - low) / (high - low) * (self.right - self.left)

    def down(self, y: float) -> float:
        """Return where y is, in pixels from the top."""
        low, high = self.y_range
        return self.bottom - (y - low) / (high - low) * (self.bottom - self.top)

    def place(self, x: float, y: float) -> str:
        """Return where a point is, as a polyline has it."""
        return f"{self.across(x):.1f},{self.down(y):.1f}"

    def frame(self, title: str, x_label: str, y_label: str) -> list[str]:
        """Draw axes, ticks, their numbers and labels."""
        middle = (self.left + self.right) / 2
        drawn = [_text(title, middle, self.top - 12, "middle", kind="number")]
        for value, number in ticks(*self.y_range):
            at = self.down(value)
            drawn.append(f'<path class="grid" d="M{self.left:.1f} {at:.1f}H{self.right:.1f}"/>')
            drawn.append(_text(number, self.left - 8, at + 4, "end"))
        for value, number in ticks(*self.x_range):
            at = self.across(value)
            drawn.append(f'<path class="axis" d="M{at:.1f} {self.bottom:.1f}v5"/>')
            drawn.append(_text(number, at, self.bottom + 20, "middle"))
        drawn.append(f'<path class="axis" d="M{self.left:.1f} {self.bottom:.1f}H{self.right:.1f}"/>')
        drawn.append(_text(x_label, middle, self.bottom + 42, "middle"))
        side, centre = self.left - LEFT_MARGIN + 16, (self.top + self.bottom) / 2
        drawn.append(_text(y_label, 0, 0, "middle", f'transform="translate({side:.1f} {centre:.1f}) rotate(-90)"'))
        return drawn


def ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return round numbers from `low` to `high` > `low`, about TICKS of them, each with its digits."""
    wanted = (high - low) / TICKS
    power = math.floor(math.log10(wanted))
    step = next(factor for factor in STEPS if factor * 10.0**power >= wanted * (1 - 1e-9)) * 10.0**power
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    values = [round(count * step, decimals) for count in range(first, last + 1)]
    return [(value, f"{value + 0.0:.{decimals}f}") for value in values]


# --- Pieces -----------------------------------------------------------------------------------------------------------


def _histogram(panel: Histogram, left: float) -> list[str]:
    values = np.asarray(panel.values, dtype=np.float64)
    low, high = _span(values.min(), values.max())
    counts, edges = np.histogram(values, bins=BINS, range=(low, high))
    axes = _Axes.around((low, high), (0, counts.max() * 1.05), left=left, width=PANEL_WIDTH)
    drawn = axes.frame(panel.title, panel.unit, panel.counted)
    for count, start, end in zip(counts, edges[:-1], edges[1:], strict=True):
        begin, top = axes.across(start), axes.down(count)
        width = max(axes.across(end) - begin - 1, 0.5)
        size = f'width="{width:.1f}" height="{axes.bottom - top:.1f}"'
        drawn.append(f'<rect x="{begin:.1f}" y="{top:.1f}" {size} fill="{COLOURS[0]}"/>')
    mean = values.mean()
    at = axes.across(mean)
    drawn.append(f'<path class="mark" d="M{at:.1f} {axes.top:.1f}V{axes.bottom:.1f}"/>')
    is_right = at > (axes.left + axes.right) / 2
    beside = at - 6 if is_right else at + 6
    drawn.append(_text(f"mean {mean:.4g}", beside, axes.top + 10, "end" if is_right else "start", kind="number"))
    return drawn


def _span(low: float, high: float) -> tuple[float, float]:
    """Return a range that holds both and has a length, also where they are equal or differ by rounding alone."""
    least = 1e-6 * max(abs(low), abs(high), 1e-6)
    if high - low >= least:
        return low, high
    middle = (low + high) / 2
    reach = max(abs(middle) * 0.01, 0.01)
    return middle - reach, middle + reach


def _text(text: str, x: float, y: float, anchor: str, attributes: str = "", kind: str = "label") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {attributes}>{html.escape(text)}</text>'
    )


def _document(title: str, width: float, height: float, drawn: Sequence[str | list[str]]) -> str:
    """Return an SVG file of these elements, under a title."""
    body = "".join(part if isinstance(part, str) else "".join(part) for part in drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {width} {height}" role="img">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>"
        f'<rect width="100%" height="100%" fill="var(--paper)"/>'
        f"{_text(title, 16, 28, 'start', kind='title')}{body}</svg>\n"
    )
