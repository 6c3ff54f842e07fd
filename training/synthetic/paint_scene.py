"""Colours of hair, clothes and the background; colours are float32 [3, M] in [0, 1]."""

import numpy as np

from training.synthetic.identity import Identity
from training.synthetic.paint import band, blob, column, darker, mix, soft
from training.synthetic.rays import Scalars, Vectors
from training.synthetic.room import along_room

SHIRT = (0.95, 0.95, 0.96)  # under a suit
NECKLINE = 0.255  # depth of a V under the person's place, world units
SHELF = 0.16  # height of a shelf, world units
BOOK = 0.035  # width of a book
LIGHTS = 9


def hair(identity: Identity, points: Vectors) -> Vectors:
    """Return colours of hair at head points, with strands that run down from the crown."""
    x, y, z = points
    angle = np.arctan2(x, z + 0.35)
    locks = np.sin(70 * angle + 6 * y) * np.sin(43 * angle + 2)
    strands = locks + 0.4 * np.sin(160 * angle)
    return column(identity.hair) * (1 + 0.13 * strands)


# --- Clothes ----------------------------------------------------------------------------------------------------------


def clothes(identity: Identity, points: Vectors) -> Vectors:
    """Return colours of the torso at world points relative to the person's place."""
    x, y, z = points
    side = np.abs(x)
    front = soft(z + 0.04, 0.02)
    from_neck = np.hypot(x / 1.05, z + 0.035)
    cloth = identity.cloth
    second = identity.cloth_second
    style = identity.clothes
    colour = column(cloth)
    if style == "stripes":
        colour = mix(colour, second, soft(np.sin(y * 190), 0.6))
    if style in ("crew", "stripes"):
        hem = soft(0.105 - from_neck)
        colour = mix(
            colour,
            darker(cloth, 0.7),
            hem,
        )
        return mix(colour, identity.skin, soft(0.095 - from_neck))
    if style == "vneck":
        edge = 0.062 + 0.55 * (y + NECKLINE) - side
        colour = mix(colour, second, front * soft(edge + 0.012))
        bare = np.maximum(front * soft(edge), soft(0.09 - from_neck))
        return mix(colour, identity.skin, bare)
    if style == "shirt":
        seam = band(side - 0.016, 0.0025)
        colour = mix(
            colour,
            darker(cloth, 0.75),
            front * seam,
        )
        from_button = np.hypot(side, np.mod(y, 0.045) - 0.02)
        return mix(
            colour,
            darker(cloth, 0.5),
            front * soft(0.006 - from_button),
        )
    if style == "suit":
        edge = 0.075 + 0.6 * (y + NECKLINE) - side
        lapel = band(edge + 0.03, 0.004)
        tie = soft(0.013 + 0.08 * np.maximum(-0.25 - y, 0) - side)
        is_light = sum(second) >= 2.3  # not to be seen on a shirt
        colour = mix(
            colour * 0.45,
            darker(cloth, 0.3),
            front * lapel,
        )
        colour = mix(colour, SHIRT, front * soft(edge))
        return mix(colour, cloth if is_light else second, front * tie)
    angle = np.arctan2(x, z + 0.035)
    return colour * (1 + 0.05 * np.sin(180 * angle))  # ribs


def collar(identity: Identity) -> Vectors:
    """Return the colour [3, 1] of a collar."""
    if identity.clothes == "suit":
        return column(SHIRT)
    return column(darker(identity.cloth, 1.1))


# --- Background -------------------------------------------------------------------------------------------------------


def wall(identity: Identity, points: Vectors) -> Vectors:
    """Return colours of the background at world points, by place along the wall and height."""
    y = points[1]
    along = along_room(points)
    second = identity.wall_second
    phase = identity.wall_phase
    style = identity.wall_style
    colour = column(identity.wall) * (0.92 + 0.5 * y)
    if style == "glow":
        glow = blob(
            along,
            y,
            centre=(0.25 * np.cos(phase), 0.1),
            size=(0.25, 0.28),
        )
        return mix(colour, second, 0.9 * glow)
    if style == "panels":
        panels = soft(np.sin(along * 22 + phase), 0.25)
        return mix(colour, second, 0.7 * panels)
    if style == "wainscot":
        edge = 0.06 * np.sin(phase)
        colour = mix(colour, second, soft(-0.02 + edge - y, 0.006))
        rail = band(y - edge + 0.02, 0.008)
        return mix(
            colour,
            darker(identity.wall, 0.5),
            rail,
        )
    if style == "shelves":
        return _shelves(identity, along, y, colour)
    if style == "lights":
        return mix(colour * 0.55, second, 0.85 * _lights(phase, along, y))
    return colour


def _shelves(
    identity: Identity,
    along: Scalars,
    y: Scalars,
    colour: Vectors,
) -> Vectors:
    """Paint rows of books in shades of two colours."""
    above_floor = y + 0.5
    row = np.floor(above_floor / SHELF)
    height = np.mod(above_floor, SHELF) / SHELF
    book = np.floor(along / BOOK + 0.37 * row)
    number = book * 12.9898 + row * 78.233 + identity.wall_phase
    pick = np.mod(np.sin(number) * 43758.5453, 1)  # a random number for each book
    one = column(identity.wall_second) * (0.45 + 0.5 * pick)
    other = column(identity.cloth) * 0.25 * (1 - pick)
    below_top = soft(0.62 + 0.25 * pick - height, 0.06)
    above_shelf = soft(height - 0.06, 0.04)
    return mix(colour * 0.6, one + other, below_top * above_shelf)


def _lights(
    phase: float,
    along: Scalars,
    y: Scalars,
) -> Scalars:
    """Return amounts of blurred round lights."""
    amount = np.zeros_like(y)
    for k in range(LIGHTS):
        across = along - 0.62 * np.sin(2.4 * k + phase)
        up = y - 0.32 * np.sin(1.7 * k + 2 * phase)
        radius = 0.05 + 0.02 * np.sin(5 * k)
        strength = 0.5 + 0.5 * np.sin(k + phase) ** 2
        light = soft(radius - np.hypot(across, up), 0.025)
        amount = np.maximum(amount, strength * light)
    return amount
