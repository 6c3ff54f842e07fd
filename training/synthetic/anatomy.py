"""From an identity and an expression to solids: face, eyes, ears, hair, mouth, body and background.

Head coordinates are the world's when the head is not turned: +x to the right of the picture, +y up, +z to the camera;
world units (a frame is 0.6 wide at the face).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from training.synthetic.identity import Identity
from training.synthetic.motion import Expression
from training.synthetic.rays import Blend, Ellipsoid, Forms, forms_of, rotation_matrix

PLACE = np.array([0.0, 0.0, 0.05])  # of the person in the world
NECK_PIVOT = np.array([0.0, -0.17, -0.03])  # the head turns about this point
WALL_RADIUS = 0.485  # of the upright cylinder whose far side is the background
JAW_DROP = 0.048  # of the lower lip at the widest opening
EYE_RADIUS = 0.037


@dataclass(frozen=True)
class Mouth:
    """The mouth's outline in head coordinates: it is open between `lower` and `upper` for |x| < half."""

    y: float  # of the upper lip's edge in the middle
    half: float  # half width
    drop: float  # opening in the middle
    corner: float  # height of the corners relative to y
    front: float  # z of the lips

    def upper(self, x: np.ndarray) -> np.ndarray:
        """Height of the upper lip's lower edge."""
        return self.y + (self.corner - 0.3 * self.drop) * np.minimum(x / self.half, 1) ** 2

    def lower(self, x: np.ndarray) -> np.ndarray:
        """Height of the lower lip's upper edge."""
        bow = np.maximum(1 - (x / self.half) ** 2, 0)
        return self.upper(x) - self.drop * np.sqrt(bow)


def mouth_of(identity: Identity, expression: Expression) -> Mouth:
    """Where the mouth is and how far it is open."""
    jaw, wide, smile = expression.jaw, expression.wide, expression.smile
    half = 0.052 * identity.mouth_width * (1 + 0.14 * wide - 0.12 * jaw + 0.12 * smile)
    return Mouth(
        y=-0.092 * identity.height,
        half=half,
        drop=JAW_DROP * jaw * (1 - 0.15 * wide),
        corner=0.004 + 0.012 * smile,
        front=0.137,
    )


def face_solids(identity: Identity, expression: Expression) -> list[Ellipsoid]:
    """The solids whose smooth union is the face."""
    i, w, drop = identity, identity.width, mouth_of(identity, expression).drop
    lift = 0.006 * expression.smile
    spread = 1 + 0.1 * expression.wide - 0.1 * expression.jaw
    nose, reach, wing = 0.046 * i.nose_length, 0.022 * i.nose_reach, 0.018 * i.nose_width
    y, lip = mouth_of(identity, expression).y, 0.0085 * i.lip_fullness
    mirrored = [
        ((0.060 * w * i.jaw, -0.092 - 0.5 * drop, 0.035), (0.038, 0.055, 0.055)),  # jaw corner
        ((0.072 * w, -0.032 + lift, 0.098), (0.04 * i.cheeks, 0.042, 0.04)),  # cheek
        ((0.05 * w, 0.082 + 0.006 * expression.brows, 0.122), (0.046, 0.016, 0.024 * i.brow_ridge)),
        ((wing, 0.005 - nose, 0.138 + 0.3 * reach), (0.012 * i.nose_width, 0.010, 0.015)),  # nostril
    ]
    middle = [
        ((0, 0.072, -0.02), (0.144 * w, 0.168 * i.height, 0.185), 0),  # skull
        ((0, -0.05 - 0.4 * drop, 0.038), (0.112 * w, 0.128 * i.height + 0.4 * drop, 0.105), 0),
        ((0, -0.158 * i.height - 0.9 * drop, 0.094), (0.045 * i.jaw, 0.030 * i.chin, 0.036), 0),
        ((0, 0.02, 0.136), (0.0125 * i.nose_width, nose, 0.02), -0.32 * i.nose_reach),  # nose bridge
        ((0, 0.012 - nose, 0.152 + reach), (0.0155 * i.nose_width, 0.0145, 0.018), 0),  # nose tip
        ((0, y + 0.009, 0.132), (0.04 * spread, 0.006 + lip, 0.016), 0),  # upper lip
        ((0, y - 0.010 - drop, 0.130 - 0.1 * drop), (0.034 * spread, 0.007 + lip, 0.017), 0),
    ]
    solids = [Ellipsoid("face", centre, radii, pitch) for centre, radii, pitch in middle]
    for (x, *rest), radii in mirrored:
        solids += [Ellipsoid("face", (side * x, *rest), radii) for side in (-1, 1)]
    return solids


