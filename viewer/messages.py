"""What the page asks for, as JSON, and as typed records once all of it is known to be possible."""

import math
import re
from dataclasses import dataclass
from typing import Any

import torch

from dnnlib.errors import UserError
from dnnlib.files import parse_json, shown
from dnnlib.video import MAX_FPS, MIN_FPS
from dnnlib.video_formats import FORMATS
from training.camera_checks.views import has_rays
from training.cameras import label_fault, parse_label
from training.sampling.options import LAYERS, MAX_SCALE
from viewer.cameras import Angles

MAX_SEED = 2**53 - 1  # the greatest whole number that a page counts to
MAX_FRAMES = 3000  # of an exported video
MAX_KEYS = 3000  # cameras of a path
MAX_PITCH = 85.0  # degrees: nearer to the poles up and down change places
ZOOMS = (0.3, 10.0)
TRUNCATIONS = (-2.0, 2.0)
CLIENT = re.compile(r"[A-Za-z0-9]{1,32}")
LATENTS = re.compile(r"[0-9a-f]{16}")

Camera = Angles | tuple[float, ...]  # angles, or a label of 25 numbers


class BadRequest(UserError):
    """A request that no page makes."""


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """A head: that of a seed, or of latents that were loaded, by their id."""

    seed: int | None = None
    latents: str | None = None


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What planes follow from.

    Args:
        second: the head that the first one is blended with; None: none.
        blend: how much of the second, 0 to 1.
        motion: seed; None: the latents' own.
        time: in [0, 1].
        psi: truncation.
    """

    first: Appearance
    second: Appearance | None = None
    blend: float = 0.0
    motion: int | None
    time: float = 0.0
    psi: float = 1.0


@dataclass(frozen=True, kw_only=True)
class FrameWish:
    """A picture: layers side by side, of one model.

    Args:
        client: the page that asks: its newest wish counts.
        panel: number of the model.
        is_moving: whether a preview will do.
    """

    client: str
    panel: int
    scene: Scene
    camera: Camera
    layers: tuple[str, ...]
    is_moving: bool


@dataclass(frozen=True, kw_only=True)
class VideoWish:
    """A video.

    Args:
        labels: key cameras [K, 25]; as many frames as wanted are made of them.
        plays: whether time runs from 0 to the greatest one trained; else it stands at the scene's.
        blends: whether the first head becomes the second; else they stay blended as they are.
        scale: how many times larger than the model makes them.
    """

    panel: int
    scene: Scene
    labels: torch.Tensor
    layers: tuple[str, ...]
    frames: int
    fps: float
    suffix: str
    plays: bool
    blends: bool
    scale: int


def camera_label(camera: Camera) -> torch.Tensor:
    """Return the label [25] of a camera."""
    return camera.label() if isinstance(camera, Angles) else torch.tensor(camera, dtype=torch.float32)


# --- Reading ----------------------------------------------------------------------------------------------------------


class Fields:
    """A JSON object, of which every field is read once. BadRequest for what is missing, wrong or left over."""

    def __init__(self, value: Any, what: str):
        if not isinstance(value, dict):
            raise BadRequest(f"The {what} is no JSON object: reload the page.")
        self.what = what
        self.left = dict(value)

    def take(self, name: str) -> Any:
        """Return a field's value, of whatever type."""
        if name not in self.left:
            raise BadRequest(f"The {self.what} lacks {name}: reload the page.")
        return self.left.pop(name)

    def number(self, name: str, low: float, high: float) -> float:
        """Return a finite number from `low` to `high`."""
        value = self.take(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise BadRequest(f"{name} is not possible: give a number from {low:g} to {high:g}.")
        return float(value)

    def whole(self, name: str, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`."""
        value = self.number(name, low, high)
        if value != math.floor(value):
            raise BadRequest(f"{name} is not possible: give a whole number from {low} to {high}.")
        return int(value)

    def switch(self, name: str) -> bool:
        """Return true or false."""
        value = self.take(name)
        if not isinstance(value, bool):
            raise BadRequest(f"{name} is neither true nor false: reload the page.")
        return value

    def text(self, name: str, pattern: re.Pattern[str]) -> str:
        """Return a text of a form."""
        value = self.take(name)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise BadRequest(f"{name} is not possible: reload the page.")
        return value

    def end(self) -> None:
        """Refuse fields that nothing has read."""
        if self.left:
            raise BadRequest(f"The {self.what} has a field {shown(repr(next(iter(self.left))))}: reload the page.")


def fields_of(body: bytes, what: str) -> Fields:
    """Return the fields of a request. BadRequest if it is not JSON, or too deep."""
    try:
        return Fields(parse_json(body), what)
    except ValueError as error:
        raise BadRequest(f"The {what} is not valid JSON: reload the page.") from error


def frame_wish(body: bytes) -> FrameWish:
    """Return the picture that a request asks for. BadRequest if it is none."""
    fields = fields_of(body, "request for a picture")
    wish = FrameWish(
        client=fields.text("client", CLIENT),
        panel=fields.whole("panel", 0, 99),
        scene=_scene(fields.take("scene")),
        camera=_camera(fields.take("camera")),
        layers=_layers(fields.take("layers")),
        is_moving=fields.switch("moving"),
    )
    fields.end()
    return wish


def video_wish(body: bytes) -> VideoWish:
    """Return the video that a request asks for. BadRequest if it is none."""
    fields = fields_of(body, "request for a video")
    wish = VideoWish(
        panel=fields.whole("panel", 0, 99),
        scene=_scene(fields.take("scene")),
        labels=labels_of(fields.take("labels")),
        layers=_layers(fields.take("layers")),
        frames=fields.whole("frames", 1, MAX_FRAMES),
        fps=fields.number("fps", MIN_FPS, MAX_FPS),
        suffix=fields.text("suffix", re.compile("|".join(map(re.escape, FORMATS)))),
        plays=fields.switch("plays"),
        blends=fields.switch("blends"),
        scale=fields.whole("scale", 1, MAX_SCALE),
    )
    fields.end()
    if wish.blends and wish.scene.second is None:
        raise BadRequest("There is no second head to go to: choose one.")
    return wish


def path_wish(body: bytes) -> tuple[torch.Tensor, int]:
    """Return key cameras [K, 25], and how many are wanted of them. BadRequest if it is no such request."""
    fields = fields_of(body, "request for a path")
    wish = labels_of(fields.take("labels")), fields.whole("frames", 1, MAX_FRAMES)
    fields.end()
    return wish


def labels_of(value: Any) -> torch.Tensor:
    """Return cameras [K, 25] of a list of labels or angles. BadRequest if it is none, empty or too long."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_KEYS:
        raise BadRequest(f"A camera path is a list of 1 to {MAX_KEYS} cameras.")
    return torch.stack([camera_label(_camera(one)) for one in value])


def _label(value: Any) -> torch.Tensor:
    label = parse_label(value)
    if label is None:
        raise BadRequest(f"A camera is wrong ({label_fault(value)}): give 25 numbers.")
    if not has_rays(label[None])[0]:
        raise BadRequest("A camera sees nothing: its axes or its focal lengths are none.")
    return torch.from_numpy(label)


def _camera(value: Any) -> Camera:
    if isinstance(value, list):
        return tuple(_label(value).tolist())
    fields = Fields(value, "camera")
    angles = Angles(
        yaw=fields.number("yaw", -360, 360),
        pitch=fields.number("pitch", -MAX_PITCH, MAX_PITCH),
        zoom=fields.number("zoom", *ZOOMS),
    )
    fields.end()
    return angles


def _layers(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or any(name not in LAYERS for name in value):
        raise BadRequest(f"Layers are some of {', '.join(LAYERS)}.")
    if len(set(value)) < len(value):
        raise BadRequest("A layer is named twice.")
    return tuple(value)


def _scene(value: Any) -> Scene:
    fields = Fields(value, "scene")
    second = fields.take("second")
    scene = Scene(
        first=_appearance(fields.take("first")),
        second=None if second is None else _appearance(second),
        blend=fields.number("blend", 0, 1),
        motion=_seed_or_none(fields, "motion"),
        time=fields.number("time", 0, 1),
        psi=fields.number("truncation", *TRUNCATIONS),
    )
    fields.end()
    if scene.motion is None and scene.first.latents is None:
        raise BadRequest("A seed's head has no motion of its own: give a motion seed.")
    return scene


def _appearance(value: Any) -> Appearance:
    fields = Fields(value, "appearance")
    if "latents" in fields.left:
        appearance = Appearance(latents=fields.text("latents", LATENTS))
    else:
        appearance = Appearance(seed=fields.whole("seed", 0, MAX_SEED))
    fields.end()
    return appearance


def _seed_or_none(fields: Fields, name: str) -> int | None:
    if fields.left.get(name, 0) is None:
        return fields.take(name)
    return fields.whole(name, 0, MAX_SEED)
