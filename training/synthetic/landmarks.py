"""The 68 landmarks of iBUG 300-W on procedural heads: exact points in space, to judge what finds them in pictures by.

Lines of the face (brows, lids, lips, jaw) are those that are painted or modelled; points are evenly spaced on them, as
annotators put them. Those on the skin are where a ray from the front meets it.
"""

import numpy as np

from training.synthetic import anatomy
from training.synthetic.anatomy import EYE_RADIUS, Mouth, eye_centres, head_pose, mouth_of
from training.synthetic.identity import Identity
from training.synthetic.motion import Expression
from training.synthetic.rays import FAR, Blend, forms_of

Points = np.ndarray  # [N, 2] or [N, 3]: x, y (and z) in head coordinates

START = 1.0  # of rays from the front, world units before the head
BROW_HALF = 0.040  # half of a brow's length
EYE_HALF = 0.86  # half of an eye's width, in radii of the eyeball
JAW_SIDE, JAW_TOP, JAW_BOTTOM = 0.125, 0.03, -0.182  # of the outline of the jaw


def head_landmarks(identity: Identity, expression: Expression) -> np.ndarray:
    """Return the landmarks float64 [68, 3] of a person at one moment, in the world."""
    face = Blend(forms_of(anatomy.face_solids(identity, expression)))
    mouth = mouth_of(identity, expression)
    right_eye, left_eye = (_eye(identity, expression, side) for side in (-1, 1))
    points = [
        _on_skin(face, _jaw(identity, mouth)),
        _on_skin(face, _brow(identity, expression, -1)),
        _on_skin(face, _brow(identity, expression, 1)),
        _on_skin(face, _nose(identity)),
        right_eye,
        left_eye,
        _on_skin(face, _outer_lips(identity, mouth)),
        _on_skin(face, _inner_lips(mouth)),
    ]
    rotation, shift = head_pose(expression)
    return np.concatenate(points) @ rotation.T + shift


def _on_skin(face: Blend, points: Points) -> Points:
    """Return points [N, 3] of the face that are seen at x, y [N, 2] from the front; beside it, with depth 0."""
    origin = np.array([0.0, 0.0, START])
    depths = []
    for x, y in points:
        start, end = np.array([[0.3], [2.0]], dtype=np.float32)
        ahead = np.array([[0.0], [0.0], [-1.0]], dtype=np.float32)
        depth = float(face.trace(origin + [x, y, 0], ahead, start, end)[0])
        depths.append(START - depth if depth < FAR else 0.0)
    return np.column_stack([points, depths])


def _jaw(identity: Identity, mouth: Mouth) -> Points:
    """Return the outline from ear to ear, the person's right one first, which is on the left of the picture."""
    angle = np.linspace(np.pi, 2 * np.pi, 17)
    bottom = JAW_BOTTOM * identity.height - 0.9 * mouth.drop
    x = JAW_SIDE * identity.width * np.cos(angle)
    y = JAW_TOP + (JAW_TOP - bottom) * np.sin(angle)
    return np.column_stack([x, y]) * [0.92, 1.0]


def _brow(identity: Identity, expression: Expression, side: int) -> Points:
    """Return a brow's middle line as it is painted, from left to right."""
    out = np.linspace(-BROW_HALF, BROW_HALF, 5) * side
    arch = 0.006 * identity.brow_arch * (1 - 1.4 * (out / 0.042) ** 2)
    slope = identity.eye_tilt * 0.5 - 0.06 * min(expression.brows, 0)
    y = 0.079 + identity.eye_height + 0.009 * expression.brows + arch + slope * out
    x = side * (0.061 * identity.eye_spacing * identity.width + out)
    order = np.argsort(x)
    return np.column_stack([x, y])[order]


def _nose(identity: Identity) -> Points:
    """Return the ridge from between the eyes to the tip, then the line below the nostrils from left to right."""
    tip = 0.012 - 0.046 * identity.nose_length
    ridge = np.column_stack([np.zeros(4), np.linspace(0.045, tip, 4)])
    wing = 0.026 * identity.nose_width
    x = np.linspace(-wing, wing, 5)
    y = tip - 0.016 - 0.004 * (1 - (x / wing) ** 2)
    return np.concatenate([ridge, np.column_stack([x, y])])


def _eye(identity: Identity, expression: Expression, side: int) -> Points:
    """Return corners and lids of an eye on its ball, clockwise from the corner on the left of the picture."""
    centre = np.array(eye_centres(identity)[0 if side < 0 else 1])
    out = np.array([-1, -1 / 3, 1 / 3, 1, 1 / 3, -1 / 3]) * EYE_HALF  # in the picture from left to right and back
    towards_ear = out * side
    room = np.maximum(1 - (towards_ear / EYE_HALF) ** 2, 0)
    tilt = identity.eye_tilt * 1.5 * towards_ear
    lower = -0.42 * room**0.8 + 0.08 * max(expression.smile, 0) * room + tilt
    upper = lower + (0.02 + 0.98 * expression.lids) * 0.98 * room**0.75
    y = np.where([True, True, True, True, False, False], upper, lower)
    x = out + 0.05 * side
    z = np.sqrt(np.maximum(1 - x**2 - y**2, 0))
    return centre + EYE_RADIUS * identity.eye_size * np.column_stack([x, y, z])


def _outer_lips(identity: Identity, mouth: Mouth) -> Points:
    """Return the outline of the lips, clockwise from the corner on the left of the picture."""
    full = 0.0125 * identity.lip_fullness
    above = np.linspace(-1, 1, 7) * mouth.half
    below = np.linspace(1, -1, 7)[1:-1] * mouth.half
    rise = full * (1 - (above / mouth.half) ** 2)
    fall = full * (1 - (below / mouth.half) ** 2)
    top = np.column_stack([above, mouth.upper(np.abs(above)) + rise])
    bottom = np.column_stack([below, mouth.lower(np.abs(below)) - fall])
    return np.concatenate([top, bottom])


def _inner_lips(mouth: Mouth) -> Points:
    """Return the opening of the mouth, clockwise from the corner on the left of the picture."""
    above = np.linspace(-0.85, 0.85, 5) * mouth.half
    below = np.linspace(0.85, -0.85, 5)[1:-1] * mouth.half
    top = np.column_stack([above, mouth.upper(np.abs(above))])
    bottom = np.column_stack([below, mouth.lower(np.abs(below))])
    return np.concatenate([top, bottom])