@lru_cache(maxsize=256)
def eye_centres(identity: Identity) -> tuple[tuple[float, float, float], ...]:
    """Left and right eyeball, just deep enough in the relaxed face to bulge a little."""
    blend = Blend(forms_of(face_solids(identity, Expression(smile=0.0))))
    x, y = 0.061 * identity.eye_spacing * identity.width, 0.028 + identity.eye_height
    radius = EYE_RADIUS * identity.eye_size
    eye, down = np.array([x, y, 1.0]), np.array([[0.0], [0.0], [-1.0]], dtype=np.float32)
    depth = blend.trace(eye, down, np.array([0.5], np.float32), np.array([1.5], np.float32))
    z = float(1 - depth[0]) - 0.74 * radius
    return (-x, y, z), (x, y, z)


def fixed_solids(identity: Identity) -> list[Ellipsoid]:
    """Everything but the face: the solids with sharp outlines."""
    radius = EYE_RADIUS * identity.eye_size
    eyes = [Ellipsoid("eye", centre, (radius,) * 3) for centre in eye_centres(identity)]
    size = identity.ear_size
    ears = [
        Ellipsoid(
            "ear", (side * 0.146 * identity.width, 0.005, -0.022), (0.02, 0.046 * size, 0.03 * size), roll=-0.25 * side
        )
        for side in (-1, 1)
    ]
    return eyes + ears + hair_solids(identity) + body_solids(identity)


def body_solids(identity: Identity) -> list[Ellipsoid]:
    """Neck, shoulders and the wall behind; they do not move with the head."""
    neck, wide = 0.066 * identity.neck, identity.shoulders
    solids = [
        ("neck", (0, -0.24, -0.035), (neck, 0.2, neck)),
        ("body", (0, -0.40, -0.05), (0.35 * wide, 0.135, 0.13)),
        ("body", (0, -0.335, -0.05), (0.17 * wide, 0.095, 0.10)),
    ]
    extra = []
    if identity.clothes == "turtleneck":
        solids.append(("body", (0, -0.275, -0.035), (neck + 0.02, 0.115, neck + 0.02)))
    elif identity.clothes in ("shirt", "suit"):
        opening = Ellipsoid("collar", (0, -0.205, 0.075), (0.055, 0.10, 0.11), on_head=False)
        radii = (neck + 0.024, 0.085, neck + 0.026)
        extra = [Ellipsoid("collar", (0, -0.285, -0.032), radii, cut=opening, on_head=False)]
    return [Ellipsoid(part, centre, radii, on_head=False) for part, centre, radii in solids] + extra


def wall_solid() -> Ellipsoid:
    """The upright cylinder of which rays hit the far side."""
    return Ellipsoid("wall", (0, 0, 0), (WALL_RADIUS, np.inf, WALL_RADIUS), on_head=False)


def hair_solids(identity: Identity) -> list[Ellipsoid]:
    """The hair of the identity's style: a cap less an opening for the face, and what the style adds to it."""
    i, w, style = identity, identity.width, identity.hair_style
    if style == "bald":
        return []
    thick = 0.010 + 0.010 * i.hair_volume
    line = i.hairline - (0.035 if style in ("fringe", "bob") else 0.0)
    face = Ellipsoid("hair", (0, 0.02 + 0.5 * line, 0.2), (0.134 * w, 0.148 + 0.5 * line, 0.225))
    top = 0.168 * i.height + thick
    cap = Ellipsoid("hair", (0, 0.078, -0.024), (0.144 * w + thick, top, 0.182 + thick), cut=face)
    return [cap] + _STYLE_SOLIDS.get(style, lambda *_: [])(i, thick, face)


def _quiff(i: Identity, thick: float, face: Ellipsoid) -> list[Ellipsoid]:
    radii = (0.098 * i.width, 0.03 + thick, 0.075)
    return [Ellipsoid("hair", (0.02, 0.212 * i.height, 0.07), radii, pitch=0.2, roll=0.12)]


