"""A running viewer of the tiny model, and the tiny model itself."""

from collections.abc import Iterator

import pytest

import pv3d
from tests.helpers.browser import waited
from tests.helpers.viewing import Asker, viewer
from training.sampling.options import Shape
from viewer.drawing import Artist


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
    with viewer(snapshot) as found:
        waited(lambda: found.state()["panels"][0]["version"], "the model")
        yield found


@pytest.fixture
def artist(model) -> Artist:
    """Draws the tiny model."""
    return Artist(model)


@pytest.fixture(scope="session")
def shipped() -> pv3d.Model:
    """The shipped model, whose heads have surfaces."""
    return pv3d.load("heads", device="cpu")


@pytest.fixture
def small_shape(monkeypatch) -> Shape:
    """Shapes of a lattice that takes little time."""
    shape = Shape(resolution=24)
    monkeypatch.setattr("viewer.drawing.SHAPE", shape)
    return shape
