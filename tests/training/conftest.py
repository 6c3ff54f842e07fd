"""Networks that the tests of the model share: of full size with the golden weights, and tiny ones."""

import pytest
import torch

from tests.weights import fill
from training.config import Config
from training.networks.discriminators import ImageDiscriminator, VideoDiscriminator
from training.networks.generator import Generator


def _golden(network: torch.nn.Module) -> torch.nn.Module:
    return fill(network).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def generator() -> Generator:
    """The paper's generator with the golden weights, float32, without gradients."""
    return _golden(Generator(Config().generator))


@pytest.fixture(scope="session")
def image_discriminator() -> ImageDiscriminator:
    """The paper's image discriminator, likewise."""
    return _golden(ImageDiscriminator(512, Config().discriminator))


@pytest.fixture(scope="session")
def video_discriminator() -> VideoDiscriminator:
    """The paper's video discriminator, likewise."""
    return _golden(VideoDiscriminator(512, Config().discriminator))