def _long(i: Identity, thick: float, face: Ellipsoid) -> list[Ellipsoid]:
    curtain = Ellipsoid("hair", (0, -0.07, -0.06), (0.168 * i.width + thick, 0.29, 0.115))
    locks = [
        Ellipsoid("hair", (side * 0.135 * i.width, -0.11, -0.02), (0.038 + thick, 0.215, 0.075), roll=0.10 * side)
        for side in (-1, 1)
    ]
    return [curtain] + locks


def _bob(i: Identity, thick: float, face: Ellipsoid) -> list[Ellipsoid]:
    opening = Ellipsoid("hair", (0, -0.08, 0.2), (0.142 * i.width, 0.26, 0.235))
    return [Ellipsoid("hair", (0, 0.0, -0.03), (0.168 * i.width + thick, 0.19, 0.145), cut=opening)]


def _bun(i: Identity, thick: float, face: Ellipsoid) -> list[Ellipsoid]:
    size = 0.04 + thick
    return [Ellipsoid("hair", (0, 0.262 * i.height, -0.05), (size, 0.85 * size, size))]


def _curly(i: Identity, thick: float, face: Ellipsoid) -> list[Ellipsoid]:
    """Clumps on the skull in even steps of angle; those in front of the face stay away."""
    clumps, size = [], 0.036 + 0.6 * thick
    for height, count in ((0.05, 9), (0.55, 9), (0.9, 5)):
        ring = np.sqrt(1 - height**2)
        for angle in np.arange(count) * (2 * np.pi / count) + 3 * height:
            x, z = ring * np.sin(angle), ring * np.cos(angle)
            if height < 0.3 and z > 0.2:
                continue
            centre = (0.143 * i.width * x, 0.075 + 0.165 * i.height * height, -0.025 + 0.165 * z)
            clumps.append(Ellipsoid("hair", centre, (size,) * 3))
    return clumps


def _pigtails(i: Identity, thick: float, face: Ellipsoid) -> list[Ellipsoid]:
    return [
        Ellipsoid(
            "hair",
            (side * (0.178 * i.width + 0.6 * thick), -0.03, -0.05),
            (0.036 + thick, 0.095, 0.045),
            roll=0.25 * side,
        )
        for side in (-1, 1)
    ]


_STYLE_SOLIDS = {"quiff": _quiff, "long": _long, "bob": _bob, "bun": _bun, "curly": _curly, "pigtails": _pigtails}


def mouth_solids(mouth: Mouth) -> list[Ellipsoid]:
    """Inside the mouth: the cavity (seen from inside), both rows of teeth and the tongue."""
    middle = mouth.y - 0.5 * mouth.drop
    front = mouth.front
    return [
        Ellipsoid("cavity", (0, middle, front - 0.02), (mouth.half + 0.02, 0.03 + mouth.drop, 0.045)),
        Ellipsoid("teeth", (0, mouth.y + 0.004, front - 0.032), (0.036, 0.0145, 0.036)),
        Ellipsoid("teeth", (0, mouth.y - mouth.drop - 0.009, front - 0.036), (0.032, 0.0125, 0.034)),
        Ellipsoid("tongue", (0, mouth.y - mouth.drop - 0.002, front - 0.045), (0.028, 0.014, 0.042)),
    ]


def head_pose(expression: Expression) -> tuple[np.ndarray, np.ndarray]:
    """Rotation [3, 3] and shift [3] that take head coordinates to the world."""
    yaw, pitch, roll = expression.turn
    rotation = rotation_matrix(yaw, pitch, roll)
    return rotation, PLACE + NECK_PIVOT - rotation @ NECK_PIVOT + np.array([expression.shift, 0, 0])


def in_world(solids: list[Ellipsoid], rotation: np.ndarray, shift: np.ndarray) -> Forms:
    """Forms of solids in the world: those on the head are moved by its pose."""
    forms = forms_of(solids)
    moved, forms = forms.moved(rotation, shift), forms.moved(np.eye(3), PLACE)
    on_head = np.array([solid.on_head for solid in solids])
    return Forms(
        np.where(on_head[:, None], moved.centre, forms.centre),
        np.where(on_head[:, None, None], moved.matrix, forms.matrix),
    )
