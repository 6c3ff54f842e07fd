"""FVD and KVD: distances between the I3D features of real and of scored videos (PV3D A.4)."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detectors import VideoEmbedder
from dnnlib.errors import UserError
from metrics.family import MetricFamily
from metrics.frechet import FeatureMoments, frechet_distance, frechet_standard_error, kernel_distance
from metrics.options import EvaluationOptions, EvaluationSubject
from metrics.per_video import PerVideoJob, compute_per_video
from metrics.protocols import DISTRIBUTION, FvdStyle, Request
from metrics.results import Result
from metrics.statistics_files import (
    Source,
    Statistics,
    load_statistics,
    read_reference_pickle,
    require_free,
    save_statistics,
)
from metrics.video_sources import DatasetVideos, FolderVideos, GeneratedVideos, VideoSource
from torch_utils import distributed

# Videos on each side.
LEAST_FOR_DISTANCE = 2
REFERENCE_SUFFIX = ".pkl"  # of statistics that the reference implementation wrote
LEAST_FOR_ERROR = 3


@dataclass(frozen=True, kw_only=True)
class Features:
    """Features of the real or of the scored videos: of each, or (statistics made elsewhere) their moments alone."""

    moments: FeatureMoments
    each: torch.Tensor | None  # float64 [N, D]
    source: dict[str, Any]
    skipped: tuple[str, ...] = ()  # reasons, one for each missing or damaged video
    notes: tuple[str, ...] = ()  # what else is there, and is no video of the set


@dataclass(frozen=True, kw_only=True)
class Distance:
    """What a result says of a distance: the number, its parts, and what to beware of."""

    value: float
    standard_error: float | None
    details: dict[str, float | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


# --- From requests to results -----------------------------------------------------------------------------------------


class VideoDistances(MetricFamily):
    """FVD and KVD of one subject; features are computed once, however many distances need them."""

    kinds = DISTRIBUTION

    def __init__(self, subject: EvaluationSubject, options: EvaluationOptions):
        super().__init__(subject, options)
        self._detectors: dict[FvdStyle, VideoEmbedder] = {}
        self._features: dict[tuple[str, str], Features] = {}  # by side and protocol

    def check(self, requests: Sequence[Request]) -> None:
        if self.options.save_real_stats:
            self._check_saving(self.options.save_real_stats, requests)
        for request in requests:
            if self.subject.snapshot is None and self.subject.video_folder is None:
                raise UserError(f"{request.metric} scores videos: give --network or --videos.")
            if self.options.dataset is None and self.options.real_stats is None:
                raise UserError(f"{request.metric} compares with real videos: give --data or --real-stats.")
            self._detector(request)
            if self.options.real_stats:
                self._read_real_statistics(request, self.options.real_stats)
            else:
                self._real_videos(request)
            if self.options.save_real_stats:
                require_free(self.options.save_real_stats, self._source_of_reals(request))
            self._scored_videos(request)

    def results(self, requests: Sequence[Request]) -> Iterator[Result]:
        for request in requests:
            started = time.perf_counter()
            scored = self._features_of("scored", request, self._scored_videos(request))
            if self.options.real_stats:
                real = self._read_real_statistics(request, self.options.real_stats)
            else:
                real = self._features_of("real", request, self._real_videos(request))
                with distributed.fail_together():
                    self._save_real_statistics(request, real)
            with distributed.fail_together():
                result = self._result(request, scored, real, started)
            yield result

    def _check_saving(self, path: Path, requests: Sequence[Request]) -> None:
        """UserError unless a file can hold the real videos' statistics of all requests."""
        flag = f"--save-real-stats={path}"
        if not requests:
            raise UserError(f"{flag} keeps what fvd and kvd know of real videos: ask for one of them with --metrics.")
        if self.options.real_stats:
            raise UserError(f"{flag} needs real videos to look at: give --data alone, without --real-stats.")
        if path.suffix == REFERENCE_SUFFIX:
            raise UserError(f"{flag} would be read as the reference's: give a name that ends in .npz.")
        protocols = dict.fromkeys(protocol_name(request) for request in requests)
        if len(protocols) > 1:
            raise UserError(
                f"{flag} holds one protocol's statistics, and --metrics asks for {len(protocols)} "
                f"({'; '.join(protocols)}): save them one by one, each into a file of its own."
            )

    def _detector(self, request: Request) -> VideoEmbedder:
        style = request.style
        if style not in self._detectors:
            options = self.options
            self._detectors[style] = style.load_detector(
                kind=options.detector_weights, folder=options.detector_folder, device=options.device
            )
        return self._detectors[style]

    def _scored_videos(self, request: Request) -> VideoSource:
        snapshot = self.subject.snapshot
        if snapshot is None:
            assert self.subject.video_folder is not None
            return FolderVideos(self.subject.video_folder, request.window)
        dataset = self.options.dataset
        if dataset is None:
            cameras = list(snapshot.camera_bank.numpy())
        else:
            cameras = list(dataset.camera_paths)
            # Real videos come from long clips alone; a short clip's cameras would run to and fro, or stand still.
            cameras = [path for path in cameras if len(path) >= request.window.span] or cameras
        return GeneratedVideos(
            snapshot=snapshot,
            checksum=self.subject.checksum,
            cameras=cameras,
            window=request.window,
            storage=request.style.storage,
            seed=self.options.seed,
        )

    def _real_videos(self, request: Request) -> VideoSource:
        assert self.options.dataset is not None
        return DatasetVideos(
            self.options.dataset,
            request.window,
            every_clip_once=request.style.every_clip_once,
        )

    def _features_of(self, side: str, request: Request, source: VideoSource) -> Features:
        """Return the features of the "scored" or the "real" videos."""
        key = (side, protocol_name(request))
        if key not in self._features:
            options = self.options
            self._features[key] = video_features(
                source,
                request,
                detector=self._detector(request),
                label=f"{request.metric}, {side} videos",
                cache_folder=options.cache_folder_for(self.subject) if side == "scored" else options.cache_folder,
                batch=options.batch,
            )
        return self._features[key]

    def _read_real_statistics(self, request: Request, path: Path) -> Features:
        detector = self._detector(request)
        if path.suffix == REFERENCE_SUFFIX:
            note = f"{path.name} says neither protocol nor detector; wanted: {protocol_name(request)}; {detector.name}."
            return Features(
                moments=read_reference_pickle(path),
                each=None,
                source={"source": "statistics", "file": path.name},
                notes=(note,),
            )
        statistics = load_statistics(path, detector.name, detector.checksum, protocol_name(request))
        return Features(
            moments=statistics.moments,
            each=None if statistics.features is None else statistics.features.double(),
            source={"source": "statistics", "dataset": statistics.source.dataset},
        )

    def _save_real_statistics(self, request: Request, real: Features) -> None:
        """Write the statistics on the main process, where they are asked for."""
        if self.options.save_real_stats is None or not distributed.is_main():
            return
        source = self._source_of_reals(request)
        save_statistics(self.options.save_real_stats, Statistics(source, real.moments, real.each))

    def _source_of_reals(self, request: Request) -> Source:
        """Return what the statistics of the dataset's videos are of."""
        assert self.options.dataset is not None
        detector = self._detector(request)
        return Source(
            detector=detector.name,
            checksum=detector.checksum,
            protocol=protocol_name(request),
            dataset=self.options.dataset.fingerprint(),
        )

    def _result(self, request: Request, scored: Features, real: Features, started: float) -> Result:
        """Compute a distance. Raises UserError where there are too few videos, or KVD has moments alone."""
        if request.kind == "fvd":
            distance = frechet_video_distance(scored, real)
        else:
            distance = kernel_video_distance(scored, real)
        warnings = list(distance.warnings)
        for features, side in ((scored, "scored"), (real, "real")):
            if features.moments.num < request.videos:
                warnings.append(f"{features.moments.num} {side} videos in place of {request.videos}.")
            warnings += features.skipped + features.notes
        detector = self._detector(request)
        return Result(
            metric=request.metric,
            value=distance.value,
            standard_error=distance.standard_error,
            samples=scored.moments.num,
            seconds=time.perf_counter() - started,
            protocol={
                "style": request.style.name,
                "videos": request.videos,
                "frames": request.window.frames,
                "stride": request.window.stride,
            },
            source=scored.source,
            dataset=real.source.get("fingerprint", real.source.get("dataset")),
            detector=detector.name,
            detector_checksum=detector.checksum,
            skipped=len(scored.skipped) + len(real.skipped),
            details={**distance.details, "real_videos": real.moments.num},
            warnings=tuple(warnings),
        )


