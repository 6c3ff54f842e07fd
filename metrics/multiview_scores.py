"""ID, CD and WE of many videos: one pass over their four views, then means over pairs (PV3D A.4)."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from detectors import FaceEmbedder, load_arcface
from detectors.dlib_face import DlibEmbedder
from dnnlib.errors import UserError
from metrics.chamfer import chamfer_distances
from metrics.family import MetricFamily
from metrics.multiview import PAIRS_GEOMETRY, PAIRS_IDENTITY, VIEWS, FolderViews, FourViews, GeneratedViews, ViewSource
from metrics.options import EvaluationOptions, EvaluationSubject
from metrics.per_video import PerVideoJob, PerVideoNumbers, compute_per_video
from metrics.protocols import Request
from metrics.results import Result
from metrics.warping import warping_errors
from torch_utils import distributed

PAPER_BIN = 1.05 / 48  # world units between samples along a ray, at the published configuration
FACELESS = "views_without_face"  # number of a video, beside its similarities
WARPING_DEFINITIONS = ("paper", "reference", "zbuffer", "no_warp")

# --- Numbers of one video ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ViewMetric:
    """One of the metrics that look at a video's four views.

    Args:
        kind: id, cd, ...
        columns: names of its numbers for a video, `<definition>/<pair>`; the metric's own definition first.
        key: plain values that they depend on, beside the views.
        measure: returns the numbers of a video.
        detector: that it looks through, if any.
    """

    kind: str
    columns: tuple[str, ...]
    key: dict[str, Any]
    measure: Callable[[FourViews], np.ndarray]
    detector: FaceEmbedder | None = None


def _columns(definitions: Sequence[str], pairs: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    return tuple(f"{definition}/{a}{b}" for definition in definitions for a, b in pairs)


def chamfer_metric(bin_size: float) -> ViewMetric:
    """Return CD, by the paper's definition and by the reference's."""

    def measure(views: FourViews) -> np.ndarray:
        geometry = views.require_geometry()
        distances = chamfer_distances(geometry.points, geometry.opacity, PAIRS_GEOMETRY, bin_size)
        return np.concatenate([distances.paper, distances.reference])

    return ViewMetric(
        kind="cd",
        columns=_columns(["cd", "reference"], PAIRS_GEOMETRY),
        key={"bin": bin_size},
        measure=measure,
    )


def warping_metric() -> ViewMetric:
    """Return WE, by the paper's definition and the reference's, with a z-buffer, and without any warp."""

    def measure(views: FourViews) -> np.ndarray:
        geometry = views.require_geometry()
        errors = [
            warping_errors(
                front=views.images[front],
                side=views.images[side],
                side_depth=geometry.depth[side],
                front_camera=geometry.cameras[front],
                side_camera=geometry.cameras[side],
            )
            for front, side in PAIRS_GEOMETRY
        ]
        return np.array([getattr(pair, definition) for definition in WARPING_DEFINITIONS for pair in errors])

    return ViewMetric(
        kind="we",
        columns=_columns(["we", *WARPING_DEFINITIONS[1:]], PAIRS_GEOMETRY),
        key={},
        measure=measure,
    )


def identity_metric(kind: str, embedder: FaceEmbedder) -> ViewMetric:
    """Return ID: cosine similarity of the faces of all six pairs of views.

    With dlib's embedder, which looks for the faces, one more number: in how many of the four views it found none.
    """
    columns = _columns([kind], PAIRS_IDENTITY)
    if isinstance(embedder, DlibEmbedder):
        columns += (f"{FACELESS}/all",)

    def measure(views: FourViews) -> np.ndarray:
        images = torch.from_numpy(views.images)
        without_face = []
        if isinstance(embedder, DlibEmbedder):
            embeddings, found = embedder.embed(images)
            without_face = [len(images) - int(found.sum())]
        else:
            embeddings = embedder(images)
        vectors = embeddings.double().cpu().numpy()
        return np.array([vectors[a] @ vectors[b] for a, b in PAIRS_IDENTITY] + without_face)

    return ViewMetric(
        kind=kind,
        columns=columns,
        key={"detector": embedder.name, "checksum": embedder.checksum},
        measure=measure,
        detector=embedder,
    )


# --- Means over videos ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PairMean:
    """Mean over all pairs that have a value, its standard error over videos, and how many pairs and videos count."""

    value: float
    standard_error: float | None
    pairs: int
    videos: int


def mean_over_pairs(values: np.ndarray) -> PairMean:
    """Average values [N, P] of N videos, NaN where a pair has none.

    A video's pairs are not independent, so that the error is taken over videos: of the ratio of their sums to their
    numbers of pairs.
    """
    known = np.isfinite(values)
    pairs_of_video = known.sum(axis=1)
    sum_of_video = np.where(known, values, 0).sum(axis=1)
    counts = pairs_of_video > 0
    pairs = int(pairs_of_video.sum())
    videos = int(counts.sum())
    if pairs == 0:
        return PairMean(value=float("nan"), standard_error=None, pairs=0, videos=0)
    mean = sum_of_video.sum() / pairs
    standard_error = None
    if videos > 1:
        residuals = (sum_of_video - mean * pairs_of_video)[counts]
        variance = (residuals**2).sum() * videos / (videos - 1)
        standard_error = float(np.sqrt(variance) / pairs)
    return PairMean(value=float(mean), standard_error=standard_error, pairs=pairs, videos=videos)


def definition_means(metric: ViewMetric, values: np.ndarray) -> dict[str, PairMean]:
    """Return means of a metric's columns [N, C] by definition, in order."""
    definitions = [column.split("/")[0] for column in metric.columns]
    means = {}
    for definition in dict.fromkeys(definitions):
        places = [place for place, name in enumerate(definitions) if name == definition]
        means[definition] = mean_over_pairs(values[:, places])
    return means


