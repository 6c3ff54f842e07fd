"""What sampling can be asked for, as plain values: options of commands name them, so this module does without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dnnlib.errors import UserError
from dnnlib.names import frame_name
from dnnlib.video_formats import FORMATS as VIDEO_FORMATS

PAPER_FRAMES = 16  # of a video at inference (section 3.4)
KINDS = ("dataset", "shared", "frontal", "orbit")  # of camera paths
FRAME_LAYERS = ("rgb", "depth", "normals")  # pictures of a frame
SHAPE = "shape"  # the layer that is no picture of a frame
LAYERS = (*FRAME_LAYERS, SHAPE)
MESH_FORMATS = ("ply", "obj", "glb")  # of files
PICTURES = "png"  # a folder of them
ARRAYS = "npz"
FORMATS = (*(suffix[1:] for suffix in VIDEO_FORMATS), PICTURES, ARRAYS)  # of clips
DEFAULT_FPS = 25.0
MAX_SCALE = 16  # how many times larger pictures are shown than they are made


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How clips are sampled."""

    psi: float = 1.0  # truncation; 1: none
    cutoff: int | None = None  # rows of ws that are truncated; None: all
    neural_rendering_resolution: int | None = None  # None: the configuration's
    frames_per_batch: int = 4


@dataclass(frozen=True, kw_only=True)
class Orbit:
    """How far a camera goes around the head, true degrees of azimuth and elevation either side of the frontal one."""

    yaw: float = 20.0
    pitch: float = 5.5


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How meshes, and pictures of them, are made.

    Args:
        resolution: points of the lattice a side.
        level: raw density at the surface; None: `mesh.level_of_surface` of the first frame.
        all_parts: also what has no connection with the head.
    """

    resolution: int = 128
    level: float | None = None
    all_parts: bool = False

    def options(self) -> dict[str, Any]:
        """Return what a record says of it."""
        return {f"shape_{name}": value for name, value in vars(self).items()}


@dataclass(frozen=True, kw_only=True)
class MeshFiles:
    """Which files of meshes are written.

    Args:
        format: one of MESH_FORMATS.
        frames: numbers of the frames that get one; None: all.
    """

    format: str = "ply"
    frames: Sequence[int] | None = None

    def numbers(self, count: int) -> list[int]:
        """Return the numbers of its frames in order, each once. UserError if clips of `count` frames lack one."""
        numbers = sorted(set(range(count) if self.frames is None else self.frames))
        if numbers[-1] >= count:
            raise UserError(
                f"--shape-frames has {numbers[-1]}, but there are {count} frames: choose from 0 to {count - 1}."
            )
        return numbers

    def name(self, number: int, count: int) -> str:
        """Return the name of a frame's file; in clips of `count` frames, names sort as frames do."""
        return frame_name(number, count, self.format)
