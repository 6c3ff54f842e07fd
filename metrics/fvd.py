"""FVD and KVD: distances between the I3D features of real and of scored videos (PV3D A.4)."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detectors import VideoFeatures, load_video_detector
from dnnlib.errors import UserError
from metrics.frechet import FeatureMoments, frechet_distance, frechet_standard_error, kernel_distance
from metrics.protocols import Request
from metrics.results import Result
from metrics.rows import Job, compute_rows
from metrics.setting import Setting, Subject
from metrics.statistics_files import Source, Statistics, load_statistics, read_reference_pickle, save_statistics
from metrics.video_sources import DatasetVideos, FolderVideos, GeneratedVideos, VideoSource
from torch_utils import distributed

LEAST_FOR_ERROR = 3  # videos on each side


@dataclass(frozen=True)
class Features:
    """Features of one side: of each video, or (statistics made elsewhere) their moments alone."""

    moments: FeatureMoments
    each: torch.Tensor | None  # float64 [N, D]
    source: dict[str, Any]
    skipped: tuple[str, ...] = ()  # why videos could not be had


class Distances:
    """FVD and KVD of one subject; features are had once, however many distances need them."""

    def __init__(self, subject: Subject, setting: Setting):
        self.subject, self.setting = subject, setting
        self._detectors: dict[str, VideoFeatures] = {}
        self._features: dict[tuple, Features] = {}

    def check(self, requests: Sequence[Request]) -> None:
        """UserError for what is missing; loads the detectors."""
        for request in requests:
            if self.subject.snapshot is None and self.subject.videos is None:
                raise UserError(f"{request.metric} scores videos: give --network or --videos.")
            if self.setting.dataset is None and self.setting.real_stats is None:
                raise UserError(f"{request.metric} compares with real videos: give --data or --real-stats.")
            self._detector(request)
            self._real(request)
            self._fake(request)

    def results(self, requests: Sequence[Request]) -> Iterator[Result]:
        """A distance for each request."""
        for request in requests:
            started = time.perf_counter()
            fake = self._of(request, "scored", self._fake(request))
            real = self._real(request)
            if not isinstance(real, Features):
                real = self._of(request, "real", real)
                with distributed.fail_together():
                    self._save(request, real)
            dataset = self.setting.dataset.fingerprint() if self.setting.dataset else None
            with distributed.fail_together():
                result = compare(request, fake, real, self._detector(request), started, dataset)
            yield result

    def _detector(self, request: Request) -> VideoFeatures:
        if request.style not in self._detectors:
            setting = self.setting
            self._detectors[request.style] = load_video_detector(
                request.style, setting.weights, setting.detectors, setting.device
            )
        return self._detectors[request.style]

    def _of(self, request: Request, side: str, source: VideoSource) -> Features:
        key = side, request.videos, request.window, request.style
        if key not in self._features:
            label = f"{request.metric}, {side} videos"
            cache = self.setting.cache_for(self.subject) if side == "scored" else self.setting.cache
            self._features[key] = video_features(
                source, request, self._detector(request), label, cache, self.setting.batch
            )
        return self._features[key]

    def _fake(self, request: Request) -> VideoSource:
        snapshot, dataset = self.subject.snapshot, self.setting.dataset
        if snapshot is None:
            return FolderVideos(self.subject.videos, request.window)
        cameras = [clip.cameras for clip in dataset.clips] if dataset else list(snapshot.camera_bank.numpy())
        return GeneratedVideos(
            snapshot, self.subject.checksum, cameras, request.window, self.setting.seed, request.style
        )

    def _real(self, request: Request) -> VideoSource | Features:
        if self.setting.real_stats:
            return self._known(request)
        return DatasetVideos(self.setting.dataset, request.window, every_clip_once=request.style == "stylegan-v")

    def _known(self, request: Request) -> Features:
        path, detector = self.setting.real_stats, self._detector(request)
        if path.suffix == ".pkl":
            return Features(read_reference_pickle(path), None, {"source": "statistics", "file": path.name})
        found = load_statistics(path, detector.name, detector.checksum, protocol_name(request))
        each = None if found.features is None else found.features.double()
        return Features(found.moments, each, {"source": "statistics", "dataset": found.source.dataset})

    def _save(self, request: Request, real: Features) -> None:
        if self.setting.save_real_stats and distributed.is_main():
            detector = self._detector(request)
            source = Source(
                detector.name, detector.checksum, protocol_name(request), self.setting.dataset.fingerprint()
            )
            save_statistics(self.setting.save_real_stats, Statistics(source, real.moments, real.each))


def protocol_name(request: Request) -> str:
    """What statistics must have been made by to be compared with."""
    window = request.window
    return f"{request.style}, {request.videos} videos of {window.frames} frames, stride {window.stride}"


def video_features(
    source: VideoSource, request: Request, detector: VideoFeatures, label: str, cache: Path | None, batch: int
) -> Features:
    """Features of the first `request.videos` videos of a source, or of all where it has fewer."""
    count = request.videos if source.count is None else min(request.videos, source.count)
    key = {"detector": detector.name, "checksum": detector.checksum, "style": request.style, **source.identity}
    job = Job(label, key, count, detector.dim, source.video, _in_batches(detector), batch)
    rows = compute_rows(job, cache)
    each = torch.from_numpy(rows.good)
    return Features(FeatureMoments.of(each), each, source.identity, tuple(rows.skipped.values()))


def _in_batches(detector: VideoFeatures) -> Callable[[list[np.ndarray]], np.ndarray]:
    """Videos of one size go through the detector together."""

    def compute(clips: list[np.ndarray]) -> np.ndarray:
        if len({clip.shape for clip in clips}) > 1:
            return np.concatenate([compute([clip]) for clip in clips])
        return detector(torch.from_numpy(np.stack(clips))).double().cpu().numpy()

    return compute


def compare(
    request: Request, fake: Features, real: Features, detector: VideoFeatures, started: float, dataset: str | None
) -> Result:
    """The distance asked for. UserError where there are too few videos, or KVD has moments alone."""
    value, error, details, warnings = (_frechet if request.kind == "fvd" else _kernel)(fake, real)
    for features, side in ((fake, "scored"), (real, "real")):
        if features.moments.num < request.videos:
            warnings.append(f"{features.moments.num} {side} videos in place of {request.videos}.")
        warnings += features.skipped
    window = request.window
    protocol = {"style": request.style, "videos": request.videos, "frames": window.frames, "stride": window.stride}
    return Result(
        request.metric,
        value,
        error,
        fake.moments.num,
        time.perf_counter() - started,
        protocol,
        fake.source,
        dataset,
        detector.name,
        detector.checksum,
        len(fake.skipped) + len(real.skipped),
        {**details, "real_videos": real.moments.num},
        tuple(warnings),
    )


def _frechet(fake: Features, real: Features):
    distance = frechet_distance(fake.moments, real.moments)
    error = None
    if min(fake.moments.num, real.moments.num) >= LEAST_FOR_ERROR and fake.each is not None:
        error = frechet_standard_error(fake.each, real.moments if real.each is None else real.each)
    warnings = [text for text in dict.fromkeys((fake.moments.shortage, real.moments.shortage)) if text]
    return distance.value, error, {"mean_term": distance.mean_term}, warnings


def _kernel(fake: Features, real: Features):
    if fake.each is None or real.each is None:
        raise UserError("kvd needs the features of every real video, which these statistics lack: give --data.")
    distance = kernel_distance(fake.each, real.each)
    return distance.value, distance.standard_error, {}, []