# --- From requests to results -----------------------------------------------------------------------------------------


class MultiviewScores(MetricFamily):
    """ID, CD and WE of one subject, from one pass over its views."""

    kinds = ("id", "id-dlib", "cd", "we")

    def __init__(self, subject: EvaluationSubject, options: EvaluationOptions):
        super().__init__(subject, options)
        self._metrics: dict[str, ViewMetric] = {}

    def check(self, requests: Sequence[Request]) -> None:
        for request in requests:
            if self.subject.snapshot is None and self.subject.multiview_folder is None:
                raise UserError(f"{request.metric} scores renders from several views: give --network or --multiview.")
            self._metric(request.kind)

    def results(self, requests: Sequence[Request]) -> Iterator[Result]:
        if not requests:
            return
        started = time.perf_counter()
        metrics = [self._metric(kind) for kind in dict.fromkeys(request.kind for request in requests)]
        numbers = self._measure(metrics, max(request.videos for request in requests))
        seconds = time.perf_counter() - started
        kinds = [metric.kind for metric in metrics for _ in metric.columns]
        for request in requests:
            columns = [column for column, kind in enumerate(kinds) if kind == request.kind]
            yield self._result(request, numbers, columns, seconds)

    def _measure(self, metrics: list[ViewMetric], videos: int) -> PerVideoNumbers:
        """Measure all that is asked for in one pass over the views."""
        source = self._source
        if source.content is not None:
            source.content.share_fingerprint()

        def load(index: int) -> np.ndarray:
            views = source.views(index)
            return np.concatenate([metric.measure(views) for metric in metrics])

        job = PerVideoJob(
            label=" ".join(metric.kind for metric in metrics),
            key={"views": source.identity, "scores": [[metric.kind, metric.key] for metric in metrics]},
            videos=videos if source.count is None else min(videos, source.count),
            width=sum(len(metric.columns) for metric in metrics),
            load=load,
            compute=np.stack,
        )
        numbers = compute_per_video(job, self.options.cache_folder_for(self.subject))
        with distributed.fail_together():
            numbers.require_left(1)
        return numbers

    @cached_property
    def _source(self) -> ViewSource:
        if self.subject.snapshot is None:
            assert self.subject.multiview_folder is not None
            return FolderViews(self.subject.multiview_folder)
        return GeneratedViews(self.subject.snapshot, self.subject.checksum, self.options.seed)

    def _metric(self, kind: str) -> ViewMetric:
        if kind not in self._metrics:
            self._metrics[kind] = self._make_metric(kind)
        return self._metrics[kind]

    def _make_metric(self, kind: str) -> ViewMetric:
        if kind == "we":
            return warping_metric()
        if kind == "cd":
            return chamfer_metric(self._bin_size())
        if kind == "id-dlib":
            return identity_metric(kind, DlibEmbedder())
        options = self.options
        arcface = load_arcface(kind=options.detector_weights, folder=options.detector_folder, device=options.device)
        return identity_metric(kind, arcface)

    def _bin_size(self) -> float:
        """Return the world units between samples along a ray."""
        snapshot = self.subject.snapshot
        if snapshot is None:
            return PAPER_BIN
        rendering = snapshot.config.generator.rendering
        return (rendering.far - rendering.near) / rendering.depth_samples

    def _result(self, request: Request, numbers: PerVideoNumbers, columns: list[int], seconds: float) -> Result:
        metric = self._metric(request.kind)
        means = definition_means(metric, numbers.values[: request.videos, columns])
        own, *others = means
        mean = means[own]
        warnings = []
        if mean.videos != request.videos:
            warnings.append(f"{mean.videos} videos in place of {request.videos}.")
        skipped = [reason for index, reason in numbers.skipped.items() if index < request.videos]
        details: dict[str, float | None] = {"pairs": float(mean.pairs)}
        for name in others:
            details[name] = means[name].value
        if FACELESS in means:
            faceless = means[FACELESS]
            count = round(faceless.value * faceless.pairs)
            if count > 0:
                warnings.append(
                    f"no face was found in {count} of {VIEWS * faceless.videos} frames, which were embedded whole: "
                    "their similarities are not those of faces."
                )
        if metric.kind == "cd":
            details["reference_sum"] = means["reference"].value * means["reference"].pairs
        detector = metric.detector
        return Result(
            metric=request.metric,
            value=mean.value,
            standard_error=mean.standard_error,
            samples=mean.videos,
            seconds=seconds,
            protocol={
                "videos": request.videos,
                "pairs": len(PAIRS_IDENTITY if detector else PAIRS_GEOMETRY),
                **metric.key,
            },
            source=self._source.identity,
            detector=detector.name if detector else None,
            detector_checksum=detector.checksum if detector else None,
            skipped=len(skipped),
            details=details,
            warnings=(*warnings, *skipped, *self._source.notes),
        )
