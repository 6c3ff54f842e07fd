"""Colours of points on the head, body and background, and their light; colours are float32 [3, M] in [0, 1]."""

import numpy as np

from training.synthetic.anatomy import EYE_RADIUS, Mouth, eye_centres
from training.synthetic.identity import Colour, Identity
from training.synthetic.motion import Expression
from training.synthetic.rays import unit

EYES_APART = np.float32(0.12)  # outward turn of each eye that looks straight ahead to a viewer
FILL = np.array([[-0.6], [0.1], [0.8]], dtype=np.float32)


def soft(x: np.ndarray, width: float = 0.003) -> np.ndarray:
    """0 below, 1 above zero, with a ramp of the given width."""
    return np.minimum(np.maximum(x * (1 / width) + 0.5, 0), 1)


def mix(base: np.ndarray, colour: Colour | np.ndarray, amount: np.ndarray) -> np.ndarray:
    """base [3, M] blended towards a colour (3 numbers or [3, M]) by amount [M]."""
    return base + amount * (column(colour) - base)


def column(colour) -> np.ndarray:
    """A colour as [3, 1] if it is one, else colours [3, M] as they are; float32."""
    colour = np.asarray(colour, dtype=np.float32)
    return colour if colour.ndim == 2 else colour[:, None]


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Dot products [M] of vectors [3, M] (or one, [3, 1])."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def blob(p: np.ndarray, x: float, y: float, sx: float, sy: float) -> np.ndarray:
    """A soft spot [M] around (x, y) of head points."""
    return np.exp(-(((p[0] - x) / sx) ** 2) - ((p[1] - y) / sy) ** 2)


def skin(identity: Identity, p: np.ndarray) -> np.ndarray:
    """Bare skin with red cheeks and nose, and shade in the eye sockets."""
    colour = np.broadcast_to(column(identity.skin), p.shape).astype(np.float32)
    side = np.abs(p[0])
    front = soft(p[2] - 0.03, 0.05)
    q = np.stack([side, p[1], p[2]])
    colour = colour * (
        1
        - front
        * (0.13 * blob(q, 0.08, -0.045, 0.035, 0.03) + 0.10 * blob(q, 0, -0.035, 0.02, 0.02))
        * column((0.1, 1, 0.85))
    )
    shade = 0.16 * blob(q, 0.045, 0.035, 0.04, 0.026)
    return colour * (1 - front * shade)


def face(identity: Identity, expression: Expression, mouth: Mouth, p: np.ndarray) -> np.ndarray:
    """The face at head points [3, M]: skin, brows, beard, lips and nostrils."""
    colour, front = skin(identity, p), soft(p[2] - 0.05, 0.03)
    colour = beard(identity, mouth, p, colour, front)
    colour = lips(identity, mouth, p, colour, front)
    wing = 0.013 * identity.nose_width
    tip = 0.012 - 0.046 * identity.nose_length
    nostrils = blob(np.stack([np.abs(p[0]), p[1]]), wing, tip - 0.012, 0.0055, 0.0045)
    colour = mix(colour, np.array(identity.skin) * 0.35, 0.8 * front * nostrils)
    return brows(identity, expression, p, colour, front)


def brows(identity: Identity, expression: Expression, p, colour, front) -> np.ndarray:
    """colour [3, M] with brows painted where points p [3, M] of the face lie under them, on its front [M]."""
    x = np.abs(p[0]) - 0.061 * identity.eye_spacing * identity.width
    along = x / 0.042
    raised = 0.009 * expression.brows
    line = (
        0.079
        + identity.eye_height
        + raised
        + 0.006 * identity.brow_arch * (1 - 1.4 * along**2)
        + (identity.eye_tilt * 0.5 - 0.06 * min(expression.brows, 0)) * x
    )
    thick = 0.0062 * identity.brow_thickness * (1 - 0.35 * along)
    amount = soft(thick - np.abs(p[1] - line)) * soft(1 - np.abs(along), 0.12)
    return mix(colour, identity.brows, 0.9 * front * amount)


def lips(identity: Identity, mouth: Mouth, p, colour, front) -> np.ndarray:
    """Upper lip with a cupid's bow, lower lip, and a dark line where they meet."""
    x, y = np.abs(p[0]), p[1]
    along = np.clip(x / mouth.half, 0, 1)
    taper = np.sqrt(np.maximum(1 - along**2, 0))
    full = 0.0125 * identity.lip_fullness
    above, below = y - mouth.upper(x), mouth.lower(x) - y
    top = full * (0.85 * taper - 0.25 * np.exp(-((x / 0.006) ** 2)))
    bottom = 1.15 * full * taper
    inside = soft(top - above) * soft(bottom - below) * soft(mouth.half - x)
    shadow = 0.5 * blob(p, 0, mouth.y - mouth.drop - 0.031, 0.022, 0.008)
    colour = mix(colour, np.array(identity.skin) * 0.72, front * shadow)
    colour = mix(colour, identity.lips, front * inside)
    line = soft(0.0022 - np.minimum(np.abs(above), np.abs(below))) * soft(mouth.half + 0.002 - x)
    return mix(colour, np.array(identity.lips) * 0.35, 0.85 * front * line)


