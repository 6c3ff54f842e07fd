"""A tiny model, as users load it."""

import pytest

import pv3d


@pytest.fixture(scope="session")
def model(snapshot) -> pv3d.Model:
    """The tiny untrained model; no test changes it."""
    return pv3d.load(snapshot, device="cpu")


@pytest.fixture(autouse=True)
def alone(one_thread: None) -> None:
    """Every test here computes in one thread."""
