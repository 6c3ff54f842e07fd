"""Networks with the golden or fixed random weights, made once; no test changes them."""

from dataclasses import replace

import pytest

from detectors import weights
from detectors.arcface import ArcFace
from detectors.i3d import InceptionI3D
from detectors.lpips import LPIPS
from tests.helpers.detector_weights import filled_arcface, filled_i3d, filled_lpips


@pytest.fixture(scope="session")
def i3d() -> InceptionI3D:
    return filled_i3d()


@pytest.fixture(scope="session")
def arcface() -> ArcFace:
    return filled_arcface()


@pytest.fixture(scope="session")
def lpips() -> LPIPS:
    return filled_lpips()


@pytest.fixture
def any_checksum(monkeypatch) -> None:
    """Let files of any checksum be those of LPIPS."""
    for name in ("LPIPS", "VGG16"):
        source = getattr(weights, name)
        monkeypatch.setattr(weights, name, replace(source, sha256=None))
