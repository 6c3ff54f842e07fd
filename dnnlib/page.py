"""Self-contained HTML pages: videos, pictures and line charts in one file that opens anywhere."""

import base64
import html
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dnnlib.files import atomic_path

STYLE = """
:root { color-scheme: light dark; --ink: #1d2129; --soft: #667; --line: #d9dce3; --paper: #fbfbfd; --card: #fff;
  --good: #22774a; --bad: #b8431f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7e9ee; --soft: #9aa0ae; --line: #333844; --paper: #14161b; --card: #1c1f26;
    --good: #6fd09a; --bad: #f0906f; } }
body { margin: 0 auto; max-width: 1080px; padding: 32px 20px 64px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 28px; margin: 0 0 4px; } h2 { font-size: 20px; margin: 40px 0 4px; } p { margin: 4px 0 14px; }
.soft, figcaption { color: var(--soft); } figcaption { font-size: 14px; margin-top: 6px; }
.row { display: flex; flex-wrap: wrap; gap: 16px; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 16px; margin: 10px 0; }
.wide { overflow-x: auto; } .wide td { white-space: nowrap; }
figure { margin: 0; flex: 1 1 320px; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 12px; }
video, img { width: 100%; border-radius: 6px; display: block; image-rendering: auto; background: #000; }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 11px; } code { font-size: 14px; }
table { border-collapse: collapse; margin: 10px 0 18px; font-size: 14px; }
th, td { text-align: left; padding: 4px 14px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 500; }
details { background: var(--card); border: 1px solid var(--line); border-radius: 10px; margin: 10px 0;
  padding: 10px 14px; }
summary { cursor: pointer; } details figure { border: 0; padding: 8px 0; }
details img { width: auto; max-width: 100%; } details table { margin: 10px 0 4px; } td { overflow-wrap: anywhere; }
.numbers { display: flex; flex-wrap: wrap; gap: 12px 36px; margin: 14px 0 22px; }
.numbers b { display: block; font-size: 26px; line-height: 1.2; font-weight: 600; }
.numbers span { color: var(--soft); font-size: 14px; }
.good, .bad { border-radius: 5px; padding: 1px 7px; margin: 0 4px; font-size: 13px; }
.good { color: var(--good); background: #2c8a5326; } .bad { color: var(--bad); background: #cc523026; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px;
  overflow-x: auto; }
"""
COLOURS = ("#3b76d9", "#d9603b", "#3a9e62", "#9a57c9", "#b98b1d", "#c94f86", "#1f9aa6", "#7c6a55", "#8aa02e", "#6b7280")
DASHES = ("", "5 3", "1 3")  # of the first lines, of as many lines behind them as there are colours, and so on
# A chart and the frame of its lines, in pixels.
WIDTH, HEIGHT = 460, 220
LEFT, RIGHT = 44, WIDTH - 8
TOP, BOTTOM = 24, HEIGHT - 26
LEGEND_BASE = 15  # of the names of lines, which are above the frame
LEGEND_STEP = 104  # between the names of two lines
FRAME = f'<rect x="{LEFT}" y="{TOP}" width="{RIGHT - LEFT}" height="{BOTTOM - TOP}" fill="none" stroke="var(--line)"/>'

Lines = dict[str, Sequence[float | None]]  # by name; None where there is no value

# --- A page -----------------------------------------------------------------------------------------------------------


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

    def add(self, content: str) -> None:
        """Add a piece of HTML, such as a `table` or a `figure`."""
        self.parts.append(content)

    def code(self, text: str) -> None:
        """Add a block of commands."""
        self.parts.append(f"<pre><code>{html.escape(text)}</code></pre>")

    def videos(self, items: Sequence[tuple[Path, str]]) -> None:
        """Add a row of looping H.264 videos with captions."""
        self.row([figure(video(path), caption) for path, caption in items])

    def charts(self, items: Sequence[tuple[str, Sequence[float], Lines]], unit: str) -> None:
        """Add a row of line charts: (caption, x, {name: y}), x in the unit given."""
        figures = []
        for caption, x, lines in items:
            figures.append(figure(line_chart(x, lines, unit), caption))
        self.row(figures)

    def row(self, figures: Sequence[str]) -> None:
        """Add figures side by side."""
        self.add(f'<div class="row">{"".join(figures)}</div>')

    def grid(self, figures: Sequence[str]) -> None:
        """Add figures of one width, as many side by side as there is room for."""
        self.add(f'<div class="grid">{"".join(figures)}</div>')

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


# --- Pieces of HTML ---------------------------------------------------------------------------------------------------


def figure(content: str, caption: str) -> str:
    """Return a picture, video or chart with a caption, which is plain text."""
    return f"<figure>{content}<figcaption>{html.escape(caption)}</figcaption></figure>"


def picture(jpeg: bytes, alt: str = "") -> str:
    """Return a JPEG that the page carries itself, decoded when it comes into sight; `alt` says what it shows."""
    source = base64.b64encode(jpeg).decode("ascii")
    return f'<img decoding="async" loading="lazy" alt="{html.escape(alt)}" src="data:image/jpeg;base64,{source}">'


def numbers(items: Sequence[tuple[str, str]]) -> str:
    """Return a row of large numbers, each a text with what it counts."""
    parts = [f"<div><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>" for value, name in items]
    return f'<div class="numbers">{"".join(parts)}</div>'


