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
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 460, 220, 44, 26, 12  # of a chart, in pixels
Lines = dict[str, Sequence[float | None]]  # by name; None where there is no value


@dataclass
class Page:
    """A page built top to bottom, then written."""

    title: str
    parts: list[str] = field(default_factory=list)

    def heading(self, text: str, note: str = "") -> None:
        """A section's title and a sentence."""
        self.parts.append(f"<h2>{html.escape(text)}</h2>")
        if note:
            self.parts.append(f'<p class="soft">{html.escape(note)}</p>')

    def code(self, text: str) -> None:
        """A block of commands."""
        self.parts.append(f"<pre><code>{html.escape(text)}</code></pre>")

    def videos(self, items: Sequence[tuple[Path, str]]) -> None:
        """A row of looping H.264 videos with captions."""
        cells = [
            f'<video autoplay loop muted playsinline controls src="data:video/mp4;base64,{_base64(path)}"></video>'
            for path, _ in items
        ]
        self._row(cells, [caption for _, caption in items])

    def charts(self, items: Sequence[tuple[str, Sequence[float], Lines]]) -> None:
        """A row of line charts: (caption, x, {name: y})."""
        self._row([line_chart(x, lines) for _, x, lines in items], [caption for caption, _, _ in items])

    def _row(self, cells: Sequence[str], captions: Sequence[str]) -> None:
        figures = (
            f"<figure>{cell}<figcaption>{html.escape(caption)}</figcaption></figure>"
            for cell, caption in zip(cells, captions, strict=True)
        )
        self.parts.append(f'<div class="row">{"".join(figures)}</div>')

    def write(self, path: Path) -> None:
        """Writes the page atomically."""
        title = html.escape(self.title)
        text = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style>'
            f"<h1>{title}</h1>{''.join(self.parts)}</html>"
        )
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def line_chart(x: Sequence[float], lines: Lines) -> str:
    """An SVG chart of lines over x, which rises, with ranges on its axes and a legend; unknown points are left out."""
    values = [y for line in lines.values() for y in line if _known(y)]
    if len(x) < 2 or not values:
        return "<p>Too few points for a chart.</p>"
    low, high = min(values), max(values)
    high = high if high > low else low + 1

    def place(a: float, b: float) -> str:
        return (
            f"{LEFT + (a - x[0]) / (x[-1] - x[0]) * (WIDTH - LEFT - 8):.1f},"
            f"{HEIGHT - BOTTOM - (b - low) / (high - low) * (HEIGHT - BOTTOM - TOP):.1f}"
        )

    drawn = [
        f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - 8}" height="{HEIGHT - BOTTOM - TOP}" fill="none" '
        'stroke="var(--line)"/>'
    ]
    for index, ((name, line), colour) in enumerate(zip(lines.items(), itertools.cycle(COLOURS), strict=False)):
        points = " ".join(place(a, b) for a, b in zip(x, line, strict=True) if _known(b))
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        drawn.append(
            f'<text x="{LEFT + 8 + 104 * index}" y="{TOP + 14}" style="fill:{colour}">{html.escape(name)}</text>'
        )
    for a, anchor in ((x[0], "start"), (x[-1], "end")):
        left = LEFT if anchor == "start" else WIDTH - 8
        drawn.append(f'<text x="{left}" y="{HEIGHT - 8}" text-anchor="{anchor}">{a:.3g} kimg</text>')
    for b, top in ((high, TOP + 10), (low, HEIGHT - BOTTOM)):
        drawn.append(f'<text x="{LEFT - 4}" y="{top}" text-anchor="end">{b:.3g}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(drawn)}</svg>'


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
