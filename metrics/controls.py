"""What is known of procedural heads, asked of one subject: cameras, geometry, variety, motion."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch

from dnnlib.errors import UserError
from metrics import depth, motion_share, pose, variety
from metrics.family import MetricFamily
from metrics.frame_regressor import FrameRegressor
from metrics.per_video import PerVideoJob, compute_per_video
from metrics.protocols import Request
from metrics.results import Result
from metrics.video_sources import how_mapped
from torch_utils import distributed
from training.checkpoints.snapshots import Snapshot
from training.data.table import DEFAULT_FPS

PROCEDURAL_VIDEOS = 64  # whose own diversity and motion are reported beside the generator's
YAW_RANGES = {"pose": pose.FRONT, "pose-side": pose.SIDES}
DEPTH_SCORES = {"depth": depth.depth_score, "background": depth.background_score}


class Controls(MetricFamily):
    """Scores of generators of procedural heads; beside each stands what procedural heads themselves would score.

    Videos are those of `gen_videos.py --seeds` where the seed is 0.
    """

    kinds = (*YAW_RANGES, *DEPTH_SCORES, "diversity", "motion", "motion-share")

    def check(self, requests: Sequence[Request]) -> None:
        for request in requests:
            if self.subject.snapshot is None:
                raise UserError(f"{request.metric} asks a generator for views of its own choice: give --network.")

    def results(self, requests: Sequence[Request]) -> Iterator[Result]:
        snapshot = self.subject.snapshot
        for request in requests:
            assert snapshot is not None
            if request.kind in YAW_RANGES:
                yield self._pose(request, snapshot)
            elif request.kind in DEPTH_SCORES:
                yield self._depth(request, snapshot)
            else:
                yield self._variety(request, snapshot)

    def _pose(self, request: Request, snapshot: Snapshot) -> Result:
        started = time.perf_counter()
        yaw_range = YAW_RANGES[request.kind]
        regressor = _trained_regressor(min(snapshot.config.generator.img_resolution, pose.SIDE), yaw_range)
        checksum = _checksum(regressor)
        how = how_mapped(snapshot)
        row = partial(pose.pose_row, snapshot, regressor, yaw_range, self.options.seed)
        estimate = pose.pose_errors(self._rows(request, request.kind, row, pose.WIDTH, regressor=checksum, **how))
        floor = regressor.floor
        return self._result(
            request,
            estimate,
            started=started,
            details=_beside_floor(estimate, floor),
            protocol={"cameras": pose.CAMERAS, "yaw": [round(math.degrees(yaw), 1) for yaw in yaw_range], **how},
            detector=f"pose-regressor-{regressor.side}",
            checksum=checksum,
        )

    def _depth(self, request: Request, snapshot: Snapshot) -> Result:
        """Score the depth of the person, or how far behind the room is."""
        started = time.perf_counter()
        regressor = _trained_depth_regressor()
        checksum = _checksum(regressor)
        how = how_mapped(snapshot)
        row = partial(depth.depth_row, snapshot, regressor, self.options.seed)
        estimate = DEPTH_SCORES[request.kind](self._rows(request, "depth", row, depth.WIDTH, regressor=checksum, **how))
        floor = regressor.floor[request.kind]
        return self._result(
            request,
            estimate,
            started=started,
            details=_beside_floor(estimate, floor),
            protocol={"cameras": depth.CAMERAS, **how},
            detector="depth-regressor",
            checksum=checksum,
        )

    def _variety(self, request: Request, snapshot: Snapshot) -> Result:
        """Score how much people, moments or motions of a generator's videos differ, and of procedural ones."""
        started = time.perf_counter()
        seed = self.options.seed
        estimated: Callable[[np.ndarray], variety.Estimate] = variety.mean_estimate
        procedural_estimated = estimated
        width = procedural_width = variety.WIDTH
        if request.kind == "diversity":
            row = partial(variety.diversity_row, snapshot, seed)
            procedural_row = partial(variety.procedural_diversity_row, seed)
        elif request.kind == "motion":
            row = partial(variety.motion_row, snapshot, seed)
            procedural_row = partial(variety.procedural_motion_row, self._fps(), seed)
        else:
            estimated = motion_share.motion_share
            procedural_estimated = motion_share.reachable_share
            width = motion_share.WIDTH
            procedural_width = motion_share.PROCEDURAL_WIDTH
            row = partial(motion_share.motion_share_row, snapshot, seed)
            procedural_row = partial(motion_share.procedural_row, self._fps(), seed)
        estimate = estimated(self._rows(request, request.kind, row, width))
        job = PerVideoJob(
            label=f"{request.kind}, procedural heads",
            key={"control": request.kind, "seed": seed, "fps": self._fps()},
            videos=PROCEDURAL_VIDEOS,
            width=procedural_width,
            load=procedural_row,
            compute=np.stack,
        )
        procedural = procedural_estimated(compute_per_video(job, self.options.cache_folder).values)
        return self._result(
            request,
            estimate,
            started=started,
            details={"procedural": procedural.value, "procedural_error": procedural.standard_error},
            protocol={"feature": f"CIELAB, {variety.FEATURE_SIDE} x {variety.FEATURE_SIDE}"},
            warnings=_about_stills(request, snapshot),
        )

    def _fps(self) -> float:
        """Return the frames a second of the dataset's first clip."""
        dataset = self.options.dataset
        return DEFAULT_FPS if dataset is None else dataset.clips[0].fps

    def _rows(
        self, request: Request, control: str, row: Callable[[int], np.ndarray], width: int, **key: Any
    ) -> np.ndarray:
        """Compute rows [N, width] of the generator's videos; all the work is in `row`, for one video at a time.

        Args:
            control: what the rows are kept as.
        """
        job = PerVideoJob(
            label=request.metric,
            key={
                "control": control,
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
        warnings: tuple[str, ...] = (),
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
            warnings=warnings,
        )


def _about_stills(request: Request, snapshot: Snapshot) -> tuple[str, ...]:
    """Return what to say of the motion of a static generator."""
    is_static = snapshot.config.generator.is_static
    if is_static and request.kind.startswith("motion"):
        return ("the model is static: it has no motion, and no motion code decides any.",)
    return ()


# Instruments are trained once, however many snapshots a training run scores, and are the same for every seed. Their
# weights are those of the main process, for processes may run on different processors.


@lru_cache(maxsize=len(YAW_RANGES))
def _trained_regressor(side: int, yaw_range: tuple[float, float]) -> FrameRegressor:
    regressor = pose.train_pose_regressor(side, yaw_range, progress=distributed.is_main())
    distributed.broadcast(regressor.state_dict().values())
    return regressor


@lru_cache(maxsize=1)
def _trained_depth_regressor() -> depth.DepthRegressor:
    regressor = depth.train_depth_regressor(progress=distributed.is_main())
    distributed.broadcast(regressor.state_dict().values())
    return regressor


def _beside_floor(estimate: variety.Estimate, floor: variety.Estimate) -> dict[str, float | None]:
    """Return the details of a score with those of its floor."""
    return {
        **estimate.details,
        "floor": floor.value,
        "floor_error": floor.standard_error,
        **{f"floor_{name}": value for name, value in floor.details.items()},
    }


def _checksum(regressor: torch.nn.Module) -> str:
    """Return the sha256 of a regressor's weights."""
    digest = hashlib.sha256()
    for value in regressor.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
