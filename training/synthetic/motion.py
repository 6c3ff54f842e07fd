"""What happens in a clip: expressions over time, and the cameras that turn around the head."""

from dataclasses import dataclass

import numpy as np
import torch

from training import cameras

YAW_RANGE = 0.45  # radians either side of the frontal camera
PITCH_RANGE = 0.2
SYLLABLES = (3.0, 5.0)  # a second


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Motion:
    """A clip's expressions, one a frame, and its cameras float32 [T, 25]."""

    expressions: tuple[Expression, ...]
    cameras: np.ndarray


def random_motion(seed: int, frames: int, fps: float = 25.0) -> Motion:
    """The motion of this seed: somebody talks, blinks, looks about and moves the head, seen by a moving camera."""
    rng = np.random.default_rng([int(seed), 0x30])
    seconds = np.arange(frames) / fps
    jaw, wide = _speech(rng, seconds)
    smile = np.clip(rng.uniform(-0.2, 0.7) + _drift(rng, seconds, 0.3, 0.6), -1, 1)
    brows = np.clip(_drift(rng, seconds, 0.6, 0.7) + 0.25 * jaw, -1, 1)
    lids = _blinks(rng, seconds) * np.clip(1 + _drift(rng, seconds, 0.08, 0.5), 0.8, 1.1)
    gaze = np.stack([_saccades(rng, seconds, 0.26), _saccades(rng, seconds, 0.12)], axis=1)
    turn = np.stack(
        [
            _drift(rng, seconds, 0.08, 0.6),
            _drift(rng, seconds, 0.06, 0.9) + 0.02 * jaw,
            _drift(rng, seconds, 0.05, 0.5),
        ],
        axis=1,
    )
    shift = _drift(rng, seconds, 0.006, 0.4)
    expressions = tuple(
        Expression(
            float(jaw[i]),
            float(wide[i]),
            float(smile[i]),
            float(lids[i]),
            float(brows[i]),
            tuple(map(float, gaze[i])),
            tuple(map(float, turn[i])),
            float(shift[i]),
        )
        for i in range(frames)
    )
    return Motion(expressions, camera_path(rng, seconds))


def camera_path(rng: np.random.Generator, seconds: np.ndarray) -> np.ndarray:
    """Smooth camera labels float32 [T, 25] that face the head, within the yaw and pitch ranges."""
    yaw = rng.uniform(-1.3, 1.3) * YAW_RANGE + _drift(rng, seconds, 0.2, 0.35)
    pitch = rng.uniform(-1, 1) * PITCH_RANGE + _drift(rng, seconds, 0.05, 0.35)
    yaw = YAW_RANGE * np.tanh(yaw / YAW_RANGE)
    pitch = PITCH_RANGE * np.tanh(pitch / PITCH_RANGE)
    return cameras.frontal_label(torch.from_numpy(yaw).float(), torch.from_numpy(pitch).float()).numpy()


def _drift(rng: np.random.Generator, seconds: np.ndarray, size: float, hertz: float) -> np.ndarray:
    """A slow wander [T] of about +-size: three sines around the given frequency."""
    phase, rate = rng.uniform(0, 2 * np.pi, 3), hertz * rng.uniform(0.5, 1.5, 3)
    waves = np.sin(2 * np.pi * rate[:, None] * seconds + phase[:, None])
    return size * rng.uniform(0.5, 1.2) * (waves * [[0.55], [0.3], [0.15]]).sum(axis=0)


def _bump(seconds: np.ndarray, centre: float, width: float) -> np.ndarray:
    """A smooth pulse [T] of height 1 that is zero beyond +-width."""
    x = np.clip((seconds - centre) / width, -1, 1)
    return 0.5 + 0.5 * np.cos(np.pi * x)


def _speech(rng: np.random.Generator, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Jaw opening and mouth width [T] of a row of syllables with pauses."""
    jaw, wide = np.zeros_like(seconds), np.zeros_like(seconds)
    now, last = -rng.uniform(0, 0.3), seconds[-1] if len(seconds) else 0.0
    while now < last + 0.3:
        length = 1 / rng.uniform(*SYLLABLES)
        if rng.random() < 0.88:
            pulse = _bump(seconds, now + length / 2, 0.62 * length)
            jaw = np.maximum(jaw, pulse * rng.uniform(0.25, 1.0))
            wide += pulse * rng.uniform(-1.0, 0.8)
        now += length
    return np.clip(jaw, 0, 1), np.clip(wide, -1, 1)


def _blinks(rng: np.random.Generator, seconds: np.ndarray) -> np.ndarray:
    """Lid openness [T]: a blink every two seconds or so."""
    lids, now = np.ones_like(seconds), rng.uniform(-0.2, 2.0)
    while now < (seconds[-1] if len(seconds) else 0.0) + 0.2:
        lids = np.minimum(lids, 1 - np.clip(1.25 * _bump(seconds, now, 0.15), 0, 1))
        now += rng.uniform(1.2, 3.0)
    return lids


def _saccades(rng: np.random.Generator, seconds: np.ndarray, size: float) -> np.ndarray:
    """Gaze angle [T] that jumps to a new target about once a second and rests there."""
    gaze, now = np.full_like(seconds, rng.normal(0, 0.5) * size), rng.uniform(0.1, 1.0)
    while now < (seconds[-1] if len(seconds) else 0.0):
        ease = np.clip((seconds - now) / 0.08, 0, 1)
        gaze = gaze * (1 - ease) + ease * np.clip(rng.normal(0, 0.5), -1, 1) * size
        now += rng.uniform(0.5, 1.5)
    return gaze
