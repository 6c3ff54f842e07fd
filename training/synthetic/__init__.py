"""Procedural talking heads: people, their motion, exact cameras and exact depth (the embedded dataset)."""

from training.synthetic.identity import Identity, random_identity
from training.synthetic.motion import Expression, Motion, random_motion
from training.synthetic.render import SyntheticClip, clip_seeds, is_person, render_clip, render_frame, render_motion

__all__ = [
    "Expression",
    "Identity",
    "Motion",
    "SyntheticClip",
    "clip_seeds",
    "is_person",
    "random_identity",
    "random_motion",
    "render_clip",
    "render_frame",
    "render_motion",
]