def beard(identity: Identity, mouth: Mouth, p, colour, front) -> np.ndarray:
    """Stubble, moustache or full beard around the mouth."""
    if identity.beard == "none":
        return colour
    x, y = np.abs(p[0]), p[1]
    low = soft(-0.040 - 0.7 * np.maximum(0.075 - x, 0) - y, 0.025)
    bar = soft(0.0095 - np.abs(y - mouth.y - 0.021 + 0.12 * x)) * soft(0.047 - x, 0.01)
    if identity.beard == "moustache":
        return mix(colour, identity.brows, 0.95 * front * bar)
    around = np.maximum(low * soft(p[2] + 0.04, 0.05), front * bar)
    if identity.beard == "stubble":
        return mix(colour, np.array(identity.skin) * 0.35, 0.28 * around)
    return mix(colour, identity.brows, 0.95 * around)


def mouth_opening(mouth: Mouth, p: np.ndarray) -> np.ndarray:
    """Which face points [3, M] lie in the open mouth, so that one looks inside."""
    x = np.abs(p[0])
    return (p[2] > 0.06) & (x < mouth.half) & (p[1] < mouth.upper(x)) & (p[1] > mouth.lower(x)) & (mouth.drop > 0.003)


def eyes(identity: Identity, expression: Expression, p: np.ndarray) -> np.ndarray:
    """Eyeballs at head points [3, M]: white, iris, pupil, highlight, lids and lashes."""
    left, right = eye_centres(identity)
    side = np.where(p[0] < 0, -1, 1).astype(np.float32)
    u = (p - np.where(side < 0, column(left), column(right))) / (EYE_RADIUS * identity.eye_size)
    out = u[0] * side - 0.05  # towards the ear
    room = np.maximum(1 - (out / 0.86) ** 2, 0)
    tilt = identity.eye_tilt * 1.5 * out
    lower = -0.42 * room**0.8 + 0.08 * max(expression.smile, 0) * room + tilt
    upper = lower + (0.02 + 0.98 * expression.lids) * 0.98 * room**0.75
    within = soft(upper - u[1], 0.06) * soft(u[1] - lower, 0.06) * (room > 0) * (u[2] > 0)
    gx, gy = expression.gaze
    aim = np.stack([np.sin(gx) + EYES_APART * side, np.full_like(side, np.sin(gy))])
    aim = np.stack([*aim, np.sqrt(1 - (aim**2).sum(axis=0))])
    off = np.sqrt(((u - aim) ** 2).sum(axis=0))
    ball = np.broadcast_to(column((0.96, 0.96, 0.96)), p.shape) * (1 - 0.35 * soft(u[1] - upper + 0.2, 0.3))
    ball = mix(ball, np.array(identity.iris) * 0.45, soft(0.50 - off, 0.07))
    ball = mix(ball, identity.iris, soft(0.43 - off, 0.07))
    ball = mix(ball, (0.03, 0.03, 0.03), soft(0.21 - off, 0.07))
    glint = np.hypot(u[0] - aim[0] - 0.2 * np.sign(identity.light[0]), u[1] - aim[1] - 0.22)
    ball = mix(ball, (1, 1, 1), soft(0.13 - glint, 0.07))
    lid = mix(skin(identity, p), np.array(identity.skin) * (0.72, 0.62, 0.62), 0.6 * soft(u[1] - lower, 0.3))
    lash = soft(0.085 - np.abs(u[1] - upper - 0.03), 0.06) * soft(0.97 - np.abs(out), 0.1) * (u[2] > 0)
    under = soft(0.04 - np.abs(u[1] - lower), 0.06) * soft(0.85 - np.abs(out), 0.1) * (u[2] > 0)
    colour = mix(lid, ball, within)
    colour = mix(colour, np.array(identity.skin) * 0.45, 0.6 * under)
    return mix(colour, np.array(identity.brows) * 0.35, 0.95 * lash)


def hair(identity: Identity, p: np.ndarray) -> np.ndarray:
    """Hair with strands that run down from the crown."""
    angle = np.arctan2(p[0], p[2] + 0.35)
    strands = np.sin(70 * angle + 6 * p[1]) * np.sin(43 * angle + 2) + 0.4 * np.sin(160 * angle)
    return column(identity.hair) * (1 + 0.13 * strands)


