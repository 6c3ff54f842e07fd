"""The report of a run: what was found, what was taken, and why everything else was not; as data, for JSON and page."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.options import to_dict
from preprocessing.cutting import Segment
from preprocessing.head_cameras import angles
from preprocessing.options import STAGES
from preprocessing.pipeline import Outcome
from preprocessing.records import SourceVideo
from preprocessing.stages import Workplace, parts_of

DECIMALS = 2  # of angles, in degrees
REPORT = "report.json"


@dataclass(frozen=True, kw_only=True)
class SourceReport:
    """A video or picture: what is in it, or why it could not be read."""

    name: str
    path: str
    failed: str | None = None
    frames: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    cuts: int = 0
    faces: int = 0  # tracks
    frames_without_face: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ClipReport:
    """A clip that was considered.

    Attributes:
        first: number of its first frame in the source.
        fault: why it was left out; None if it was taken.
        bridged: frames of the clip without a face, between others.
        noisy: frames of the clip that look like somebody else.
        yaw, pitch, roll: of each frame, degrees; empty if no head was fitted.
        residual: root mean square of the landmarks' distances from the fitted head, parts of the crop's side.
        flip_error: of its cameras against those of the mirrored clip, degrees.
    """

    name: str
    source: str
    first: int
    frames: int
    fps: float
    fault: str | None
    identity: str | None = None
    bridged: tuple[int, ...] = ()
    noisy: tuple[int, ...] = ()
    yaw: tuple[float, ...] = ()
    pitch: tuple[float, ...] = ()
    roll: tuple[float, ...] = ()
    residual: float | None = None
    flip_error: float | None = None


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """What a stage has taken, in this run or where its results come from."""

    stage: str
    frames: int
    seconds: float  # of one core

    @property
    def speed(self) -> float:
        """Frames a second on one core."""
        return self.frames / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that is known at the end of a run."""

    source: str
    dest: str
    options: dict[str, Any]
    licences: tuple[str, ...]
    stages: tuple[StageReport, ...]
    sources: tuple[SourceReport, ...]
    clips: tuple[ClipReport, ...]

    @property
    def taken(self) -> tuple[ClipReport, ...]:
        """The clips of the dataset."""
        return tuple(clip for clip in self.clips if clip.fault is None)

    def reasons(self) -> list[tuple[str, int]]:
        """Return why clips were left out, and how many for each reason, most first; numbers are left off."""
        counts = Counter(clip.fault.split(":")[0].split(" (--")[0] for clip in self.clips if clip.fault is not None)
        return sorted(counts.items(), key=lambda item: (-item[1], item[0]))

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        totals = {"sources": len(self.sources), "clips": len(self.clips), "taken": len(self.taken)}
        return {"totals": totals, "left_out": dict(self.reasons()), **dataclasses.asdict(self)}


def make_report(
    source: Path,
    dest: Path,
    videos: Sequence[SourceVideo],
    outcome: Outcome,
    place: Workplace,
) -> Report:
    """Collect what a run has found."""
    return Report(
        source=str(source),
        dest=str(dest),
        options=to_dict(place.options),
        licences=licences(place),
        stages=tuple(_stage(stage, videos, outcome, place) for stage in STAGES),
        sources=tuple(_source(video, outcome, place) for video in videos),
        clips=tuple(_clip(segment, outcome, place) for segment in outcome.segments),
    )


def licences(place: Workplace) -> tuple[str, ...]:
    """Return a sentence on each model that a run uses."""
    verifier = ("dlib's face embedding: CC0.",) if place.options.choosing.verify else ()
    return (*parts_of(place.options.finding.landmarks).licences, *verifier)


def _source(video: SourceVideo, outcome: Outcome, place: Workplace) -> SourceReport:
    if video.name in outcome.failed:
        return SourceReport(name=video.name, path=str(video.path), failed=outcome.failed[video.name])
    scan = place.scan(video)
    seen = np.zeros(scan.frames, dtype=bool)
    for track in scan.tracks:
        seen[track.first : track.first + len(track.found)] |= track.found
    return SourceReport(
        name=video.name,
        path=str(video.path),
        frames=scan.frames,
        fps=scan.fps,
        width=scan.width,
        height=scan.height,
        cuts=len(scan.cuts),
        faces=len(scan.tracks),
        frames_without_face=int((~seen).sum()),
        notes=scan.notes,
    )


def _clip(segment: Segment, outcome: Outcome, place: Workplace) -> ClipReport:
    scan = place.scan(segment.video)
    found = scan.tracks[segment.track].found[segment.start : segment.stop]
    known: dict[str, Any] = {}
    if place.has("pose", segment):
        poses = place.posed(segment).poses
        turns = angles(poses).round(DECIMALS).T
        known |= {name: tuple(values.tolist()) for name, values in zip(("yaw", "pitch", "roll"), turns, strict=True)}
        known["residual"] = poses.residual
    if place.has("crop", segment):
        known["flip_error"] = place.flip_error(segment)
    if place.has("verify", segment):
        known["noisy"] = tuple(place.verification(segment).noisy.tolist())
    return ClipReport(
        name=segment.name,
        source=segment.video.name,
        first=segment.first(scan),
        frames=segment.frames,
        fps=segment.fps,
        fault=segment.fault,
        identity=outcome.identities.get(segment.name),
        bridged=tuple(np.flatnonzero(~found).tolist()),
        **known,
    )


def _stage(stage: str, videos: Sequence[SourceVideo], outcome: Outcome, place: Workplace) -> StageReport:
    costs = list(_costs(stage, videos, outcome, place))
    return StageReport(
        stage=stage,
        frames=sum(cost.frames for cost in costs),
        seconds=round(sum(cost.seconds for cost in costs), 3),
    )


def _costs(stage: str, videos: Sequence[SourceVideo], outcome: Outcome, place: Workplace) -> Iterator[Any]:
    if stage == "scan":
        for video in videos:
            if video.name not in outcome.failed:
                yield place.of_video(video).cost(stage, place.scan_key(video))
        return
    for segment in outcome.segments:
        if place.has(stage, segment):
            yield place.of_clip(segment).cost(stage, place.key(stage, segment))
