"""The report as a page to look at: one file, with pictures of every clip that was taken or nearly so."""

import html
from collections.abc import Callable, Sequence
from pathlib import Path

from dnnlib.page import Lines, Page, figure, line_chart, picture, scatter_chart, table
from preprocessing.report import ClipReport, Report

MOST_SHOWN = 200  # clips with pictures, of about 200 kB each: what browsers open at once
LEAST_YAW, LEAST_PITCH = 40.0, 25.0  # to either side that the chart of cameras shows, degrees
Pictures = Callable[[ClipReport], Sequence[tuple[bytes, str]]]  # JPEGs of a clip with captions; none if there are none


def write_page(path: Path, report: Report, pictures: Pictures) -> None:
    """Write the page of a report, atomically."""
    page = Page(title=f"Preprocessing of {Path(report.source).name}")
    failed = [source for source in report.sources if source.failed is not None]
    page.heading(
        f"{len(report.taken)} of {len(report.clips)} clips were taken",
        f"From {len(report.sources)} videos and pictures in {report.source}, {len(failed)} of which could not be read, "
        f"into {report.dest}.",
    )
    _totals(page, report)
    _spread(page, report)
    _sources(page, report)
    _clips(page, report, pictures)
    page.heading("Options and licences")
    page.add(table(["Model"], [[sentence] for sentence in report.licences]))
    rows = [
        [f"{group}.{name}", str(value)] for group, values in report.options.items() for name, value in values.items()
    ]
    page.add(table(["Option", "Value"], rows))
    page.write(path)


def _totals(page: Page, report: Report) -> None:
    if report.reasons():
        page.add(
            table(["Why clips were left out", "Clips"], [[reason, str(count)] for reason, count in report.reasons()])
        )
    page.heading("Speed", "Frames a second on one core; a stage that was done in an earlier run counts as it was then.")
    rows = [[one.stage, str(one.frames), f"{one.seconds:.1f}", f"{one.speed:.1f}"] for one in report.stages]
    page.add(table(["Stage", "Frames", "Seconds of a core", "Frames a second"], rows))


def _spread(page: Page, report: Report) -> None:
    points = [pair for clip in report.taken for pair in zip(clip.yaw, clip.pitch, strict=True)]
    if not points:
        return
    page.heading("Cameras", "Where the cameras of all frames stand: a 3D model learns what they have seen.")
    most = 3000
    shown = points[:: max(1, len(points) // most)]
    widest = max(LEAST_YAW, *(abs(yaw) for yaw, _ in points))
    highest = max(LEAST_PITCH, *(abs(pitch) for _, pitch in points))
    chart = scatter_chart(shown, ("yaw, degrees", -widest, widest), ("pitch, degrees", -highest, highest))
    page.row([figure(chart, f"{len(points)} frames"), figure(_distribution(report), "Share of frames within a yaw")])


def _distribution(report: Report) -> str:
    """Return a chart of the share of frames whose yaw is at most so large."""
    yaws = sorted(abs(yaw) for clip in report.taken for yaw in clip.yaw)
    limits = list(range(0, 91, 5))
    shares = [sum(yaw <= limit for yaw in yaws) / len(yaws) for limit in limits]
    return line_chart(limits, {"frames": shares}, "degrees")


def _sources(page: Page, report: Report) -> None:
    noted = [source for source in report.sources if source.failed is not None or source.notes]
    if noted:
        page.heading("Videos with something to say")
        rows = [[source.name, source.failed or " ".join(source.notes)] for source in noted]
        page.add(table(["Video", ""], rows))
    unseen = [source for source in report.sources if source.failed is None and not source.faces]
    if unseen:
        page.heading("Videos without a face")
        page.add(table(["Video", "Frames"], [[source.name, str(source.frames)] for source in unseen]))


def _clips(page: Page, report: Report, pictures: Pictures) -> None:
    ordered = sorted(report.clips, key=lambda clip: clip.fault is not None)
    page.heading(
        "Clips",
        "Orange: landmarks as found; green: after the low-pass. On the crops: the fitted face, and the head's axes "
        "(red to its left ear, green up, blue out of the face).",
    )
    if len(ordered) > MOST_SHOWN:
        page.add(f"<p>Pictures of the first {MOST_SHOWN} of {len(ordered)} clips; report.json has all of them.</p>")
    for clip in ordered[:MOST_SHOWN]:
        page.add(_clip(clip, pictures))
    if len(ordered) > MOST_SHOWN:
        rows = [[clip.name, clip.fault or "taken"] for clip in ordered[MOST_SHOWN:]]
        page.add(table(["Clip", ""], rows))


def _clip(clip: ClipReport, pictures: Pictures) -> str:
    """Return a clip as a folded block: pictures, angles over time, figures."""
    state = "taken" if clip.fault is None else clip.fault
    title = f"{html.escape(clip.name)} <span class=soft>{clip.frames} frames, {html.escape(state)}</span>"
    parts = [figure(picture(data), caption) for data, caption in pictures(clip)]
    if len(clip.yaw) > 1:
        seconds = [number / clip.fps for number in range(clip.frames)]
        lines: Lines = {"yaw": clip.yaw, "pitch": clip.pitch, "roll": clip.roll}
        parts.append(figure(line_chart(seconds, lines, "s"), "Angles of the head, degrees"))
    rows = [["From", f"{clip.source}, frame {clip.first}"], ["Person", clip.identity or "-"]]
    if clip.residual is not None:
        rows.append(["Landmarks off", f"{clip.residual:.4f} of the side"])
    if clip.flip_error is not None:
        rows.append(["Flip test", f"{clip.flip_error:.2f} degrees"])
    for name, frames in (("Without face", clip.bridged), ("Somebody else?", clip.noisy)):
        if frames:
            rows.append([name, "frames " + ", ".join(map(str, frames))])
    is_open = " open" if clip.fault is None and clip.frames > 0 else ""
    return f"<details{is_open}><summary>{title}</summary>{''.join(parts)}{table([], rows)}</details>"
