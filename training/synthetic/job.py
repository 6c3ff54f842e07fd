"""Clips of procedural heads as records of a dataset: rendered and encoded by workers, one clip a job."""

from dataclasses import dataclass

from training.data.frames import DEPTH_SUFFIX, encode_depth, encode_png
from training.data.writer import ClipRecord
from training.synthetic.render import render_clip

SEED_STRIDE = 2**20  # clips of neighbouring dataset seeds stay apart


@dataclass(frozen=True, kw_only=True)
class SynthJob:
    """Clip `index` of the procedural dataset `seed`, and what to make of it."""

    seed: int
    index: int
    frames: int
    resolution: int  # side of the frames in pixels
    fps: float
    depth: bool  # whether to store the true depth beside every frame
    yaw_range: float  # radians either side of the frontal camera
    split: str  # one of SPLITS


def synth_clip(job: SynthJob) -> ClipRecord:
    """Render and encode a procedural clip."""
    seed = job.seed * SEED_STRIDE + job.index
    clip = render_clip(seed, job.resolution, job.frames, job.fps, yaw_range=job.yaw_range, split=job.split)
    frames = [(f"{i:05d}.png", encode_png(frame)) for i, frame in enumerate(clip.frames)]
    extras = []
    if job.depth:
        extras = [(f"{i:05d}{DEPTH_SUFFIX}", encode_depth(depth)) for i, depth in enumerate(clip.depth)]
    name = f"{job.index:05d}"
    person = f"{job.seed}-{name}"
    return ClipRecord(
        name=name,
        frames=frames,
        cameras=clip.cameras,
        fps=job.fps,
        identity=person if job.split == "train" else f"{job.split}-{person}",
        extras=extras,
    )
