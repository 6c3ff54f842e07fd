"""Who is in a clip: the shape, colours, clothes, background and light of one procedural person."""

from dataclasses import dataclass

import numpy as np

from training.data.streams import Stream

Rng = np.random.Generator
Triple = tuple[float, float, float]
Colour = Triple  # red, green, blue in [0, 1], as displayed

HAIR_STYLES = ("bald", "short", "quiff", "fringe", "long", "bob", "bun", "curly", "pigtails")
HAIR_CHANCES = (0.07, 0.16, 0.13, 0.10, 0.17, 0.12, 0.09, 0.09, 0.07)
BEARDED_STYLES = ("bald", "short", "quiff", "curly")  # with which a beard may come
LONG_STYLES = ("long", "bob", "bun", "pigtails")
CLOTHES = ("crew", "vneck", "shirt", "suit", "turtleneck", "stripes")
WALLS = ("plain", "glow", "panels", "wainscot", "shelves", "lights")
BEARDS = ("none", "stubble", "moustache", "full")
BEARD_CHANCES = (0.4, 0.25, 0.15, 0.2)

SKIN = (
    (0.98, 0.83, 0.73),
    (0.95, 0.77, 0.64),
    (0.90, 0.69, 0.54),
    (0.82, 0.60, 0.44),
    (0.69, 0.47, 0.33),
    (0.54, 0.35, 0.24),
    (0.40, 0.26, 0.19),
)
HAIR = (
    (0.10, 0.08, 0.08),
    (0.20, 0.13, 0.09),
    (0.34, 0.20, 0.12),
    (0.50, 0.31, 0.16),
    (0.72, 0.42, 0.17),
    (0.85, 0.64, 0.30),
    (0.94, 0.80, 0.50),
    (0.62, 0.18, 0.12),
    (0.70, 0.70, 0.72),
    (0.25, 0.32, 0.60),
    (0.80, 0.40, 0.55),
)
HAIR_WEIGHTS = np.array([3, 3, 3, 2.5, 1.5, 2, 1.5, 1, 1, 0.4, 0.4]) / 19.3  # of its colours
IRIS = (
    (0.24, 0.13, 0.07),
    (0.42, 0.25, 0.10),
    (0.28, 0.45, 0.22),
    (0.20, 0.45, 0.72),
    (0.40, 0.52, 0.58),
    (0.10, 0.07, 0.05),
)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """One person; lengths are factors around 1 unless said otherwise, colours as displayed."""

    skin: Colour
    lips: Colour
    hair: Colour
    brows: Colour
    iris: Colour
    cloth: Colour
    cloth_second: Colour
    wall: Colour
    wall_second: Colour
    hair_style: str
    clothes: str
    wall_style: str
    beard: str
    hair_volume: float
    hairline: float  # height of the hairline over the usual one, world units
    width: float  # of the head
    height: float
    jaw: float  # width of the jaw
    chin: float
    cheeks: float
    brow_ridge: float
    nose_length: float
    nose_width: float
    nose_reach: float
    eye_size: float
    eye_spacing: float
    eye_tilt: float  # outer corner up, radians
    eye_height: float  # world units
    brow_thickness: float
    brow_arch: float
    mouth_width: float
    lip_fullness: float
    ear_size: float
    neck: float
    shoulders: float
    wall_phase: float
    light: Triple  # unit vector towards the light
    ambient: float  # share of light from all sides