def clothes(identity: Identity, p: np.ndarray) -> np.ndarray:
    """The torso at world points [3, M]."""
    x, y = np.abs(p[0]), p[1]
    colour = np.broadcast_to(column(identity.cloth), p.shape).astype(np.float32)
    front = soft(p[2] + 0.04, 0.02)
    neck = np.hypot(p[0] / 1.05, p[2] + 0.035)
    style = identity.clothes
    if style == "stripes":
        colour = mix(colour, identity.cloth_second, soft(np.sin(p[1] * 190), 0.6))
    if style in ("crew", "stripes"):
        colour = mix(colour, np.array(identity.cloth) * 0.7, soft(0.105 - neck))
        return mix(colour, identity.skin, soft(0.095 - neck))
    if style == "vneck":
        edge = 0.062 + 0.55 * (y + 0.255) - x
        colour = mix(colour, identity.cloth_second, front * soft(edge + 0.012))
        return mix(colour, identity.skin, np.maximum(front * soft(edge), soft(0.09 - neck)))
    if style == "shirt":
        buttons = soft(0.006 - np.hypot(x, np.mod(y, 0.045) - 0.02))
        colour = mix(colour, np.array(identity.cloth) * 0.75, front * soft(0.0025 - np.abs(x - 0.016)))
        return mix(colour, np.array(identity.cloth) * 0.5, front * buttons)
    if style == "suit":
        edge = 0.075 + 0.6 * (y + 0.255) - x
        colour = mix(colour * 0.45, np.array(identity.cloth) * 0.3, front * soft(0.004 - np.abs(edge + 0.03)))
        colour = mix(colour, (0.95, 0.95, 0.96), front * soft(edge))
        tie = soft(0.013 + 0.08 * np.maximum(-0.25 - y, 0) - x)
        return mix(colour, identity.cloth_second if sum(identity.cloth_second) < 2.3 else identity.cloth, front * tie)
    return colour * (1 + 0.05 * np.sin(180 * np.arctan2(p[0], p[2] + 0.035)))


def wall(identity: Identity, p: np.ndarray) -> np.ndarray:
    """The background at world points [3, M], by angle around the cylinder and height."""
    along, y = np.arctan2(p[0], -p[2]) * 0.48, p[1]
    first, second = column(identity.wall), column(identity.wall_second)
    colour = first * (0.92 + 0.5 * y) * np.ones_like(p)
    phase, style = identity.wall_phase, identity.wall_style
    if style == "glow":
        centre = 0.25 * np.cos(phase)
        colour = mix(colour, second, 0.9 * np.exp(-(((along - centre) / 0.25) ** 2) - ((y - 0.1) / 0.28) ** 2))
    elif style == "panels":
        colour = mix(colour, second, 0.7 * soft(np.sin(along * 22 + phase), 0.25))
    elif style == "wainscot":
        colour = mix(colour, second, soft(-0.02 + 0.06 * np.sin(phase) - y, 0.006))
        colour = mix(colour, np.array(identity.wall) * 0.5, soft(0.008 - np.abs(y - 0.06 * np.sin(phase) + 0.02)))
    elif style == "shelves":
        colour = _shelves(identity, along, y, colour)
    elif style == "lights":
        colour = mix(colour * 0.55, second, 0.85 * _lights(phase, along, y))
    return np.clip(colour, 0, 1)


def _shelves(identity: Identity, along, y, colour) -> np.ndarray:
    """Rows of books in shades of two colours."""
    row = np.floor((y + 0.5) / 0.16)
    book = np.floor(along / 0.035 + 0.37 * row)
    pick = np.mod(np.sin(book * 12.9898 + row * 78.233 + identity.wall_phase) * 43758.5453, 1)
    high = np.mod(y + 0.5, 0.16) / 0.16
    spine = column(identity.wall_second) * (0.45 + 0.5 * pick) + column(identity.cloth) * 0.25 * (1 - pick)
    return mix(colour * 0.6, spine, soft(0.62 + 0.25 * pick - high, 0.06) * soft(high - 0.06, 0.04))


def _lights(phase: float, along, y) -> np.ndarray:
    """Blurred round lights."""
    amount = np.zeros_like(y)
    for k in range(9):
        x0, y0 = 0.62 * np.sin(2.4 * k + phase), 0.32 * np.sin(1.7 * k + 2 * phase)
        amount = np.maximum(
            amount,
            (0.5 + 0.5 * np.sin(k + phase) ** 2)
            * soft(0.05 + 0.02 * np.sin(5 * k) - np.hypot(along - x0, y - y0), 0.025),
        )
    return amount


def lit(
    identity: Identity, albedo: np.ndarray, normal: np.ndarray, view: np.ndarray, gloss: np.ndarray, power: np.ndarray
) -> np.ndarray:
    """Shaded colour [3, M]: sky light, a wrapped key light, a fill light and a soft highlight.

    albedo, unit normal and unit view (towards the eye) are [3, M]; gloss and power [M] are the highlight's.
    """
    light = column(identity.light)
    key = np.maximum(dot(light, normal) * 0.85 + 0.15, 0)
    fill = np.maximum(dot(unit(FILL * column((np.sign(identity.light[0]), 1, 1))), normal), 0)
    sky = identity.ambient * (0.82 + 0.18 * normal[1])
    bright = sky + 0.62 * key + 0.12 * fill
    shine = np.maximum(dot(unit(light + view), normal), 1e-9) ** power
    warm = column((1.0, 0.985, 0.96))
    return albedo * (bright * warm) + gloss * shine
