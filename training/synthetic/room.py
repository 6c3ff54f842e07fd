"""The background: an upright cylinder around the person, seen from inside, that goes over into two flat sides.

Cameras outside look through its near side. Seen from above, the cylinder is the arc behind and beside the person, up to
SIDE_START before the origin; from there the sides run on along z. So cameras of up to MAX_YAW see the room everywhere
beside a person, and inside the box that the model has (`RenderingConfig.box_side`). With a whole cylinder in that box
they would see past its edge, from 55 degrees on.
"""

import numpy as np

from training.synthetic.rays import Ellipsoid, Scalars, Vectors, forms_of, intervals

WALL_RADIUS = 0.485  # of the cylinder
SIDE_START = 0.12  # z beyond which the sides are flat; cameras of up to 31 degrees do not see so far
SIDE_END = 0.5  # z at which they end, the front of the box
SIDE_X = float(np.sqrt(WALL_RADIUS**2 - SIDE_START**2))  # of the flat sides
WALL_SCALE = 0.48  # world units along the wall a radian, about its radius
CYLINDER = forms_of([Ellipsoid(part="wall", centre=(0, 0, 0), radii=(WALL_RADIUS, np.inf, WALL_RADIUS))])


def room_depth(eye: np.ndarray, directions: Vectors) -> Scalars:
    """Return the distances [M] from eye [3] along unit directions to the background."""
    _, leaves = intervals(eye, directions, CYLINDER)
    depth = leaves[0]
    x, _, z = eye.astype(np.float32)
    missed = depth < 0
    rays = np.flatnonzero(missed | (z + directions[2] * depth > SIDE_START))
    across, _, ahead = directions[:, rays]
    with np.errstate(divide="ignore", invalid="ignore"):  # rays along the sides
        to_side = (np.copysign(np.float32(SIDE_X), across) - x) / across
        reached = z + ahead * to_side
    flat = missed[rays] | ((reached > SIDE_START) & (reached < SIDE_END))
    depth[rays[flat]] = to_side[flat]
    return depth


def along_room(points: Vectors) -> Scalars:
    """Return how far points of the background are from the middle behind the person, along the wall to +x."""
    x, _, z = points
    along = np.arctan2(x, -z) * WALL_SCALE
    flat = np.flatnonzero(z > SIDE_START)
    start = np.arctan2(SIDE_X, -SIDE_START) * WALL_SCALE
    along[flat] = np.copysign(start + z[flat] - SIDE_START, x[flat])
    return along
