"""Mixing colours, and light on what they cover; colours are float32 [3, M] in [0, 1]."""

import numpy as np

from training.synthetic.identity import Colour, Identity
from training.synthetic.rays import Scalars, Triple, Vectors, unit

SHARP = 0.003  # width of an edge that looks sharp, world units
FILL = np.array([[-0.6], [0.1], [0.8]], dtype=np.float32)  # direction of the fill light, if the key light is right
WARM = (1.0, 0.985, 0.96)  # colour of all light
KEY_STRENGTH = 0.62
FILL_STRENGTH = 0.12

Gloss = tuple[float, float]  # strength and sharpness of a highlight

# --- Amounts [M] of a colour: from 0 to 1 with soft edges -------------------------------------------------------------


def soft(x: Scalars, width: float = SHARP) -> Scalars:
    """Return 0 below, 1 above zero, with a ramp of the given width."""
    return np.clip(x * (1 / width) + 0.5, 0, 1)


def band(
    x: Scalars,
    half: float | Scalars,
    width: float = SHARP,
) -> Scalars:
    """Return 1 where |x| < half, else 0, with ramps of the given width."""
    return soft(half - np.abs(x), width)


def blob(
    x: Scalars,
    y: Scalars,
    *,
    centre: tuple[float, float],
    size: tuple[float, float],
) -> Scalars:
    """Return a soft spot around a point of the x-y plane."""
    across = (x - centre[0]) / size[0]
    up = (y - centre[1]) / size[1]
    return np.exp(-(across**2) - up**2)


# --- Colours ----------------------------------------------------------------------------------------------------------


def column(colour: Colour | np.ndarray) -> Vectors:
    """Return a colour as [3, 1], and colours [3, M] as they are."""
    colour = np.asarray(colour, dtype=np.float32)
    if colour.ndim == 2:
        return colour
    return colour[:, None]


def darker(colour: Colour, share: float | Triple) -> np.ndarray:
    """Return a share of a colour, or of its red, green and blue: [3]."""
    return np.array(colour) * share


def mix(
    base: Vectors,
    colour: Colour | np.ndarray,
    amount: Scalars,
) -> Vectors:
    """Blend a base towards a colour, or colours [3, M]."""
    return base + amount * (column(colour) - base)


# --- Light ------------------------------------------------------------------------------------------------------------


def lit(
    identity: Identity,
    albedo: Vectors,
    *,
    normal: Vectors,
    view: Vectors,
    gloss: Gloss,
) -> Vectors:
    """Return the shaded colour [3, M]: sky light, a wrapped key light, a fill light and a soft highlight.

    Args:
        albedo: [3, M] or [3, 1].
        normal: unit vectors.
        view: unit vectors from the points to the eye.
    """
    light = column(identity.light)
    key = np.maximum(dot(light, normal) * 0.85 + 0.15, 0)
    side = np.sign(identity.light[0])
    fill_light = unit(FILL * column((side, 1, 1)))
    fill = np.maximum(dot(fill_light, normal), 0)
    sky = identity.ambient * (0.82 + 0.18 * normal[1])
    bright = sky + KEY_STRENGTH * key + FILL_STRENGTH * fill
    facing = np.maximum(dot(unit(light + view), normal), 1e-9)
    strength, sharpness = gloss
    return albedo * (bright * column(WARM)) + strength * facing**sharpness


def dot(a: Vectors, b: Vectors) -> Scalars:
    """Return dot products of vectors, or of one [3, 1] with vectors."""
    ax, ay, az = a
    bx, by, bz = b
    return ax * bx + ay * by + az * bz
