"""Colours of the face and the eyes, at points in head coordinates; colours are float32 [3, M] in [0, 1]."""

import numpy as np

from training.synthetic.anatomy import EYE_RADIUS, Mouth, eye_centres
from training.synthetic.identity import Identity
from training.synthetic.motion import Expression
from training.synthetic.paint import band, blob, column, darker, mix, soft
from training.synthetic.rays import Scalars, Vectors

EYES_APART = np.float32(0.12)  # outward turn of each eye that looks straight ahead to a viewer
WHITE = (0.96, 0.96, 0.96)  # of the eye
FLUSH = (0.1, 1, 0.85)  # what red cheeks take of red, green and blue
PUPIL = (0.03, 0.03, 0.03)

# --- Face -------------------------------------------------------------------------------------------------------------


def face(
    identity: Identity,
    expression: Expression,
    mouth: Mouth,
    points: Vectors,
) -> Vectors:
    """Return colours of the face: skin, brows, beard, lips and nostrils."""
    x, y, z = points
    front = soft(z - 0.05, 0.03)
    colour = skin(identity, points)
    colour = _beard(identity, mouth, points, colour, front)
    colour = _lips(identity, mouth, points, colour, front)
    tip = 0.012 - 0.046 * identity.nose_length
    nostril = blob(
        np.abs(x),
        y,
        centre=(0.013 * identity.nose_width, tip - 0.012),
        size=(0.0055, 0.0045),
    )
    colour = mix(
        colour,
        darker(identity.skin, 0.35),
        0.8 * front * nostril,
    )
    return _brows(identity, expression, points, colour, front)


def skin(identity: Identity, points: Vectors) -> Vectors:
    """Return colours of bare skin with red cheeks and nose, and shade in the eye sockets."""
    x, y, z = points
    side = np.abs(x)
    front = soft(z - 0.03, 0.05)
    cheek = blob(
        side,
        y,
        centre=(0.08, -0.045),
        size=(0.035, 0.03),
    )
    nose = blob(
        side,
        y,
        centre=(0, -0.035),
        size=(0.02, 0.02),
    )
    socket = blob(
        side,
        y,
        centre=(0.045, 0.035),
        size=(0.04, 0.026),
    )
    flush = front * (0.13 * cheek + 0.10 * nose)
    colour = column(identity.skin) * (1 - flush * column(FLUSH))
    return colour * (1 - front * (0.16 * socket))


def _brows(
    identity: Identity,
    expression: Expression,
    points: Vectors,
    colour: Vectors,
    front: Scalars,
) -> Vectors:
    """Paint brows over the colour, on the front of the face."""
    x, y, _ = points
    out = np.abs(x) - 0.061 * identity.eye_spacing * identity.width
    along = out / 0.042
    arch = 0.006 * identity.brow_arch * (1 - 1.4 * along**2)
    slope = identity.eye_tilt * 0.5 - 0.06 * min(expression.brows, 0)
    line = 0.079 + identity.eye_height + 0.009 * expression.brows + arch + slope * out
    thick = 0.0062 * identity.brow_thickness * (1 - 0.35 * along)
    amount = band(y - line, thick) * band(along, 1, 0.12)
    return mix(colour, identity.brows, 0.9 * front * amount)


def _lips(
    identity: Identity,
    mouth: Mouth,
    points: Vectors,
    colour: Vectors,
    front: Scalars,
) -> Vectors:
    """Paint the upper lip with a cupid's bow, the lower lip, and a dark line where they meet."""
    x, y, _ = points
    side = np.abs(x)
    along = np.clip(side / mouth.half, 0, 1)
    taper = np.sqrt(np.maximum(1 - along**2, 0))
    full = 0.0125 * identity.lip_fullness
    above = y - mouth.upper(side)
    below = mouth.lower(side) - y
    bow = np.exp(-((side / 0.006) ** 2))
    top = full * (0.85 * taper - 0.25 * bow)
    bottom = 1.15 * full * taper
    inside = soft(top - above) * soft(bottom - below) * soft(mouth.half - side)
    below_lip = blob(
        x,
        y,
        centre=(0, mouth.y - mouth.drop - 0.031),
        size=(0.022, 0.008),
    )
    colour = mix(
        colour,
        darker(identity.skin, 0.72),
        front * (0.5 * below_lip),
    )
    colour = mix(colour, identity.lips, front * inside)
    nearest = np.minimum(np.abs(above), np.abs(below))
    line = soft(0.0022 - nearest) * soft(mouth.half + 0.002 - side)
    return mix(
        colour,
        darker(identity.lips, 0.35),
        0.85 * front * line,
    )


