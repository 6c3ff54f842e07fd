"""ID, CD and WE of many videos: one pass over their four views, then means over pairs (PV3D A.4)."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from detectors import FaceEmbedder, load_face_embedder
from dnnlib.errors import UserError
from metrics.chamfer import chamfer_distances
from metrics.multiview import (
    PAIRS_GEOMETRY,
    PAIRS_IDENTITY,
    FolderViews,
    GeneratedViews,
    Views,
    ViewSource,
)
from metrics.protocols import Request
from metrics.results import Result
from metrics.rows import Job, Rows, compute_rows
from metrics.setting import Setting, Subject
from metrics.warping import warping_errors

PAPER_BIN = 1.05 / 48  # world units between samples along a ray, at the published configuration


@dataclass(frozen=True)
class Score:
    """Numbers that one pass adds to a video's row.

    Args:
        columns: their names, `<definition>/<pair>`; the metric's own definition first.
        key: plain values that they depend on, beside the views.
        measure: the numbers of one video.
    """

    kind: str
    columns: tuple[str, ...]
    key: dict[str, Any]
    measure: Callable[[Views], np.ndarray]
    detector: FaceEmbedder | None = None


def _per_pair(names: Sequence[str], pairs: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    return tuple(f"{name}/{a}{b}" for name in names for a, b in pairs)


def chamfer_score(bin_size: float) -> Score:
    """CD by the paper's definition, and the reference's."""

    def measure(views: Views) -> np.ndarray:
        _, points, opacity, _ = views.geometry()
        found = chamfer_distances(points, opacity, PAIRS_GEOMETRY, bin_size)
        return np.concatenate([found.paper, found.reference])

    return Score("cd", _per_pair(("cd", "reference"), PAIRS_GEOMETRY), {"bin": bin_size}, measure)


def warping_score() -> Score:
    """WE by the paper's definition, the reference's, with a z-buffer, and without any warp."""

    def measure(views: Views) -> np.ndarray:
        depth, _, _, cameras = views.geometry()
        found = [
            warping_errors(views.images[a], views.images[b], depth[b], cameras[a], cameras[b])
            for a, b in PAIRS_GEOMETRY
        ]
        return np.array([[getattr(errors, name) for errors in found] for name in names]).reshape(-1)

    names = ("paper", "reference", "zbuffer", "no_warp")
    return Score("we", _per_pair(("we", *names[1:]), PAIRS_GEOMETRY), {}, measure)


def identity_score(kind: str, embedder: FaceEmbedder) -> Score:
    """ID: cosine similarity of the faces of all six pairs of views.

    An embedder that first looks for the face (dlib's) also tells in how many of the four views it found none.
    """
    looks = hasattr(embedder, "embed")

    def measure(views: Views) -> np.ndarray:
        images = torch.from_numpy(views.images)
        faces, found = embedder.embed(images) if looks else (embedder(images), None)
        faces = faces.double().cpu().numpy()
        scores = [faces[a] @ faces[b] for a, b in PAIRS_IDENTITY]
        return np.array(scores + [len(images) - int(found.sum())] if looks else scores)

    columns = _per_pair((kind,), PAIRS_IDENTITY) + (("views_without_face/all",) if looks else ())
    return Score(kind, columns, {"detector": embedder.name, "checksum": embedder.checksum}, measure, embedder)


@dataclass(frozen=True)
class Mean:
    """Mean over all pairs that have a value, its standard error over videos, and how many pairs and videos count."""

    value: float
    standard_error: float | None
    pairs: int
    videos: int


def mean_over_pairs(values: np.ndarray) -> Mean:
    """values [N, P] of N videos, NaN where a pair has none.

    A video's pairs are not independent, so that the error is taken over videos: of the ratio of their sums to their
    numbers of pairs.
    """
    known = np.isfinite(values)
    counts, sums = known.sum(axis=1), np.where(known, values, 0).sum(axis=1)
    counted = counts > 0
    videos, pairs = int(counted.sum()), int(counts.sum())
    if pairs == 0:
        return Mean(float("nan"), None, 0, 0)
    value = sums.sum() / pairs
    residuals = (sums - value * counts)[counted]
    error = np.sqrt((residuals**2).sum() * videos / (videos - 1)) / pairs if videos > 1 else None
    return Mean(float(value), None if error is None else float(error), pairs, videos)


def column_means(score: Score, values: np.ndarray) -> dict[str, Mean]:
    """Means of a score's columns [N, C] by name (what stands before the slash), in order."""
    names = list(dict.fromkeys(column.split("/")[0] for column in score.columns))
    groups = {name: [i for i, column in enumerate(score.columns) if column.split("/")[0] == name] for name in names}
    return {name: mean_over_pairs(values[:, places]) for name, places in groups.items()}


class MultiviewScores:
    """ID, CD and WE of one subject, from one pass over its views."""

    def __init__(self, subject: Subject, setting: Setting):
        self.subject, self.setting = subject, setting
        self._scores: dict[str, Score] = {}

    def check(self, requests: Sequence[Request]) -> None:
        """UserError for what is missing; loads the detectors."""
        for request in requests:
            if self.subject.snapshot is None and self.subject.multiview is None:
                raise UserError(f"{request.metric} scores renders from several views: give --network or --multiview.")
            self._score(request.kind)

    def results(self, requests: Sequence[Request]) -> Iterator[Result]:
        """A score for each request."""
        if not requests:
            return
        started = time.perf_counter()
        scores = [self._score(kind) for kind in dict.fromkeys(request.kind for request in requests)]
        rows = self._rows(scores, max(request.videos for request in requests))
        seconds = time.perf_counter() - started
        widths = np.cumsum([0, *(len(score.columns) for score in scores)])
        for request in requests:
            place = next(i for i, score in enumerate(scores) if score.kind == request.kind)
            columns = slice(widths[place], widths[place + 1])
            yield self._result(request, scores[place], rows, columns, seconds)

    def _rows(self, scores: list[Score], videos: int) -> Rows:
        count = videos if self._source.count is None else min(videos, self._source.count)
        key = {"views": self._source.identity, "scores": [[score.kind, score.key] for score in scores]}
        measure = lambda views: np.concatenate([score.measure(views) for score in scores])  # noqa: E731
        job = Job(
            " ".join(score.kind for score in scores),
            key,
            count,
            sum(len(score.columns) for score in scores),
            lambda index: measure(self._source.views(index)),
            lambda rows: np.stack(rows),
        )
        return compute_rows(job, self.setting.cache_for(self.subject))

    @cached_property
    def _source(self) -> ViewSource:
        if self.subject.snapshot is None:
            return FolderViews(self.subject.multiview)
        return GeneratedViews(self.subject.snapshot, self.subject.checksum, self.setting.seed)

    def _score(self, kind: str) -> Score:
        if kind not in self._scores:
            self._scores[kind] = self._make_score(kind)
        return self._scores[kind]

    def _make_score(self, kind: str) -> Score:
        if kind == "we":
            return warping_score()
        if kind == "cd":
            snapshot = self.subject.snapshot
            rendering = snapshot and snapshot.config.generator.rendering
            return chamfer_score((rendering.far - rendering.near) / rendering.depth_samples if rendering else PAPER_BIN)
        return identity_score(
            kind, load_face_embedder(kind, self.setting.weights, self.setting.detectors, self.setting.device)
        )

    def _result(self, request: Request, score: Score, rows: Rows, columns: slice, seconds: float) -> Result:
        within = rows.values[: request.videos, columns]
        skipped = [reason for index, reason in rows.skipped.items() if index < request.videos]
        own, *others = column_means(score, within).items()
        mean = own[1]
        warnings = (
            skipped
            if mean.videos == request.videos
            else [f"{mean.videos} videos in place of {request.videos}.", *skipped]
        )
        details = {"pairs": float(mean.pairs), **{name: other.value for name, other in others}}
        if score.kind == "cd":
            details |= {"reference_sum": others[0][1].value * others[0][1].pairs}
        detector = score.detector
        return Result(
            request.metric,
            mean.value,
            mean.standard_error,
            mean.videos,
            seconds,
            {"videos": request.videos, "pairs": len(PAIRS_IDENTITY if detector else PAIRS_GEOMETRY), **score.key},
            self._source.identity,
            None,
            detector and detector.name,
            detector and detector.checksum,
            len(skipped),
            details,
            tuple(warnings),
        )
