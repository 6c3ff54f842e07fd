"""One procedural clip as a record of a dataset, in a worker process."""

from dataclasses import dataclass

from training.data.files import DEPTH_SUFFIX, encode_depth, encode_png
from training.data.writer import ClipRecord
from training.synthetic.render import render_clip

SEED_STRIDE = 2**20  # clips of neighbouring dataset seeds stay apart


@dataclass(frozen=True)
class SynthJob:
    """Clip `index` of the procedural dataset `seed`."""

    seed: int
    index: int
    frames: int
    resolution: int
    fps: float
    depth: bool


def synth_clip(job: SynthJob) -> ClipRecord:
    """Render a procedural clip."""
    clip = render_clip(job.seed * SEED_STRIDE + job.index, job.resolution, job.frames, job.fps)
    frames = [(f"{i:05d}.png", encode_png(frame)) for i, frame in enumerate(clip.frames)]
    depths = clip.depth if job.depth else []
    extras = [(f"{i:05d}{DEPTH_SUFFIX}", encode_depth(depth)) for i, depth in enumerate(depths)]
    name = f"{job.index:05d}"
    return ClipRecord(name, frames, clip.cameras, job.fps, identity=f"{job.seed}-{name}", extras=extras)