def random_identity(seed: int, stream: Stream = Stream.IDENTITY) -> Identity:
    """Return the person of this seed; the same one at every call, and another one for another stream of numbers."""
    rng = np.random.default_rng([int(seed), stream])

    def about(spread: float) -> float:
        """Draw a factor around 1, at most two standard deviations away."""
        return float(np.clip(rng.normal(1, spread), 1 - 2 * spread, 1 + 2 * spread))

    skin = _between(rng, SKIN)
    hair = _jitter(rng, HAIR[rng.choice(len(HAIR), p=HAIR_WEIGHTS)], 0.012)
    style = str(rng.choice(HAIR_STYLES, p=HAIR_CHANCES))
    beard = "none"
    if style in BEARDED_STYLES:
        beard = str(rng.choice(BEARDS, p=BEARD_CHANCES))
    light = np.array([rng.uniform(-0.9, 0.9), rng.uniform(0.25, 0.9), 1.0])
    wall = _hue(rng, saturation=(0.05, 0.42), value=(0.30, 0.90))
    return Identity(
        skin=skin,
        lips=_lip_colour(rng, skin, style),
        hair=hair,
        brows=_triple(0.75 * np.array(hair)),
        iris=_jitter(rng, IRIS[rng.integers(len(IRIS))], 0.03),
        cloth=_hue(rng, saturation=(0.15, 0.65), value=(0.2, 0.85)),
        cloth_second=_hue(rng, saturation=(0.0, 0.5), value=(0.6, 1.0)),
        wall=wall,
        wall_second=_hue(rng, saturation=(0.1, 0.5), value=(0.35, 0.95)),
        hair_style=style,
        clothes=str(rng.choice(CLOTHES)),
        wall_style=str(rng.choice(WALLS)),
        beard=beard,
        hair_volume=about(0.25),
        hairline=rng.uniform(-0.015, 0.025),
        width=about(0.055),
        height=about(0.03),
        jaw=about(0.11),
        chin=about(0.16),
        cheeks=about(0.15),
        brow_ridge=about(0.2),
        nose_length=about(0.12),
        nose_width=about(0.18),
        nose_reach=about(0.16),
        eye_size=about(0.09),
        eye_spacing=about(0.05),
        eye_tilt=rng.normal(0.03, 0.07),
        eye_height=rng.normal(0, 0.005),
        brow_thickness=about(0.25),
        brow_arch=about(0.4),
        mouth_width=about(0.1),
        lip_fullness=about(0.22),
        ear_size=about(0.15),
        neck=about(0.1),
        shoulders=about(0.06),
        wall_phase=rng.uniform(0, 6.28),
        light=_triple(light / np.linalg.norm(light)),
        ambient=rng.uniform(0.45, 0.62),
    )


def _triple(values: np.ndarray) -> Triple:
    """Return three numbers as Python's."""
    return tuple(values.tolist())


def _between(rng: Rng, palette: tuple[Colour, ...]) -> Colour:
    """Draw a colour at a random place along the palette."""
    place = rng.uniform(0, len(palette) - 1)
    low = min(int(place), len(palette) - 2)
    before, after = np.array(palette[low : low + 2])
    return _jitter(rng, before * (low + 1 - place) + after * (place - low), 0.015)


def _jitter(rng: Rng, colour: Colour | np.ndarray, spread: float) -> Colour:
    """Draw a colour close to another one."""
    return _triple(np.clip(np.array(colour) + rng.normal(0, spread, 3), 0, 1))


def _hue(rng: Rng, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    """Draw a colour of any hue, with saturation and value in the given ranges."""
    hue = rng.uniform(0, 6)
    s = rng.uniform(*saturation)
    v = rng.uniform(*value)
    around = (hue + np.array([0.0, 4.0, 2.0])) % 6
    ramp = np.clip(np.abs(around - 3) - 1, 0, 1)
    return _triple(v * (1 - s + s * ramp))


def _lip_colour(rng: Rng, skin: Colour, style: str) -> Colour:
    """Draw a colour redder and darker than the skin; stronger (as if painted) with the longer hair styles."""
    strength = rng.uniform(0.35, 0.6)
    if style in LONG_STYLES:
        strength += 0.25
    red = np.array([0.72, 0.22, 0.26]) * (0.55 + 0.45 * skin[0])
    pale = (1 - strength) * np.array(skin) * (0.9, 0.72, 0.72)
    return _triple(pale + strength * red)
