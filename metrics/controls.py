"""Pose agreement, diversity and motion of one subject: controls for generators of procedural heads."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from metrics import pose, variety
from metrics.protocols import Request
from metrics.results import Result
from metrics.rows import Job, compute_rows
from metrics.setting import Setting, Subject
from torch_utils import distributed
from training.data.dataset import DEFAULT_FPS

PROCEDURAL_VIDEOS = 64  # whose own diversity and motion are reported beside the generator's


class Controls:
    """`pose`, `diversity` and `motion`; beside each stands what procedural heads themselves would score.

    Videos are those of `gen_videos.py --seeds` where the seed is 0.
    """

    def __init__(self, subject: Subject, setting: Setting):
        self.subject, self.setting = subject, setting

    def check(self, requests: Sequence[Request]) -> None:
        """UserError for what is missing."""
        for request in requests:
            if self.subject.snapshot is None:
                raise UserError(f"{request.metric} asks a generator for views of its own choice: give --network.")

    def results(self, requests: Sequence[Request]) -> Iterator[Result]:
        """A score for each request. Every process must go through all of them."""
        for request in requests:
            yield self._pose(request) if request.kind == "pose" else self._variety(request)

    def _pose(self, request: Request) -> Result:
        started, snapshot, seed = time.perf_counter(), self.subject.snapshot, self.setting.seed
        regressor = _regressor(min(snapshot.config.generator.img_resolution, pose.SIDE))
        checksum = _checksum(regressor)
        row = partial(pose.pose_row, snapshot, regressor, seed)
        found = pose.pose_errors(self._rows(request, row, pose.WIDTH, {"regressor": checksum}))
        floor = regressor.floor
        details = {
            **found.details,
            "floor": floor.value,
            "floor_error": floor.standard_error,
            **{f"floor_{name}": value for name, value in floor.details.items()},
        }
        return self._result(
            request, found, started, details, {"cameras": pose.CAMERAS}, f"pose-regressor-{regressor.side}", checksum
        )

    def _variety(self, request: Request) -> Result:
        started, seed, dataset = time.perf_counter(), self.setting.seed, self.setting.dataset
        fps = dataset.clips[0].fps if dataset else DEFAULT_FPS
        generated, procedural = {
            "diversity": (variety.diversity_row, variety.procedural_diversity_row),
            "motion": (variety.motion_row, partial(variety.procedural_motion_row, fps)),
        }[request.kind]
        rows = self._rows(request, partial(generated, self.subject.snapshot, seed), variety.WIDTH, {})
        own = Job(
            f"{request.kind}, procedural heads",
            {"control": request.kind, "seed": seed, "fps": fps},
            PROCEDURAL_VIDEOS,
            variety.WIDTH,
            partial(procedural, seed),
            np.stack,
        )
        level = variety.mean_estimate(compute_rows(own, self.setting.cache).values)
        details = {"procedural": level.value, "procedural_error": level.standard_error}
        feature = f"CIELAB, {variety.FEATURE_SIDE} x {variety.FEATURE_SIDE}"
        return self._result(request, variety.mean_estimate(rows), started, details, {"feature": feature})

    def _rows(self, request: Request, row: Callable[[int], np.ndarray], width: int, key: dict[str, Any]) -> np.ndarray:
        """Rows [N, width]; all the work is in `row`, for one video at a time."""
        key = {"control": request.kind, "snapshot": self.subject.checksum, "seed": self.setting.seed, **key}
        job = Job(request.metric, key, request.videos, width, row, np.stack)
        return compute_rows(job, self.setting.cache_for(self.subject)).values

    def _result(
        self,
        request: Request,
        found: variety.Estimate,
        started: float,
        details: dict[str, float],
        protocol: dict[str, Any],
        detector: str | None = None,
        checksum: str | None = None,
    ) -> Result:
        dataset = self.setting.dataset
        return Result(
            request.metric,
            found.value,
            found.standard_error,
            request.videos,
            time.perf_counter() - started,
            {"videos": request.videos, "seed": self.setting.seed, **protocol},
            {"source": "generator", "snapshot": self.subject.checksum},
            dataset and dataset.fingerprint(),
            detector,
            checksum,
            details=details,
        )


@lru_cache(maxsize=1)
def _regressor(side: int) -> pose.PoseRegressor:
    """Trained once, however many snapshots a training run scores; the instrument is the same for every seed."""
    regressor = pose.train_pose_regressor(side, progress=distributed.is_main())
    distributed.broadcast(regressor.state_dict().values())  # processes may run on different processors
    return regressor


def _checksum(regressor: pose.PoseRegressor) -> str:
    digest = hashlib.sha256()
    for value in regressor.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