# --- Features ---------------------------------------------------------------------------------------------------------


def protocol_name(request: Request) -> str:
    """Say how videos are taken; statistics of another protocol cannot be compared."""
    window = request.window
    return f"{request.style.name}, {request.videos} videos of {window.frames} frames, stride {window.stride}"


def video_features(
    source: VideoSource,
    request: Request,
    *,
    detector: VideoEmbedder,
    label: str,
    cache_folder: Path | None,
    batch: int,
) -> Features:
    """Compute features of the first `request.videos` videos of a source, or of all if fewer. UserError of too few."""
    if source.count is not None and source.count < LEAST_FOR_DISTANCE:
        missing = f"{label}: {LEAST_FOR_DISTANCE} or more are needed, and there is {source.count}: give more videos."
        raise UserError(" ".join([missing, *source.notes]))
    if source.content is not None:
        source.content.share_fingerprint()
    identity = source.identity
    job = PerVideoJob(
        label=label,
        key={
            "detector": detector.name,
            "checksum": detector.checksum,
            "style": request.style.name,
            **identity,
        },
        videos=request.videos if source.count is None else min(request.videos, source.count),
        width=detector.dim,
        load=source.video,
        compute=partial(_embed_together, detector),
        batch=batch,
    )
    numbers = compute_per_video(job, cache_folder)
    with distributed.fail_together():
        numbers.require_left(LEAST_FOR_DISTANCE)
    each = torch.from_numpy(numbers.without_skipped)
    return Features(
        moments=FeatureMoments.of(each),
        each=each,
        source=identity,
        skipped=tuple(numbers.skipped.values()),
        notes=tuple(source.notes),
    )


