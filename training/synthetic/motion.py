"""What happens in a clip: expressions over time, and the cameras that turn around the head."""

from dataclasses import dataclass

import numpy as np
import torch

from training import cameras
from training.data.options import YAW_RANGE
from training.data.streams import Stream

FPS = 25.0  # frames a second, unless said otherwise
PITCH_RANGE = 0.2
SYLLABLES = (3.0, 5.0)  # a second
SPOKEN = 0.88  # share of syllables; the others are pauses
WAVES = np.array([0.55, 0.3, 0.15])  # sizes of the sines of a slow wander

Rng = np.random.Generator
Track = np.ndarray  # [T]: one number a frame


@dataclass(frozen=True, kw_only=True)
class Expression:
    """The face at one moment; the default is a relaxed face that looks straight ahead."""

    jaw: float = 0.0  # mouth opening, 0 closed to 1 wide open
    wide: float = 0.0  # mouth corners, -1 rounded ("oo") to 1 spread ("ee")
    smile: float = 0.15  # -1 to 1
    lids: float = 1.0  # 0 closed to 1 open
    brows: float = 0.0  # -1 lowered to 1 raised
    gaze: tuple[float, float] = (0.0, 0.0)  # right and up in the picture, radians
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)  # head yaw, pitch, roll, radians
    shift: float = 0.0  # sideways sway of the head, world units


@dataclass(frozen=True, kw_only=True)
class Motion:
    """A clip's expressions, one a frame, and its cameras float32 [T, 25]."""

    expressions: tuple[Expression, ...]
    cameras: np.ndarray


def random_motion(
    seed: int,
    frames: int,
    fps: float = FPS,
    *,
    yaw_range: float = YAW_RANGE,
    stream: Stream = Stream.EXPRESSIONS,
) -> Motion:
    """Return the motion of this seed: somebody talks, blinks, looks about and turns the head; the camera moves too.

    Args:
        yaw_range: radians either side of the frontal camera within which the camera stays; changes nothing else.
        stream: of the random numbers; another one gives other motions.
    """
    rng = np.random.default_rng([int(seed), stream])
    seconds = np.arange(frames) / fps
    jaw, wide = _speech(rng, seconds)
    mood = rng.uniform(-0.2, 0.7)
    smile = np.clip(mood + _drift(rng, seconds, 0.3, 0.6), -1, 1)
    brows = np.clip(_drift(rng, seconds, 0.6, 0.7) + 0.25 * jaw, -1, 1)
    blinks = _blinks(rng, seconds)
    tracks = [
        jaw,
        wide,
        smile,
        blinks * np.clip(1 + _drift(rng, seconds, 0.08, 0.5), 0.8, 1.1),  # lids
        brows,
        _saccades(rng, seconds, 0.26),  # gaze to the right
        _saccades(rng, seconds, 0.12),  # and up
        _drift(rng, seconds, 0.08, 0.6),  # yaw
        _drift(rng, seconds, 0.06, 0.9) + 0.02 * jaw,  # pitch
        _drift(rng, seconds, 0.05, 0.5),  # roll
        _drift(rng, seconds, 0.006, 0.4),  # shift
    ]
    expressions = [
        Expression(
            jaw=jaw,
            wide=wide,
            smile=smile,
            lids=lids,
            brows=brows,
            gaze=(right, up),
            turn=(yaw, pitch, roll),
            shift=shift,
        )
        for jaw, wide, smile, lids, brows, right, up, yaw, pitch, roll, shift in np.transpose(tracks).tolist()
    ]
    return Motion(expressions=tuple(expressions), cameras=camera_path(rng, seconds, yaw_range))


def camera_path(rng: Rng, seconds: Track, yaw_range: float) -> np.ndarray:
    """Draw smooth camera labels float32 [T, 25] that face the head, within the yaw and pitch ranges."""
    yaw = rng.uniform(-1.3, 1.3) * yaw_range + _drift(rng, seconds, 0.2, 0.35)
    pitch = rng.uniform(-1, 1) * PITCH_RANGE + _drift(rng, seconds, 0.05, 0.35)
    labels = cameras.frontal_label(
        _within(yaw_range, yaw),
        _within(PITCH_RANGE, pitch),
    )
    return labels.numpy()


def _within(limit: float, angles: Track) -> torch.Tensor:
    """Bend angles so that they stay within +-limit."""
    return torch.from_numpy(limit * np.tanh(angles / limit)).float()


def _drift(
    rng: Rng,
    seconds: Track,
    size: float,
    hertz: float,
) -> Track:
    """Draw a slow wander of about +-size: three sines around the given frequency."""
    phase = rng.uniform(0, 2 * np.pi, 3)
    speed = 2 * np.pi * (hertz * rng.uniform(0.5, 1.5, 3))
    waves = np.sin(speed[:, None] * seconds + phase[:, None]) * WAVES[:, None]
    return size * rng.uniform(0.5, 1.2) * waves.sum(axis=0)


def _bump(
    seconds: Track,
    centre: float,
    width: float,
) -> Track:
    """Return a smooth pulse of height 1 that is zero beyond +-width."""
    x = np.clip((seconds - centre) / width, -1, 1)
    return 0.5 + 0.5 * np.cos(np.pi * x)


def _end(seconds: Track) -> float:
    """Return the moment of the last frame; 0 if there is none."""
    return seconds[-1] if len(seconds) else 0.0


def _speech(rng: Rng, seconds: Track) -> tuple[Track, Track]:
    """Draw jaw opening and mouth width of a row of syllables with pauses."""
    jaw = np.zeros_like(seconds)
    wide = np.zeros_like(seconds)
    now = -rng.uniform(0, 0.3)
    while now < _end(seconds) + 0.3:
        length = 1 / rng.uniform(*SYLLABLES)
        if rng.random() < SPOKEN:
            pulse = _bump(seconds, now + length / 2, 0.62 * length)
            jaw = np.maximum(jaw, pulse * rng.uniform(0.25, 1.0))
            wide += pulse * rng.uniform(-1.0, 0.8)
        now += length
    return np.clip(jaw, 0, 1), np.clip(wide, -1, 1)


def _blinks(rng: Rng, seconds: Track) -> Track:
    """Draw the openness of the lids: a blink every two seconds or so."""
    lids = np.ones_like(seconds)
    now = rng.uniform(-0.2, 2.0)
    while now < _end(seconds) + 0.2:
        closed = np.clip(1.25 * _bump(seconds, now, 0.15), 0, 1)
        lids = np.minimum(lids, 1 - closed)
        now += rng.uniform(1.2, 3.0)
    return lids


def _saccades(
    rng: Rng,
    seconds: Track,
    size: float,
) -> Track:
    """Draw a gaze angle that jumps to a new target about once a second and rests there."""
    gaze = np.full_like(seconds, rng.normal(0, 0.5) * size)
    now = rng.uniform(0.1, 1.0)
    while now < _end(seconds):
        ease = np.clip((seconds - now) / 0.08, 0, 1)
        target = np.clip(rng.normal(0, 0.5), -1, 1)
        gaze = gaze * (1 - ease) + ease * target * size
        now += rng.uniform(0.5, 1.5)
    return gaze
