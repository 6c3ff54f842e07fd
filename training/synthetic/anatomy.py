"""From an identity and an expression to solids: face, mouth, eyes, ears and body (hair: hair.py; background: room.py).

Head coordinates are the world's when the head is not turned: +x to the right of the picture, +y up, +z to the camera;
world units (a frame is 0.6 wide at the face).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from training.synthetic.hair import hair_solids
from training.synthetic.identity import Identity
from training.synthetic.motion import Expression
from training.synthetic.rays import Blend, Ellipsoid, Forms, Scalars, Triple, both_sides, forms_of, rotation_matrix

PLACE = np.array([0.0, 0.0, 0.05])  # of the person in the world
NECK_PIVOT = np.array([0.0, -0.17, -0.03])  # the head turns about this point
JAW_DROP = 0.048  # of the lower lip at the widest opening
EYE_RADIUS = 0.037


# --- Face -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Mouth:
    """The mouth's outline in head coordinates: it is open between `lower` and `upper` for |x| < half."""

    y: float  # of the upper lip's edge in the middle
    half: float  # half width
    drop: float  # opening in the middle
    corner: float  # height of the corners relative to y
    front: float  # z of the lips

    def upper(self, x: Scalars) -> Scalars:
        """Return the height of the upper lip's lower edge."""
        return self.y + (self.corner - 0.3 * self.drop) * np.minimum(x / self.half, 1) ** 2

    def lower(self, x: Scalars) -> Scalars:
        """Return the height of the lower lip's upper edge."""
        bow = np.maximum(1 - (x / self.half) ** 2, 0)
        return self.upper(x) - self.drop * np.sqrt(bow)


def mouth_of(identity: Identity, expression: Expression) -> Mouth:
    """Return where the mouth is and how far it is open."""
    jaw = expression.jaw
    wide = expression.wide
    smile = expression.smile
    return Mouth(
        y=-0.092 * identity.height,
        half=0.052 * identity.mouth_width * (1 + 0.14 * wide - 0.12 * jaw + 0.12 * smile),
        drop=JAW_DROP * jaw * (1 - 0.15 * wide),
        corner=0.004 + 0.012 * smile,
        front=0.137,
    )


def face_solids(identity: Identity, expression: Expression) -> list[Ellipsoid]:
    """Return the solids whose smooth union is the face."""
    mouth = mouth_of(identity, expression)
    return _middle_of_face(identity, expression, mouth) + _sides_of_face(identity, expression, mouth)


def _middle_of_face(identity: Identity, expression: Expression, mouth: Mouth) -> list[Ellipsoid]:
    drop = mouth.drop
    height = identity.height
    spread = 1 + 0.1 * expression.wide - 0.1 * expression.jaw
    lip = 0.0085 * identity.lip_fullness
    nose = 0.046 * identity.nose_length
    return [
        Ellipsoid(  # skull
            part="face",
            centre=(0, 0.072, -0.02),
            radii=(0.144 * identity.width, 0.168 * height, 0.185),
        ),
        Ellipsoid(  # lower face
            part="face",
            centre=(0, -0.05 - 0.4 * drop, 0.038),
            radii=(0.112 * identity.width, 0.128 * height + 0.4 * drop, 0.105),
        ),
        Ellipsoid(  # chin
            part="face",
            centre=(0, -0.158 * height - 0.9 * drop, 0.094),
            radii=(0.045 * identity.jaw, 0.030 * identity.chin, 0.036),
        ),
        Ellipsoid(  # bridge of the nose
            part="face",
            centre=(0, 0.02, 0.136),
            radii=(0.0125 * identity.nose_width, nose, 0.02),
            pitch=-0.32 * identity.nose_reach,
        ),
        Ellipsoid(  # tip of the nose
            part="face",
            centre=(0, 0.012 - nose, 0.152 + 0.022 * identity.nose_reach),
            radii=(0.0155 * identity.nose_width, 0.0145, 0.018),
        ),
        Ellipsoid(  # upper lip
            part="face",
            centre=(0, mouth.y + 0.009, 0.132),
            radii=(0.04 * spread, 0.006 + lip, 0.016),
        ),
        Ellipsoid(  # lower lip
            part="face",
            centre=(0, mouth.y - 0.010 - drop, 0.130 - 0.1 * drop),
            radii=(0.034 * spread, 0.007 + lip, 0.017),
        ),
    ]


def _sides_of_face(identity: Identity, expression: Expression, mouth: Mouth) -> list[Ellipsoid]:
    width = identity.width
    return both_sides(
        Ellipsoid(  # corner of the jaw
            part="face",
            centre=(0.060 * width * identity.jaw, -0.092 - 0.5 * mouth.drop, 0.035),
            radii=(0.038, 0.055, 0.055),
        ),
        Ellipsoid(  # cheek
            part="face",
            centre=(0.072 * width, -0.032 + 0.006 * expression.smile, 0.098),
            radii=(0.04 * identity.cheeks, 0.042, 0.04),
        ),
        Ellipsoid(  # brow ridge
            part="face",
            centre=(0.05 * width, 0.082 + 0.006 * expression.brows, 0.122),
            radii=(0.046, 0.016, 0.024 * identity.brow_ridge),
        ),
        Ellipsoid(  # nostril
            part="face",
            centre=(
                0.018 * identity.nose_width,
                0.005 - 0.046 * identity.nose_length,
                0.138 + 0.3 * (0.022 * identity.nose_reach),
            ),
            radii=(0.012 * identity.nose_width, 0.010, 0.015),
        ),
    )


