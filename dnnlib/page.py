"""Self-contained HTML pages: videos, pictures and line charts in one file that opens anywhere."""

import base64
import html
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dnnlib.files import atomic_path

STYLE = """
:root { color-scheme: light dark; --ink: #1d2129; --soft: #667; --line: #d9dce3; --paper: #fbfbfd; --card: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7e9ee; --soft: #9aa0ae; --line: #333844; --paper: #14161b; --card: #1c1f26; } }
body { margin: 0 auto; max-width: 1080px; padding: 32px 20px 64px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 28px; margin: 0 0 4px; } h2 { font-size: 20px; margin: 40px 0 4px; } p { margin: 4px 0 14px; }
.soft, figcaption { color: var(--soft); } figcaption { font-size: 14px; margin-top: 6px; }
.row { display: flex; flex-wrap: wrap; gap: 16px; }
figure { margin: 0; flex: 1 1 320px; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 12px; }
video, img { width: 100%; border-radius: 6px; display: block; image-rendering: auto; background: #000; }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 11px; } code { font-size: 14px; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px;
  overflow-x: auto; }
"""
COLOURS = ("#3b76d9", "#d9603b", "#3a9e62", "#9a57c9", "#b98b1d")
# A chart and the frame of its lines, in pixels.
WIDTH, HEIGHT = 460, 220
LEFT, RIGHT = 44, WIDTH - 8
TOP, BOTTOM = 12, HEIGHT - 26
LEGEND_STEP = 104  # between the names of two lines
FRAME = f'<rect x="{LEFT}" y="{TOP}" width="{RIGHT - LEFT}" height="{BOTTOM - TOP}" fill="none" stroke="var(--line)"/>'

Lines = dict[str, Sequence[float | None]]  # by name; None where there is no value


@dataclass
class Page:
    """A page that is built top to bottom, then written."""

    title: str
    parts: list[str] = field(default_factory=list)

    def heading(self, text: str, note: str = "") -> None:
        """Add a section's title and a sentence."""
        self.parts.append(f"<h2>{html.escape(text)}</h2>")
        if note:
            self.parts.append(f'<p class="soft">{html.escape(note)}</p>')

    def code(self, text: str) -> None:
        """Add a block of commands."""
        self.parts.append(f"<pre><code>{html.escape(text)}</code></pre>")

    def videos(self, items: Sequence[tuple[Path, str]]) -> None:
        """Add a row of looping H.264 videos with captions."""
        self._row([_figure(_video(path), caption) for path, caption in items])

    def charts(self, items: Sequence[tuple[str, Sequence[float], Lines]], unit: str) -> None:
        """Add a row of line charts: (caption, x, {name: y}), x in the unit given."""
        figures = []
        for caption, x, lines in items:
            figures.append(_figure(line_chart(x, lines, unit), caption))
        self._row(figures)

    def _row(self, figures: Sequence[str]) -> None:
        self.parts.append(f'<div class="row">{"".join(figures)}</div>')

    def write(self, path: Path) -> None:
        """Write the page atomically."""
        title = html.escape(self.title)
        text = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style>'
            f"<h1>{title}</h1>{''.join(self.parts)}</html>"
        )
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _video(path: Path) -> str:
    source = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<video autoplay loop muted playsinline controls src="data:video/mp4;base64,{source}"></video>'


def line_chart(
    x: Sequence[float],
    lines: Lines,
    unit: str,
) -> str:
    """Draw lines over x, which rises, as SVG, with ranges on its axes and a legend; unknown points are left out.

    Args:
        x: at least two numbers, for there to be a chart.
        lines: y by name, as many numbers as x.
        unit: of x.
    """
    known = {}
    values = []
    for name, line in lines.items():
        known[name] = _known_points(x, line)
        values += [y for _, y in known[name]]
    if len(x) < 2 or not values:
        return "<p>Too few points for a chart.</p>"
    first, last = x[0], x[-1]
    low, high = min(values), max(values)
    if high == low:
        high = low + 1

    def place(a: float, b: float) -> str:
        """Return a point's position in pixels."""
        across = (a - first) / (last - first)
        up = (b - low) / (high - low)
        left = LEFT + across * (RIGHT - LEFT)
        top = BOTTOM - up * (BOTTOM - TOP)
        return f"{left:.1f},{top:.1f}"

    drawn = [FRAME]
    legend_left = LEFT + 8
    for (name, points), colour in zip(known.items(), itertools.cycle(COLOURS), strict=False):
        path = " ".join(place(a, b) for a, b in points)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        drawn.append(_text(name, legend_left, TOP + 14, f'style="fill:{colour}"'))
        legend_left += LEGEND_STEP
    drawn += [
        _text(f"{first:.3g} {unit}", LEFT, HEIGHT - 8, 'text-anchor="start"'),
        _text(f"{last:.3g} {unit}", RIGHT, HEIGHT - 8, 'text-anchor="end"'),
        _text(f"{high:.3g}", LEFT - 4, TOP + 10, 'text-anchor="end"'),
        _text(f"{low:.3g}", LEFT - 4, BOTTOM, 'text-anchor="end"'),
    ]
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(drawn)}</svg>'


def _text(text: str, left: int, top: int, attribute: str) -> str:
    return f'<text x="{left}" y="{top}" {attribute}>{html.escape(text)}</text>'


def _known_points(x: Sequence[float], line: Sequence[float | None]) -> list[tuple[float, float]]:
    points = []
    for a, b in zip(x, line, strict=True):
        if b is not None and math.isfinite(b):
            points.append((a, b))
    return points
