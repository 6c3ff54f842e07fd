"""The whole way from videos to a dataset: stage by stage over all videos and clips, then who is taken, then files."""

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import TypeVar

from dnnlib.errors import UserError
from dnnlib.parallel import parallel_map
from dnnlib.progress import Counter, counted
from preprocessing.cropping import frame_name
from preprocessing.cutting import Segment
from preprocessing.identities import ClipFace, choose, identify
from preprocessing.judging import fault_of, fault_of_flip
from preprocessing.records import SourceVideo
from preprocessing.stages import Workplace, crop_job, pose_job, scan_job, verify_job
from training.data.writer import ClipRecord

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What has become of everything.

    Attributes:
        segments: all clips that were considered, with the reason for each that is left out.
        identities: the person of each clip that could be taken, by the clip's name.
        failed: why videos could not be read, by their names.
    """

    segments: tuple[Segment, ...]
    identities: dict[str, str]
    failed: dict[str, str]

    @property
    def taken(self) -> list[Segment]:
        """The clips of the dataset."""
        return [segment for segment in self.segments if segment.fault is None]


def run_stages(videos: Sequence[SourceVideo], place: Workplace, workers: int) -> Outcome:
    """Do what is missing of every stage, and return which clips are taken.

    Raises:
        UserError: the disk is full, or a source changed during the run.
    """
    failures = _over(videos, partial(scan_job, place=place), workers, title="Finding faces", unit="video")
    failed = {video.name: reason for video, reason in zip(videos, failures, strict=True) if reason is not None}
    segments = [segment for video in videos if video.name not in failed for segment in place.segments(video)]
    _refuse_repeated(segments)
    good = _sound(segments)
    _over(good, partial(pose_job, place=place), workers, title="Fitting heads", unit="clip")
    segments = [_judged(segment, place) for segment in segments]

    by_video = [list(group) for _, group in groupby(_sound(segments), key=lambda segment: segment.video.name)]
    _over(by_video, partial(crop_job, place=place), workers, title="Cutting out", unit="video")
    segments = [_flipped(segment, place) for segment in segments]

    if place.options.choosing.verify:
        _over(_sound(segments), partial(verify_job, place=place), workers, title="Comparing faces", unit="clip")
        segments = [_verified(segment, place) for segment in segments]
    segments, identities = _balanced(segments, place)
    return Outcome(segments=tuple(segments), identities=identities, failed=failed)


def _refuse_repeated(segments: Sequence[Segment]) -> None:
    """Raise UserError if two clips would have one name, as those of talk.mp4 and of talk/000000-0.png."""
    first: dict[str, Segment] = {}
    for segment in segments:
        other = first.setdefault(segment.name, segment)
        if other is not segment:
            raise UserError(f"{other.video.path} and {segment.video.path} would give one clip: rename one of them.")


def _over(
    items: Sequence[Item],
    job: Callable[[Item], Result],
    workers: int,
    *,
    title: str,
    unit: str,
) -> list[Result]:
    """Return the job's result for each item, with progress."""
    with (
        contextlib.closing(parallel_map(job, items, workers)) as results,
        Counter(len(items), title=title, unit=unit) as counter,
    ):
        return list(counted(results, counter))


# --- Judging ---------------------------------------------------------------------------------------------------------


def _sound(segments: Sequence[Segment]) -> list[Segment]:
    return [segment for segment in segments if segment.fault is None]


def _judged(segment: Segment, place: Workplace) -> Segment:
    """Return a clip with what its crops and cameras say against it."""
    if segment.fault is not None:
        return segment
    fault = fault_of(place.posed(segment), place.options.cameras.resolution, place.options.choosing)
    return replace(segment, fault=fault)


def _flipped(segment: Segment, place: Workplace) -> Segment:
    """Return a clip with what its flip test says against it."""
    if segment.fault is not None:
        return segment
    return replace(segment, fault=fault_of_flip(place.flip_error(segment), place.options.choosing))


def _verified(segment: Segment, place: Workplace) -> Segment:
    """Return a clip with what the comparison of its faces says against it."""
    if segment.fault is not None:
        return segment
    return replace(segment, fault=place.verification(segment).fault)


def _balanced(segments: Sequence[Segment], place: Workplace) -> tuple[list[Segment], dict[str, str]]:
    """Return the clips, those of a person beyond the best ones left out, and who is in those that could be taken."""
    faces = [_face(segment, place) for segment in _sound(segments)]
    identities = identify(faces)
    most = place.options.choosing.per_identity
    taken = choose(faces, identities, most)
    fault = f"other clips of this person are taken (--per-identity={most})"
    balanced = [
        segment if segment.fault is not None or segment.name in taken else replace(segment, fault=fault)
        for segment in segments
    ]
    return balanced, identities


def _face(segment: Segment, place: Workplace) -> ClipFace:
    verify = place.options.choosing.verify
    return ClipFace(
        name=segment.name,
        speaker=segment.video.speaker,
        embedding=place.verification(segment).embedding if verify else None,
        quality=(segment.frames, -place.posed(segment).poses.residual),
    )


# --- Files -----------------------------------------------------------------------------------------------------------


def clip_records(outcome: Outcome, place: Workplace) -> Generator[ClipRecord, None, None]:
    """Yield the clips that are taken, as the dataset's writer wants them."""
    for segment in outcome.taken:
        crops = place.crops(segment)
        names = [frame_name(number) for number in range(segment.frames)]
        yield ClipRecord(
            name=segment.name,
            frames=[(name, (crops / name).read_bytes()) for name in names],
            cameras=place.posed(segment).cameras,
            fps=segment.fps,
            identity=outcome.identities[segment.name],
            side=place.options.cameras.resolution,
        )