def mouth_solids(mouth: Mouth) -> list[Ellipsoid]:
    """Return what is inside the mouth: the cavity (seen from inside), both rows of teeth and the tongue."""
    y = mouth.y
    drop = mouth.drop
    front = mouth.front
    return [
        Ellipsoid(
            part="cavity",
            centre=(0, y - 0.5 * drop, front - 0.02),
            radii=(mouth.half + 0.02, 0.03 + drop, 0.045),
        ),
        Ellipsoid(
            part="teeth",
            centre=(0, y + 0.004, front - 0.032),
            radii=(0.036, 0.0145, 0.036),
        ),
        Ellipsoid(
            part="teeth",
            centre=(0, y - drop - 0.009, front - 0.036),
            radii=(0.032, 0.0125, 0.034),
        ),
        Ellipsoid(
            part="tongue",
            centre=(0, y - drop - 0.002, front - 0.045),
            radii=(0.028, 0.014, 0.042),
        ),
    ]


# --- Eyes, ears and body ----------------------------------------------------------------------------------------------


def fixed_solids(identity: Identity) -> list[Ellipsoid]:
    """Return everything but the face: the solids with sharp outlines."""
    radius = EYE_RADIUS * identity.eye_size
    size = identity.ear_size
    ear = Ellipsoid(
        part="ear",
        centre=(0.146 * identity.width, 0.005, -0.022),
        radii=(0.02, 0.046 * size, 0.03 * size),
        roll=-0.25,
    )
    return [
        *(Ellipsoid(part="eye", centre=centre, radii=(radius,) * 3) for centre in eye_centres(identity)),
        *both_sides(ear),
        *hair_solids(identity),
        *body_solids(identity),
    ]


@lru_cache(maxsize=256)
def eye_centres(identity: Identity) -> tuple[Triple, Triple]:
    """Return left and right eyeball, just deep enough in the relaxed face to bulge a little."""
    face = Blend(forms_of(face_solids(identity, Expression(smile=0.0))))
    x = 0.061 * identity.eye_spacing * identity.width
    y = 0.028 + identity.eye_height
    # A ray from before the face to its skin.
    start, end = np.array([[0.5], [1.5]], dtype=np.float32)
    ahead = np.array([[0.0], [0.0], [-1.0]], dtype=np.float32)
    depth = face.trace(np.array([x, y, 1.0]), ahead, start, end)
    z = float(1 - depth[0]) - 0.74 * (EYE_RADIUS * identity.eye_size)
    return (-x, y, z), (x, y, z)


def body_solids(identity: Identity) -> list[Ellipsoid]:
    """Return neck and shoulders; they do not move with the head."""
    thick = 0.066 * identity.neck
    wide = identity.shoulders
    solids = [
        Ellipsoid(
            part="neck",
            centre=(0, -0.24, -0.035),
            radii=(thick, 0.2, thick),
            on_head=False,
        ),
        Ellipsoid(  # shoulders
            part="body",
            centre=(0, -0.40, -0.05),
            radii=(0.35 * wide, 0.135, 0.13),
            on_head=False,
        ),
        Ellipsoid(  # chest
            part="body",
            centre=(0, -0.335, -0.05),
            radii=(0.17 * wide, 0.095, 0.10),
            on_head=False,
        ),
    ]
    if identity.clothes == "turtleneck":
        tube = Ellipsoid(
            part="body",
            centre=(0, -0.275, -0.035),
            radii=(thick + 0.02, 0.115, thick + 0.02),
            on_head=False,
        )
        solids.append(tube)
    elif identity.clothes in ("shirt", "suit"):
        opening = Ellipsoid(
            part="collar",
            centre=(0, -0.205, 0.075),
            radii=(0.055, 0.10, 0.11),
            on_head=False,
        )
        collar = Ellipsoid(
            part="collar",
            centre=(0, -0.285, -0.032),
            radii=(thick + 0.024, 0.085, thick + 0.026),
            cut=opening,
            on_head=False,
        )
        solids.append(collar)
    return solids


# --- From the head to the world ---------------------------------------------------------------------------------------


def head_pose(expression: Expression) -> tuple[np.ndarray, np.ndarray]:
    """Return the rotation [3, 3] and shift [3] that take head coordinates to the world."""
    yaw, pitch, roll = expression.turn
    rotation = rotation_matrix(yaw, pitch, roll)
    sway = np.array([expression.shift, 0, 0])
    return rotation, PLACE + NECK_PIVOT - rotation @ NECK_PIVOT + sway


def in_world(solids: list[Ellipsoid], rotation: np.ndarray, shift: np.ndarray) -> Forms:
    """Return forms of solids in the world: those on the head are moved by its pose."""
    forms = forms_of(solids)
    moved = forms.moved(rotation, shift)
    still = forms.moved(np.eye(3), PLACE)
    on_head = np.array([solid.on_head for solid in solids])
    return Forms(
        np.where(on_head[:, None], moved.centre, still.centre),
        np.where(on_head[:, None, None], moved.matrix, still.matrix),
    )
