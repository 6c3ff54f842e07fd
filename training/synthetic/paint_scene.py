"""Colours of hair, clothes and the background; colours are float32 [3, M] in [0, 1]."""

import numpy as np

from training.synthetic.identity import Identity
from training.synthetic.paint import band, column, darker, mix, soft
from training.synthetic.rays import Scalars, Vectors

SHIRT = (0.95, 0.95, 0.96)  # under a suit
NECKLINE = 0.255  # depth of a V under the person's place, world units
SHELF = 0.16  # height of a shelf, world units
BOOK = 0.035  # width of a book
LIGHTS = 9
WALL_SCALE = 0.48  # world units along the wall a radian, about its radius


def hair(identity: Identity, points: Vectors) -> Vectors:
    """Return colours of hair at head points, with strands that run down from the crown."""
    x, y, z = points
    angle = np.arctan2(x, z + 0.35)
    waves = np.sin(70 * angle + 6 * y)
    locks = np.sin(43 * angle + 2)
    fine = np.sin(160 * angle)
    strands = waves * locks + 0.4 * fine
    bright = 1 + 0.13 * strands
    return column(identity.hair) * bright


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
        waves = np.sin(y * 190)
        stripes = soft(waves, 0.6)
        colour = mix(colour, second, stripes)
    if style in ("crew", "stripes"):
        hem = soft(0.105 - from_neck)
        bare = soft(0.095 - from_neck)
        dark = darker(cloth, 0.7)
        colour = mix(colour, dark, hem)
        return mix(colour, identity.skin, bare)
    if style == "vneck":
        height = y + NECKLINE
        edge = 0.062 + 0.55 * height - side
        trim = front * soft(edge + 0.012)
        colour = mix(colour, second, trim)
        opening = front * soft(edge)
        neck = soft(0.09 - from_neck)
        bare = np.maximum(opening, neck)
        return mix(colour, identity.skin, bare)
    if style == "shirt":
        seam = band(side - 0.016, 0.0025)
        dark = darker(cloth, 0.75)
        colour = mix(colour, dark, front * seam)
        height = np.mod(y, 0.045) - 0.02
        from_button = np.hypot(side, height)
        buttons = soft(0.006 - from_button)
        darkest = darker(cloth, 0.5)
        return mix(colour, darkest, front * buttons)
    if style == "suit":
        height = y + NECKLINE
        edge = 0.075 + 0.6 * height - side
        lapel = band(edge + 0.03, 0.004)
        opening = soft(edge)
        lower = np.maximum(-0.25 - y, 0)
        half = 0.013 + 0.08 * lower
        tie = soft(half - side)
        is_light = sum(second) >= 2.3  # not to be seen on a shirt
        tie_colour = cloth if is_light else second
        jacket = colour * 0.45
        dark = darker(cloth, 0.3)
        colour = mix(jacket, dark, front * lapel)
        colour = mix(colour, SHIRT, front * opening)
        return mix(colour, tie_colour, front * tie)
    angle = np.arctan2(x, z + 0.035)
    ribs = np.sin(180 * angle)
    bright = 1 + 0.05 * ribs
    return colour * bright


def collar(identity: Identity) -> np.ndarray:
    """Return the colour [3] of a collar."""
    if identity.clothes == "suit":
        return np.array(SHIRT)
    return np.array(identity.cloth) * 1.1


# --- Background -------------------------------------------------------------------------------------------------------


def wall(identity: Identity, points: Vectors) -> Vectors:
    """Return colours of the background at world points, by angle around the cylinder and height."""
    x, y, z = points
    angle = np.arctan2(x, -z)
    along = angle * WALL_SCALE
    second = identity.wall_second
    phase = identity.wall_phase
    style = identity.wall_style
    bright = 0.92 + 0.5 * y
    colour = column(identity.wall) * bright
    if style == "glow":
        centre = 0.25 * np.cos(phase)
        across = (along - centre) / 0.25
        up = (y - 0.1) / 0.28
        glow = np.exp(-(across**2) - up**2)
        colour = mix(colour, second, 0.9 * glow)
    elif style == "panels":
        panels = np.sin(along * 22 + phase)
        amount = soft(panels, 0.25)
        colour = mix(colour, second, 0.7 * amount)
    elif style == "wainscot":
        edge = 0.06 * np.sin(phase)
        below = soft(-0.02 + edge - y, 0.006)
        colour = mix(colour, second, below)
        rail = band(y - edge + 0.02, 0.008)
        dark = darker(identity.wall, 0.5)
        colour = mix(colour, dark, rail)
    elif style == "shelves":
        colour = _shelves(identity, along, y, colour)
    elif style == "lights":
        amount = _lights(phase, along, y)
        dim = colour * 0.55
        colour = mix(dim, second, 0.85 * amount)
    return np.clip(colour, 0, 1)


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
    noise = np.sin(number) * 43758.5453
    pick = np.mod(noise, 1)  # a random number for each book
    bright = 0.45 + 0.5 * pick
    one = column(identity.wall_second) * bright
    other = column(identity.cloth) * 0.25 * (1 - pick)
    spine = one + other
    top = 0.62 + 0.25 * pick
    below_top = soft(top - height, 0.06)
    above_shelf = soft(height - 0.06, 0.04)
    dim = colour * 0.6
    return mix(dim, spine, below_top * above_shelf)


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
        distance = np.hypot(across, up)
        radius = 0.05 + 0.02 * np.sin(5 * k)
        pulse = np.sin(k + phase) ** 2
        strength = 0.5 + 0.5 * pulse
        light = soft(radius - distance, 0.025)
        amount = np.maximum(amount, strength * light)
    return amount
