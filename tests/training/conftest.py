"""The paper's networks, built once for all tests."""

import pytest

from tests.helpers import full
from training.networks.discriminators import ImageDiscriminator, VideoDiscriminator
from training.networks.generator import Generator


@pytest.fixture(scope="session")
def generator() -> Generator:
    """The generator with the golden weights, float32, without gradients."""
    return full.generator()


@pytest.fixture(scope="session")
def image_discriminator() -> ImageDiscriminator:
    """The discriminator of frames with the golden weights, float32, without gradients."""
    return full.image_discriminator()


@pytest.fixture(scope="session")
def video_discriminator() -> VideoDiscriminator:
    """The discriminator of pairs of frames with the golden weights, float32, without gradients."""
    return full.video_discriminator()
