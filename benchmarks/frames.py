"""One frame of a video, as benchmarks make it."""

import torch

from training.cameras import frontal_label
from training.networks.generator import Generator
from training.sampling.clips import ClipSpec, frame_times, generate
from training.sampling.options import PAPER_FRAMES, SamplingOptions


def make_frame(G: Generator) -> None:
    """Make the sixth frame of a video of 16, planes and all, seen from the front."""
    clip = ClipSpec(
        z=torch.ones(G.z_dim),
        z_motion=torch.ones(G.z_motion_dim),
        cameras=frontal_label().expand(1, -1),
        times=frame_times(PAPER_FRAMES)[5:6],
    )
    for _ in generate(G, clip, SamplingOptions(frames_per_batch=1)):
        pass
