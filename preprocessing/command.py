"""What `dataset_tool.py preprocess` does between its options and the dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dnnlib.errors import UserError
from dnnlib.files import write_json
from dnnlib.locks import alone_in
from preprocessing.cropping import CONTACT_SHEET, CROP_SHEET
from preprocessing.options import STAGES
from preprocessing.pipeline import Outcome, run_stages
from preprocessing.records import SourceVideo
from preprocessing.report import REPORT, ClipReport, Report, make_report
from preprocessing.report_page import Pictures, write_page
from preprocessing.stages import Workplace

CAPTIONS = {CONTACT_SHEET: "Landmarks on the video", CROP_SHEET: "Crops with the fitted head"}


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run whose stages are done: what became of everything, and the report."""

    outcome: Outcome
    report: Report


def plan(videos: Sequence[SourceVideo], place: Workplace) -> list[str]:
    """Return what a run would do, a line each, without doing anything."""
    scanned = [video for video in videos if place.of_video(video).find("scan", place.scan_key(video)) is not None]
    speakers = len({video.speaker for video in videos if video.speaker is not None})
    lines = [f"{len(videos)} videos and pictures, {speakers} speakers given; work folder {place.root}."]
    lines.append(f"scan: {len(videos) - len(scanned)} of {len(videos)} to do.")
    if not scanned:
        return [*lines, *(f"{stage}: known once faces have been found." for stage in STAGES[1:])]
    segments = [segment for video in scanned for segment in place.segments(video)]
    for stage in STAGES[1:]:
        done = sum(place.has(stage, segment) for segment in segments)
        lines.append(f"{stage}: {len(segments) - done} of {len(segments)} clips found so far to do at most.")
    return lines


def run(
    videos: Sequence[SourceVideo],
    place: Workplace,
    *,
    source: Path,
    dest: Path,
    page: Path | None,
    redo: Sequence[str],
    workers: int,
) -> Finished:
    """Do what is missing of all stages; write report.json into the work folder, and the page.

    Raises:
        UserError: another run is at work there; the disk is full; no clip is good enough.
    """
    with alone_in(place.root, "wait for it, or choose another folder with --work"):
        for stage in redo:
            place.forget(stage)
        outcome = run_stages(videos, place, workers)
        report = make_report(source, dest, videos, outcome, place)
        write_json(place.root / REPORT, report.to_json())
        if page is not None:
            write_page(page, report, _pictures_of(outcome, place))
    if not outcome.taken:
        if len(report.sources) == 1 and report.sources[0].failed:
            raise UserError(report.sources[0].failed)
        raise UserError(f"No clip is good enough{_why(report)}. {place.root / REPORT} has the reason of each.")
    return Finished(outcome=outcome, report=report)


def _why(report: Report) -> str:
    reasons = [f"{reason} ({count})" for reason, count in report.reasons()]
    failed = sum(one.failed is not None for one in report.sources)
    if failed:
        reasons.append(f"{failed} files cannot be read")
    return f": {', '.join(reasons)}" if reasons else ": no face was found"


def _pictures_of(outcome: Outcome, place: Workplace) -> Pictures:
    """Return a function from a clip's report to its pictures, as the page wants them."""
    segments = {segment.name: segment for segment in outcome.segments}

    def pictures(clip: ClipReport) -> list[tuple[bytes, str]]:
        segment = segments[clip.name]
        if not place.has("crop", segment):
            return []
        folder = place.crops(segment)
        return [((folder / name).read_bytes(), caption) for name, caption in CAPTIONS.items()]

    return pictures
