"""A running viewer of the tiny model, and what asks it."""

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

import pv3d
from viewer.server import ViewerServer
from viewer.serving import answering, running

TOKEN = "a-token-that-nobody-guesses"
SCENE = {"first": {"seed": 3}, "second": None, "blend": 0, "motion": 7, "time": 0.5, "truncation": 0.7}
FRONT = {"yaw": 0, "pitch": 0, "zoom": 1}
WISH = {"client": "a1", "panel": 0, "scene": SCENE, "camera": FRONT, "layers": ["rgb"], "moving": False}
VIDEO = {
    **{"panel": 0, "scene": SCENE, "labels": [FRONT], "layers": ["rgb"], "frames": 3, "fps": 25, "suffix": ".mp4"},
    **{"plays": True, "blends": False},
}


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
        return self.ask("/api/frame", {**WISH, **changes})

    def state(self) -> dict[str, Any]:
        """Ask for the state."""
        return self.ask("/api/state").json


@contextlib.contextmanager
def viewer(*paths: Path, seconds: float = 0.05) -> Iterator[Asker]:
    """Yield an asker of a viewer of these models, which answers."""
    load = pv3d_load
    with running(paths, load, token=TOKEN, seconds=seconds) as server, answering(server):
        yield Asker(server)


def pv3d_load(path: Path) -> pv3d.Model:
    return pv3d.load(path, device="cpu")


@pytest.fixture(autouse=True)
def alone(one_thread: None) -> None:
    """Every test here computes in one thread."""


@pytest.fixture(scope="session")
def model(snapshot) -> pv3d.Model:
    """The tiny untrained model; no test changes it."""
    return pv3d.load(snapshot, device="cpu")


@pytest.fixture(scope="module")
def asker(snapshot) -> Iterator[Asker]:
    """An asker of a viewer of the tiny model, which is loaded."""
    from tests.helpers.browser import waited

    with viewer(snapshot) as found:
        waited(lambda: found.state()["panels"][0]["version"], "the model")
        yield found
