"""The report as a page to look at: one file, with pictures of the clips that are worth a look."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dnnlib.page import (
    Lines,
    Page,
    figure,
    folded,
    line_chart,
    numbers,
    picture,
    scatter_chart,
    table,
)
from preprocessing.report import ClipReport, Report

MOST_TAKEN, MOST_LEFT_OUT = 150, 50  # clips with pictures, of about 200 kB each: what browsers open at once
MOST_OPEN = 3  # of them that are unfolded; browsers decode the pictures of the others when they are
MOST_ROWS = 2000  # of a table
MOST_POINTS = 3000  # of the chart of cameras
MOST_NUMBERS = 30  # of frames that are named one by one
LEAST_YAW, LEAST_PITCH = 40.0, 25.0  # to either side that the chart of cameras shows, degrees
YAW_STEP = 5  # of the chart of shares, degrees
Pictures = Callable[[ClipReport], Sequence[tuple[bytes, str]]]  # JPEGs of a clip with captions; none if there are none


def write_page(path: Path, report: Report, pictures: Pictures) -> None:
    """Write the page of a report, atomically."""
    page = Page(title=f"Preprocessing of {Path(report.source).name}")
    _totals(page, report)
    _left_out(page, report)
    _cameras(page, report)
    _clips(page, report, pictures)
    _sources(page, report)
    _run(page, report)
    page.write(path)


# --- The whole run ----------------------------------------------------------------------------------------------------


def _totals(page: Page, report: Report) -> None:
    failed = sum(source.failed is not None for source in report.sources)
    page.heading(
        f"{len(report.taken)} of {len(report.clips)} clips were taken",
        f"From {len(report.sources)} videos and pictures in {report.source}, {failed} of which could not be read, "
        f"into {report.dest}.",
    )
    people = {clip.identity for clip in report.taken if clip.identity is not None}
    seconds = sum(clip.frames / clip.fps for clip in report.taken)
    flips = [clip.flip_error for clip in report.taken if clip.flip_error is not None]
    items = [
        (f"{len(report.taken):,}", "clips"),
        (f"{sum(clip.frames for clip in report.taken):,}", "frames"),
        (f"{seconds / 60:,.1f}", "minutes") if seconds >= 60 else (f"{seconds:.1f}", "seconds"),
    ]
    if people:
        items.append((f"{len(people):,}", "people"))
    if flips:
        items.append((f"{np.median(flips):.2f}°", "flip test, median"))
    page.add(numbers(items))
    page.add(table(["Models used, and their licences"], [[sentence] for sentence in report.licences]))


def _left_out(page: Page, report: Report) -> None:
    reasons = report.reasons()
    if reasons:
        rows = [[reason, str(count), f"{count / len(report.clips):.0%}"] for reason, count in reasons]
        page.heading("Why clips were left out", "Each one with its numbers is below.")
        page.add(table(["Reason", "Clips", "Of all"], rows))


def _cameras(page: Page, report: Report) -> None:
    points = [pair for clip in report.taken for pair in zip(clip.yaw, clip.pitch, strict=True)]
    if not points:
        return
    page.heading("Cameras", "Where the cameras of all frames stand: a 3D model learns what they have seen.")
    shown = points[:: -(-len(points) // MOST_POINTS)]
    widest = max(LEAST_YAW, *(abs(yaw) for yaw, _ in points))
    highest = max(LEAST_PITCH, *(abs(pitch) for _, pitch in points))
    chart = scatter_chart(shown, ("yaw, degrees", -widest, widest), ("pitch, degrees", -highest, highest))
    caption = f"{len(points):,} frames"
    if len(shown) < len(points):
        caption += f", of which {len(shown):,} are drawn, evenly chosen"
    share = "Share of frames whose yaw is smaller, to either side"
    page.row([figure(chart, caption), figure(_shares_of_yaws(points), share)])


def _shares_of_yaws(points: Sequence[tuple[float, float]]) -> str:
    """Return a chart of the share of frames whose yaw is smaller, to either side."""
    yaws = np.abs([yaw for yaw, _ in points])
    limits = list(range(0, 91, YAW_STEP))
    shares = [float((yaws < limit).mean()) for limit in limits]
    return line_chart(limits, {"frames": shares}, "degrees")


def _sources(page: Page, report: Report) -> None:
    failed = [[source.name, source.failed] for source in report.sources if source.failed is not None]
    unseen = [source for source in report.sources if source.failed is None and not source.faces]
    noted = [[source.name, " ".join(source.notes)] for source in report.sources if source.failed is None]
    listings = [
        ("Could not be read", ["Source", "Why"], failed),
        ("Without a face", ["Source", "Frames"], [[source.name, str(source.frames)] for source in unseen]),
        ("Read with a remark", ["Source", "Remark"], [row for row in noted if row[1]]),
    ]
    if any(rows for _, _, rows in listings):
        page.heading("Videos and pictures")
    for title, header, rows in listings:
        if rows:
            page.add(folded(title, _long_table(header, rows), note=str(len(rows))))


def _run(page: Page, report: Report) -> None:
    page.heading("Speed", "Frames a second on one core; a stage that was done in an earlier run counts as it was then.")
    rows = [[one.stage, f"{one.frames:,}", f"{one.seconds:,.1f}", f"{one.speed:,.1f}"] for one in report.stages]
    page.add(table(["Stage", "Frames", "Seconds of a core", "Frames a second"], rows))
    rows = [
        [f"{group}.{name}", str(value)] for group, values in report.options.items() for name, value in values.items()
    ]
    page.add(folded("Options", table([], rows), note=str(len(rows))))


# --- Clips ------------------------------------------------------------------------------------------------------------


def _clips(page: Page, report: Report, pictures: Pictures) -> None:
    page.heading(
        "Clips that were taken",
        "The most doubtful by the flip test first. Orange: landmarks as found; green: after the low-pass. On the crops "
        "are the fitted face and the head's axes (red to its left ear, green up, blue out of the face).",
    )
    doubtful_first = sorted(report.taken, key=lambda clip: -(clip.flip_error or 0.0))
    _shown_clips(page, doubtful_first, MOST_TAKEN, pictures)
    others = [clip for clip in report.clips if clip.fault is not None]
    if others:
        page.heading("Clips that were left out", "Those that came furthest first.")
        furthest_first = sorted(others, key=_way_left)
        _shown_clips(page, furthest_first, MOST_LEFT_OUT, pictures)


def _way_left(clip: ClipReport) -> int:
    """Return how many of the fit and the flip test a clip has not come to."""
    return (not clip.yaw) + (clip.flip_error is None)


def _shown_clips(page: Page, clips: Sequence[ClipReport], most: int, pictures: Pictures) -> None:
    """Add clips, the first `most` with everything, the others as lines of a table."""
    if len(clips) > most:
        rest = "the others are in the table below, and with all numbers in report.json."
        page.add(f"<p>The first {most} of {len(clips):,} clips are shown; {rest}</p>")
    for place, clip in enumerate(clips[:most]):
        is_open = clip.fault is None and place < MOST_OPEN
        page.add(_clip(clip, pictures, is_open))
    if len(clips) > most:
        rows = [
            [clip.name, str(clip.frames), _degrees(clip.flip_error), clip.fault or "taken"] for clip in clips[most:]
        ]
        page.add(folded("The others", _long_table(["Clip", "Frames", "Flip test", ""], rows), note=f"{len(rows):,}"))


def _clip(clip: ClipReport, pictures: Pictures, is_open: bool) -> str:
    """Return a clip as a folded block: pictures, angles over time, figures."""
    parts = [figure(picture(data, alt=f"{caption}: {clip.name}"), caption) for data, caption in pictures(clip)]
    figures = [f'<div style="flex:1 1 300px">{table([], _figures(clip))}</div>']
    if len(clip.yaw) > 1:
        seconds = [number / clip.fps for number in range(clip.frames)]
        lines: Lines = {"yaw": clip.yaw, "pitch": clip.pitch, "roll": clip.roll}
        figures.insert(0, figure(line_chart(seconds, lines, "s"), "Angles of the head, degrees"))
    parts.append(f'<div class="row">{"".join(figures)}</div>')
    return folded(
        clip.name,
        "".join(parts),
        note="taken" if clip.fault is None else clip.fault,
        is_good=clip.fault is None,
        is_open=is_open,
    )


def _figures(clip: ClipReport) -> list[list[str]]:
    """Return what is known of a clip as lines of a table."""
    last = clip.first + clip.frames - 1
    rows = [
        ["From", f"{clip.source}, frames {clip.first} to {last}"],
        ["Length", f"{clip.frames} frames, {clip.frames / clip.fps:.2f} s at {clip.fps:g} a second"],
        ["Person", clip.identity or "-"],
        ["Flip test", _degrees(clip.flip_error)],
    ]
    if clip.residual is not None:
        rows.append(["Landmarks off the fitted head", f"{clip.residual:.2%} of the side"])
    for name, values in (("Yaw", clip.yaw), ("Pitch", clip.pitch), ("Roll", clip.roll)):
        if values:
            rows.append([name, f"{min(values):.1f}° to {max(values):.1f}°"])
    for name, frames in (("Without a face", clip.bridged), ("Like somebody else", clip.noisy)):
        if frames:
            rows.append([name, _frames(frames)])
    return rows


def _degrees(angle: float | None) -> str:
    return "-" if angle is None else f"{angle:.2f}°"


def _frames(places: Sequence[int]) -> str:
    """Return frames' numbers within a clip as text; of many, the first ones and how many there are."""
    named = ", ".join(map(str, places[:MOST_NUMBERS]))
    return f"frames {named}" if len(places) <= MOST_NUMBERS else f"{len(places)} frames: {named} and more"


def _long_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of at most MOST_ROWS rows, with a sentence if there are more."""
    if len(rows) <= MOST_ROWS:
        return table(header, rows)
    return f"{table(header, rows[:MOST_ROWS])}<p>And {len(rows) - MOST_ROWS:,} more, in report.json.</p>"