def folded(title: str, content: str, *, note: str = "", is_good: bool | None = None, is_open: bool = False) -> str:
    """Return HTML under a line that opens it.

    Args:
        title: plain text.
        content: HTML.
        note: plain text beside the title.
        is_good: whether the note is coloured as good or as bad; None: as neither.
    """
    kind = {None: "soft", True: "good", False: "bad"}[is_good]
    beside = f' <span class="{kind}">{html.escape(note)}</span>' if note else ""
    return f"<details{' open' * is_open}><summary>{html.escape(title)}{beside}</summary>{content}</details>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, is_wide: bool = False) -> str:
    """Return a table of plain texts; without a header if that is empty. A wide one breaks no lines, and scrolls."""
    head = "".join(f"<th>{html.escape(text)}</th>" for text in header)
    lines = ["".join(f"<td>{html.escape(text)}</td>" for text in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in ([head] if head else []) + lines)
    whole = f"<table>{body}</table>"
    return f'<div class="wide">{whole}</div>' if is_wide else whole


def legend(names: Sequence[str]) -> str:
    """Return the names of lines, in their order, each behind a piece of its line: for charts without names."""
    parts = []
    for name, stroke in zip(names, _strokes(), strict=False):
        sample = f'<svg viewBox="0 0 28 8" style="width:28px;height:8px"><path d="M0 4H28" {stroke}/></svg>'
        parts.append(f"<span>{sample} {html.escape(name)}</span>")
    return f'<div class="row">{"".join(parts)}</div>'


def video(path: Path) -> str:
    """Return a looping H.264 video that the page carries itself."""
    source = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<video autoplay loop muted playsinline controls src="data:video/mp4;base64,{source}"></video>'


# --- Charts -----------------------------------------------------------------------------------------------------------


def line_chart(
    x: Sequence[float],
    lines: Lines,
    unit: str,
    *,
    with_names: bool = True,
) -> str:
    """Draw lines over x, which rises, as SVG, with ranges on its axes and a legend; unknown points are left out.

    Args:
        x: at least two numbers, for there to be a chart.
        lines: y by name, as many numbers as x.
        unit: of x.
        with_names: whether to write the lines' names above; there is room for four.
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
    if low < 0 < high:
        zero = place(first, 0).split(",")[1]
        drawn.append(f'<path d="M{LEFT} {zero}H{RIGHT}" stroke="var(--line)" stroke-dasharray="3 3"/>')
    legend_left = LEFT
    for (name, points), stroke, colour in zip(known.items(), _strokes(), itertools.cycle(COLOURS), strict=False):
        path = " ".join(place(a, b) for a, b in points)
        drawn.append(f'<polyline points="{path}" {stroke}/>')
        if with_names:
            drawn.append(_text(name, legend_left, LEGEND_BASE, f'style="fill:{colour}"'))
            legend_left += LEGEND_STEP
    drawn += [
        _text(f"{first:.3g} {unit}", LEFT, HEIGHT - 8, 'text-anchor="start"'),
        _text(f"{last:.3g} {unit}", RIGHT, HEIGHT - 8, 'text-anchor="end"'),
        _text(f"{high:.3g}", LEFT - 4, TOP + 10, 'text-anchor="end"'),
        _text(f"{low:.3g}", LEFT - 4, BOTTOM, 'text-anchor="end"'),
    ]
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(drawn)}</svg>'


def scatter_chart(
    points: Sequence[tuple[float, float]],
    x_axis: tuple[str, float, float],
    y_axis: tuple[str, float, float],
) -> str:
    """Draw points (x, y) as SVG; of each axis are given its name, where it begins and where it ends."""
    x_name, low_x, high_x = x_axis
    y_name, low_y, high_y = y_axis
    dots = []
    for x, y in points:
        left = LEFT + (x - low_x) / (high_x - low_x) * (RIGHT - LEFT)
        top = BOTTOM - (y - low_y) / (high_y - low_y) * (BOTTOM - TOP)
        dots.append(f'<circle cx="{left:.1f}" cy="{top:.1f}" r="1.6"/>')
    drawn = [
        FRAME,
        f'<g fill="{COLOURS[0]}" fill-opacity="0.35">{"".join(dots)}</g>',
        _text(f"{low_x:.3g}", LEFT, HEIGHT - 8, 'text-anchor="start"'),
        _text(f"{high_x:.3g}", RIGHT, HEIGHT - 8, 'text-anchor="end"'),
        _text(x_name, (LEFT + RIGHT) // 2, HEIGHT - 8, 'text-anchor="middle"'),
        _text(f"{high_y:.3g}", LEFT - 4, TOP + 10, 'text-anchor="end"'),
        _text(f"{low_y:.3g}", LEFT - 4, BOTTOM, 'text-anchor="end"'),
        _text(y_name, LEFT + 6, TOP + 14, 'text-anchor="start"'),
    ]
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(drawn)}</svg>'


def _text(text: str, left: int, top: int, attribute: str) -> str:
    return f'<text x="{left}" y="{top}" {attribute}>{html.escape(text)}</text>'


def _strokes() -> Iterator[str]:
    """Yield the attributes of one line after the other."""
    for dash in itertools.cycle(DASHES):
        for colour in COLOURS:
            dashed = f' stroke-dasharray="{dash}"' if dash else ""
            yield f'fill="none" stroke="{colour}" stroke-width="1.6"{dashed}'


def _known_points(x: Sequence[float], line: Sequence[float | None]) -> list[tuple[float, float]]:
    points = []
    for a, b in zip(x, line, strict=True):
        if b is not None and math.isfinite(b):
            points.append((a, b))
    return points
