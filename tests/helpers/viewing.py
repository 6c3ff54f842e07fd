"""A running viewer, what asks it, and what its pictures are before they are files."""

import contextlib
import http.client
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

import pv3d
from applications.latents import Latents, digest_of, save_latents
from tests.helpers import tiny
from viewer.cameras import Angles
from viewer.drawing import Artist
from viewer.messages import Appearance, FrameWish, Scene, VideoWish
from viewer.server import ViewerServer
from viewer.serving import answering, running

TOKEN = "a-token-that-nobody-guesses"
SCENE_JSON = {"first": {"seed": 3}, "second": None, "blend": 0, "motion": 7, "time": 0.5, "truncation": 0.7}
FRONT = {"yaw": 0, "pitch": 0, "zoom": 1}
WISH_JSON = {"client": "a1", "panel": 0, "scene": SCENE_JSON, "camera": FRONT, "layers": ["rgb"], "moving": False}
VIDEO_JSON = {
    **{"panel": 0, "scene": SCENE_JSON, "labels": [FRONT], "layers": ["rgb"], "frames": 3, "fps": 25, "suffix": ".mp4"},
    **{"plays": True, "blends": False, "scale": 1},
}


SEED = Appearance(seed=3)
SCENE = Scene(first=SEED, motion=7, time=0.5, psi=0.7)
WISH = FrameWish(client="a", panel=0, scene=SCENE, camera=Angles(yaw=20), layers=("rgb",), is_moving=False)
VIDEO = VideoWish(
    panel=0,
    scene=SCENE,
    labels=pv3d.orbit(3, yaw=20),
    layers=("rgb",),
    frames=4,
    fps=25.0,
    suffix=".mp4",
    plays=True,
    blends=False,
    scale=1,
)


@dataclass
class Answer:
    """What the server says."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def pixels(self) -> np.ndarray:
        """The picture, uint8 [H, W, 3]."""
        return np.asarray(PIL.Image.open(io.BytesIO(self.body)).convert("RGB"))

    @property
    def about(self) -> dict[str, Any]:
        return json.loads(self.headers["X-Frame"])


@dataclass
class Asker:
    """Asks a viewer as its page does."""

    server: ViewerServer

    def ask(self, path: str, content: Any = None, headers: dict[str, str] | None = None, method: str = "") -> Answer:
        """Ask once, with the token unless `headers` say otherwise; None leaves a header out."""
        body = content if content is None or isinstance(content, bytes) else json.dumps(content).encode()
        sent = {"Authorization": f"Bearer {TOKEN}", **(headers or {})}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method or ("GET" if body is None else "POST"), path, body, sent)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())

    def frame(self, **changes: Any) -> Answer:
        """Ask for a picture."""
        return self.ask("/api/frame", {**WISH_JSON, **changes})

    def state(self) -> dict[str, Any]:
        """Ask for the state."""
        return self.ask("/api/state").json


@contextlib.contextmanager
def viewer(*paths: Path, seconds: float = 0.05) -> Iterator[Asker]:
    """Yield an asker of a viewer of these models, which answers."""
    with running(paths, pv3d_load, token=TOKEN, seconds=seconds) as server, answering(server):
        yield Asker(server)


def pv3d_load(path: Path) -> pv3d.Model:
    """Load a model for a viewer."""
    return pv3d.load(path, device="cpu")


def pixels(artist: Artist, wish: FrameWish) -> torch.Tensor:
    """The picture of a wish, uint8 [3, H, W], before it is a file."""
    drawn: list[torch.Tensor] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("viewer.drawing.png_of", lambda image: drawn.append(image) or b"")
        artist.draw(wish)
    return drawn[0]


def latents_file(tmp_path, of: pv3d.Model, frames: int = 3, *, changing: bool = False, **parts: object):
    """A file of latents of a model, and what is in it."""
    shape = (frames, of.G.num_ws, of.G.w_dim) if changing else (of.G.num_ws, of.G.w_dim)
    values = {
        "ws": tiny.normal(0, *shape),
        "z_motion": tiny.normal(1, frames, of.G.z_motion_dim),
        "times": torch.linspace(0, 1, frames),
        "cameras": tiny.labels(2, frames),
        "fps": 12.5,
        "model": digest_of(of.G),
        "tuned": {},
    }
    found = Latents(**values | parts)
    path = tmp_path / "latents.pt"
    save_latents(path, found)
    return path, found


# Lets requests for the state wait until it is opened.
GATE = """
var gate = { waiting: 0 }, opened = new Promise((open) => gate.open = open), direct = fetch;
fetch = async (path, request) => {
  if (path === "/api/state") {
    gate.waiting += 1;
    await opened;
  }
  return direct(path, request);
};
0"""