def _embed_together(detector: VideoEmbedder, clips: list[np.ndarray]) -> np.ndarray:
    """Return the features of videos, which pass through the detector together if they are of one size."""
    if len({clip.shape for clip in clips}) > 1:
        return np.concatenate([_embed_together(detector, [clip]) for clip in clips])
    return detector(torch.from_numpy(np.stack(clips))).double().cpu().numpy()


# --- Distances --------------------------------------------------------------------------------------------------------


def frechet_video_distance(scored: Features, real: Features) -> Distance:
    """Compute FVD; its standard error needs the features of each scored video, and three videos or more."""
    distance = frechet_distance(scored.moments, real.moments)
    standard_error = None
    if scored.each is not None and min(scored.moments.num, real.moments.num) >= LEAST_FOR_ERROR:
        reference = real.moments if real.each is None else real.each
        standard_error = frechet_standard_error(scored.each, reference)
    shortages = dict.fromkeys([scored.moments.shortage, real.moments.shortage])  # each text once
    return Distance(
        value=distance.value,
        standard_error=standard_error,
        details={"mean_term": distance.mean_term},
        warnings=tuple(text for text in shortages if text),
    )


def kernel_video_distance(scored: Features, real: Features) -> Distance:
    """Compute KVD. Raises UserError where the features of each video are not known."""
    if scored.each is None or real.each is None:
        raise UserError("kvd needs the features of every real video, which these statistics lack: give --data.")
    distance = kernel_distance(scored.each, real.each)
    return Distance(value=distance.value, standard_error=distance.standard_error)
