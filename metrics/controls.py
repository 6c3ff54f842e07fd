"""Pose agreement, diversity and motion of one subject: controls for generators of procedural heads."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from metrics import pose, variety
from metrics.family import MetricFamily
from metrics.frame_regressor import FrameRegressor
from metrics.per_video import PerVideoJob, compute_per_video
from metrics.protocols import Request
from metrics.results import Result
from torch_utils import distributed
from training.checkpoints.snapshots import Snapshot
from training.data.table import DEFAULT_FPS

PROCEDURAL_VIDEOS = 64  # whose own diversity and motion are reported beside the generator's


class Controls(MetricFamily):
    """`pose`, `diversity` and `motion`; beside each stands what procedural heads themselves would score.

    Videos are those of `gen_videos.py --seeds` where the seed is 0.
    """

    kinds = ("pose", "diversity", "motion")

    def check(self, requests: Sequence[Request]) -> None:
        for request in requests:
            if self.subject.snapshot is None:
                raise UserError(f"{request.metric} asks a generator for views of its own choice: give --network.")

    def results(self, requests: Sequence[Request]) -> Iterator[Result]:
        snapshot = self.subject.snapshot
        for request in requests:
            assert snapshot is not None
            if request.kind == "pose":
                yield self._pose(request, snapshot)
            else:
                yield self._variety(request, snapshot)

    def _pose(self, request: Request, snapshot: Snapshot) -> Result:
        started = time.perf_counter()
        regressor = _trained_regressor(min(snapshot.config.generator.img_resolution, pose.SIDE))
        checksum = _checksum(regressor)
        row = partial(pose.pose_row, snapshot, regressor, self.options.seed)
        estimate = pose.pose_errors(self._rows(request, row, pose.WIDTH, regressor=checksum))
        floor = regressor.floor
        return self._result(
            request,
            estimate,
            started=started,
            details={
                **estimate.details,
                "floor": floor.value,
                "floor_error": floor.standard_error,
                **{f"floor_{name}": value for name, value in floor.details.items()},
            },
            protocol={"cameras": pose.CAMERAS},
            detector=f"pose-regressor-{regressor.side}",
            checksum=checksum,
        )

    def _variety(self, request: Request, snapshot: Snapshot) -> Result:
        """Score the diversity or the motion of a generator's videos, and of procedural ones."""
        started = time.perf_counter()
        seed = self.options.seed
        if request.kind == "diversity":
            row = partial(variety.diversity_row, snapshot, seed)
            procedural_row = partial(variety.procedural_diversity_row, seed)
        else:
            row = partial(variety.motion_row, snapshot, seed)
            procedural_row = partial(variety.procedural_motion_row, self._fps(), seed)
        estimate = variety.mean_estimate(self._rows(request, row, variety.WIDTH))
        job = PerVideoJob(
            label=f"{request.kind}, procedural heads",
            key={"control": request.kind, "seed": seed, "fps": self._fps()},
            videos=PROCEDURAL_VIDEOS,
            width=variety.WIDTH,
            load=procedural_row,
            compute=np.stack,
        )
        procedural = variety.mean_estimate(compute_per_video(job, self.options.cache_folder).values)
        return self._result(
            request,
            estimate,
            started=started,
            details={"procedural": procedural.value, "procedural_error": procedural.standard_error},
            protocol={"feature": f"CIELAB, {variety.FEATURE_SIDE} x {variety.FEATURE_SIDE}"},
        )

    def _fps(self) -> float:
        """Return the frames a second of the dataset's first clip."""
        dataset = self.options.dataset
        return DEFAULT_FPS if dataset is None else dataset.clips[0].fps

    def _rows(self, request: Request, row: Callable[[int], np.ndarray], width: int, **key: Any) -> np.ndarray:
        """Compute rows [N, width] of the generator's videos; all the work is in `row`, for one video at a time."""
        job = PerVideoJob(
            label=request.metric,
            key={
                "control": request.kind,
                "snapshot": self.subject.checksum,
                "seed": self.options.seed,
                **key,
            },
            videos=request.videos,
            width=width,
            load=row,
            compute=np.stack,
        )
        return compute_per_video(job, self.options.cache_folder_for(self.subject)).values

    def _result(
        self,
        request: Request,
        estimate: variety.Estimate,
        *,
        started: float,
        details: dict[str, float | None],
        protocol: dict[str, Any],
        detector: str | None = None,
        checksum: str | None = None,
    ) -> Result:
        dataset = self.options.dataset
        return Result(
            metric=request.metric,
            value=estimate.value,
            standard_error=estimate.standard_error,
            samples=request.videos,
            seconds=time.perf_counter() - started,
            protocol={"videos": request.videos, "seed": self.options.seed, **protocol},
            source={"source": "generator", "snapshot": self.subject.checksum},
            dataset=None if dataset is None else dataset.fingerprint(),
            detector=detector,
            detector_checksum=checksum,
            details=details,
        )


@lru_cache(maxsize=1)
def _trained_regressor(side: int) -> FrameRegressor:
    """Train it once, however many snapshots a training run scores; the instrument is the same for every seed."""
    regressor = pose.train_pose_regressor(side, progress=distributed.is_main())
    distributed.broadcast(regressor.state_dict().values())  # processes may run on different processors
    return regressor


def _checksum(regressor: FrameRegressor) -> str:
    """Return the sha256 of a regressor's weights."""
    digest = hashlib.sha256()
    for value in regressor.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
