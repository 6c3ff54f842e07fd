"""Networks with the golden weights, made once; no test changes them."""

import pytest

from detectors.arcface import ArcFace
from detectors.i3d import InceptionI3D
from tests.helpers.detector_weights import filled_arcface, filled_i3d


@pytest.fixture(scope="session")
def i3d() -> InceptionI3D:
    return filled_i3d()


@pytest.fixture(scope="session")
def arcface() -> ArcFace:
    return filled_arcface()
