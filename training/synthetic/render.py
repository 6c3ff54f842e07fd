"""Pictures of procedural people: cast rays, paint what they hit, average a few rays where the picture has edges."""

from dataclasses import dataclass

import numpy as np

from training.data.options import SPLITS, YAW_RANGE
from training.synthetic.identity import Identity, random_identity
from training.synthetic.motion import FPS, Expression, Motion, random_motion
from training.synthetic.rays import product
from training.synthetic.room import room_depth
from training.synthetic.scene import Scene

NEAR_ROOM = 1e-3  # world units in front of the room that nothing of a person is within
EDGE = 0.06  # colour difference to a neighbour that calls for more rays
# Columns and rows of the further rays in a pixel, from its centre, through which the first went.
SUBPIXELS = np.array([[0.0, -0.36], [0.31, 0.18], [-0.31, 0.18]])


@dataclass(frozen=True, kw_only=True)
class SyntheticClip:
    """A rendered clip, with the truth about it."""

    frames: np.ndarray  # uint8 [T, 3, R, R]
    cameras: np.ndarray  # float32 [T, 25]
    depth: np.ndarray  # float32 [T, R, R]: along the ray, at pixel centres
    fps: float
    identity: Identity
    motion: Motion


# --- Clips ------------------------------------------------------------------------------------------------------------


def clip_seeds(seed: int) -> tuple[int, int]:
    """Return the identity's and the motion's seed of clip `seed`."""
    identity, motion = np.random.SeedSequence(int(seed)).generate_state(2)
    return int(identity), int(motion)


def render_clip(
    seed: int,
    resolution: int,
    frames: int,
    fps: float = FPS,
    *,
    yaw_range: float = YAW_RANGE,
    split: str = "train",
) -> SyntheticClip:
    """Render clip number `seed`: a person and a motion of their own, at `resolution` pixels; the same at every call.

    Args:
        yaw_range: radians either side of the frontal camera within which cameras stay, at most MAX_YAW degrees.
        split: one of SPLITS.
    """
    identity_seed, motion_seed = clip_seeds(seed)
    people, motions = SPLITS[split]
    motion = random_motion(motion_seed, frames, fps, yaw_range=yaw_range, stream=motions)
    return render_motion(random_identity(identity_seed, people), motion, resolution, fps)


def render_motion(
    identity: Identity,
    motion: Motion,
    resolution: int,
    fps: float = FPS,
) -> SyntheticClip:
    """Render a clip of this person with this motion."""
    frames = []
    depths = []
    for expression, camera in zip(motion.expressions, motion.cameras, strict=True):
        rgb, depth = render_frame(identity, expression, camera, resolution)
        frames.append(rgb)
        depths.append(depth)
    return SyntheticClip(
        frames=np.stack(frames),
        cameras=motion.cameras,
        depth=np.stack(depths),
        fps=fps,
        identity=identity,
        motion=motion,
    )


# --- A frame ----------------------------------------------------------------------------------------------------------


def render_frame(
    identity: Identity,
    expression: Expression,
    camera: np.ndarray,
    resolution: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Render one frame.

    Args:
        camera: label [25] (training/cameras.py), at most MAX_YAW degrees of yaw from the front.

    Returns:
        rgb uint8 [3, R, R], and depth float32 [R, R]: distance along the ray through each pixel's centre, world units.
    """
    scene = Scene(identity, expression)
    columns, rows = _centres(resolution)
    colour, depth = scene.look(*pixel_rays(camera, columns / resolution, rows / resolution))
    edges = np.flatnonzero(_edges(colour.reshape(3, resolution, resolution)))
    if len(edges):
        across, down = SUBPIXELS.T[:, :, None]
        u = (columns[edges] + across) / resolution  # [3, edges]
        v = (rows[edges] + down) / resolution
        finer, _ = scene.look(*pixel_rays(camera, u.ravel(), v.ravel()))
        total = finer.reshape(3, len(SUBPIXELS), -1).sum(axis=1) + colour[:, edges]
        colour[:, edges] = total / (len(SUBPIXELS) + 1)
    rgb = np.clip(colour * 255 + 0.5, 0, 255).astype(np.uint8)
    return rgb.reshape(3, resolution, resolution), depth.reshape(resolution, resolution)


def is_person(depth: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Return which pixels bool [R, R] show the person, not the room behind, from a frame's depth [R, R] and camera."""
    columns, rows = _centres(len(depth)) / len(depth)
    room = room_depth(*pixel_rays(camera, columns, rows)).reshape(depth.shape)
    return depth < room - NEAR_ROOM


def _centres(resolution: int) -> np.ndarray:
    """Return column and row [2, R * R] of all pixels' centres, line by line."""
    rows, columns = np.divmod(np.arange(resolution**2), resolution)
    return np.stack([columns, rows]) + 0.5


def pixel_rays(
    camera: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return eye [3] and unit directions float32 [3, M] through image positions u, v [M] (0 to 1, right and down)."""
    camera = np.asarray(camera, dtype=np.float64)
    pose = camera[:16].reshape(4, 4)
    focal_x, skew, centre_x, _, focal_y, centre_y = camera[16:22]
    y = (v - centre_y) / focal_y
    x = (u - centre_x - skew * y) / focal_x
    ahead = np.stack([x, y, np.ones_like(x)])
    directions = product(pose[:3, :3], ahead)
    lengths = np.linalg.norm(directions, axis=0)
    return pose[:3, 3], (directions / lengths).astype(np.float32)


def _edges(colour: np.ndarray) -> np.ndarray:
    """Return which pixels [R, R] differ visibly from one of their four neighbours; colour [3, R, R]."""
    _, height, width = colour.shape
    marked = np.zeros([height, width], dtype=bool)
    across = np.abs(np.diff(colour, axis=2)).max(axis=0) > EDGE
    down = np.abs(np.diff(colour, axis=1)).max(axis=0) > EDGE
    marked[:, 1:] |= across
    marked[:, :-1] |= across
    marked[1:] |= down
    marked[:-1] |= down
    return marked