def _beard(
    identity: Identity,
    mouth: Mouth,
    points: Vectors,
    colour: Vectors,
    front: Scalars,
) -> Vectors:
    """Paint stubble, a moustache or a full beard around the mouth."""
    if identity.beard == "none":
        return colour
    x, y, z = points
    side = np.abs(x)
    edge = -0.040 - 0.7 * np.maximum(0.075 - side, 0)
    low = soft(edge - y, 0.025)
    bar = band(y - mouth.y - 0.021 + 0.12 * side, 0.0095) * soft(0.047 - side, 0.01)
    if identity.beard == "moustache":
        return mix(colour, identity.brows, 0.95 * front * bar)
    around = np.maximum(low * soft(z + 0.04, 0.05), front * bar)  # before the ears
    if identity.beard == "stubble":
        return mix(
            colour,
            darker(identity.skin, 0.35),
            0.28 * around,
        )
    return mix(colour, identity.brows, 0.95 * around)


def mouth_opening(mouth: Mouth, points: Vectors) -> np.ndarray:
    """Return which points of the face [M] lie in the open mouth, so that one looks inside."""
    x, y, z = points
    side = np.abs(x)
    if mouth.drop <= 0.003:
        return np.zeros(x.shape, dtype=bool)
    between = (y < mouth.upper(side)) & (y > mouth.lower(side))
    return (z > 0.06) & (side < mouth.half) & between


# --- Eyes -------------------------------------------------------------------------------------------------------------


def eyes(
    identity: Identity,
    expression: Expression,
    points: Vectors,
) -> Vectors:
    """Return colours of the eyes: eyeballs, lids and lashes."""
    left, right = eye_centres(identity)
    side = np.where(points[0] < 0, -1, 1).astype(np.float32)
    centre = np.where(side < 0, column(left), column(right))
    ball = (points - centre) / (EYE_RADIUS * identity.eye_size)  # points of the unit sphere
    x, y, z = ball
    out = x * side - 0.05  # towards the ear
    room = np.maximum(1 - (out / 0.86) ** 2, 0)
    tilt = identity.eye_tilt * 1.5 * out
    lower = -0.42 * room**0.8 + 0.08 * max(expression.smile, 0) * room + tilt
    upper = lower + (0.02 + 0.98 * expression.lids) * 0.98 * room**0.75
    in_front = z > 0
    # From the back to the front: lids, eyeballs between them, a line below, lashes above.
    lid = darker(identity.skin, (0.72, 0.62, 0.62))
    colour = mix(skin(identity, points), lid, 0.6 * soft(y - lower, 0.3))
    eyeball = _eyeball(identity, expression, ball, side, upper)
    between = soft(upper - y, 0.06) * soft(y - lower, 0.06)
    colour = mix(colour, eyeball, between * (room > 0) * in_front)
    under = band(y - lower, 0.04, 0.06) * band(out, 0.85, 0.1)
    colour = mix(
        colour,
        darker(identity.skin, 0.45),
        0.6 * (under * in_front),
    )
    over = band(y - upper - 0.03, 0.085, 0.06) * band(out, 0.97, 0.1)
    return mix(
        colour,
        darker(identity.brows, 0.35),
        0.95 * (over * in_front),
    )


def _eyeball(
    identity: Identity,
    expression: Expression,
    ball: Vectors,
    side: Scalars,
    upper: Scalars,
) -> Vectors:
    """Return colours of the eyeballs: white, iris, pupil and highlight.

    Args:
        ball: points of the unit sphere.
        side: -1 for the left, 1 for the right eye.
        upper: height of the upper lid.
    """
    x, y, _ = ball
    gaze_x, gaze_y = expression.gaze
    aim = np.stack([np.sin(gaze_x) + EYES_APART * side, np.full_like(side, np.sin(gaze_y))])
    ahead = np.sqrt(1 - (aim**2).sum(axis=0))
    aim = np.stack([*aim, ahead])
    squares = (ball - aim) ** 2
    off = np.sqrt(squares.sum(axis=0))  # distance from the middle of the pupil
    shadow = 0.35 * soft(y - upper + 0.2, 0.3)
    colour = column(WHITE) * (1 - shadow)
    colour = mix(
        colour,
        darker(identity.iris, 0.45),
        soft(0.50 - off, 0.07),
    )
    colour = mix(colour, identity.iris, soft(0.43 - off, 0.07))
    colour = mix(colour, PUPIL, soft(0.21 - off, 0.07))
    glint = np.hypot(x - aim[0] - 0.2 * np.sign(identity.light[0]), y - aim[1] - 0.22)
    return mix(colour, (1, 1, 1), soft(0.13 - glint, 0.07))
