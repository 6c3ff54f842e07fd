"""From an identity to the solids of its hair, in head coordinates (anatomy.py)."""

import numpy as np

from training.synthetic.identity import Identity
from training.synthetic.rays import Ellipsoid, both_sides


def hair_solids(identity: Identity) -> list[Ellipsoid]:
    """Return the hair of the identity's style: a cap less an opening for the face, and what the style adds to it."""
    style = identity.hair_style
    if style == "bald":
        return []
    thick = 0.010 + 0.010 * identity.hair_volume
    line = identity.hairline
    if style in ("fringe", "bob"):
        line -= 0.035
    face = Ellipsoid(
        part="hair",
        centre=(0, 0.02 + 0.5 * line, 0.2),
        radii=(0.134 * identity.width, 0.148 + 0.5 * line, 0.225),
    )
    cap = Ellipsoid(
        part="hair",
        centre=(0, 0.078, -0.024),
        radii=(0.144 * identity.width + thick, 0.168 * identity.height + thick, 0.182 + thick),
        cut=face,
    )
    if style in _STYLE_SOLIDS:
        return [cap, *_STYLE_SOLIDS[style](identity, thick)]
    return [cap]


def _quiff(identity: Identity, thick: float) -> list[Ellipsoid]:
    return [
        Ellipsoid(
            part="hair",
            centre=(0.02, 0.212 * identity.height, 0.07),
            radii=(0.098 * identity.width, 0.03 + thick, 0.075),
            pitch=0.2,
            roll=0.12,
        ),
    ]


def _long(identity: Identity, thick: float) -> list[Ellipsoid]:
    curtain = Ellipsoid(
        part="hair",
        centre=(0, -0.07, -0.06),
        radii=(0.168 * identity.width + thick, 0.29, 0.115),
    )
    lock = Ellipsoid(
        part="hair",
        centre=(0.135 * identity.width, -0.11, -0.02),
        radii=(0.038 + thick, 0.215, 0.075),
        roll=0.10,
    )
    return [curtain, *both_sides(lock)]


def _bob(identity: Identity, thick: float) -> list[Ellipsoid]:
    opening = Ellipsoid(
        part="hair",
        centre=(0, -0.08, 0.2),
        radii=(0.142 * identity.width, 0.26, 0.235),
    )
    curtain = Ellipsoid(
        part="hair",
        centre=(0, 0.0, -0.03),
        radii=(0.168 * identity.width + thick, 0.19, 0.145),
        cut=opening,
    )
    return [curtain]


def _bun(identity: Identity, thick: float) -> list[Ellipsoid]:
    size = 0.04 + thick
    return [
        Ellipsoid(
            part="hair",
            centre=(0, 0.262 * identity.height, -0.05),
            radii=(size, 0.85 * size, size),
        ),
    ]


def _curly(identity: Identity, thick: float) -> list[Ellipsoid]:
    """Return clumps on the skull in even steps of angle; those in front of the face stay away."""
    clumps = []
    size = 0.036 + 0.6 * thick
    for height, count in ((0.05, 9), (0.55, 9), (0.9, 5)):
        ring = np.sqrt(1 - height**2)
        for angle in np.arange(count) * (2 * np.pi / count) + 3 * height:
            x = ring * np.sin(angle)
            z = ring * np.cos(angle)
            if height < 0.3 and z > 0.2:
                continue
            clump = Ellipsoid(
                part="hair",
                centre=(
                    0.143 * identity.width * x,
                    0.075 + 0.165 * identity.height * height,
                    -0.025 + 0.165 * z,
                ),
                radii=(size, size, size),
            )
            clumps.append(clump)
    return clumps


def _pigtails(identity: Identity, thick: float) -> list[Ellipsoid]:
    pigtail = Ellipsoid(
        part="hair",
        centre=(0.178 * identity.width + 0.6 * thick, -0.03, -0.05),
        radii=(0.036 + thick, 0.095, 0.045),
        roll=0.25,
    )
    return both_sides(pigtail)


_STYLE_SOLIDS = {
    "quiff": _quiff,
    "long": _long,
    "bob": _bob,
    "bun": _bun,
    "curly": _curly,
    "pigtails": _pigtails,
}
