"""Which kind of discriminators a configuration has."""

from training.config import Config
from training.networks.discriminators import ImageDiscriminator, VideoDiscriminator
from training.networks.patch_discriminators import ClipPatches, PairPatches


def image_discriminator(config: Config) -> ImageDiscriminator | PairPatches:
    """Return a fresh D_img."""
    if config.discriminator.judges == "patches":
        return PairPatches(config.discriminator)
    return ImageDiscriminator(config.generator.img_resolution, config.discriminator)


def video_discriminator(config: Config) -> VideoDiscriminator | ClipPatches:
    """Return a fresh D_vid."""
    if config.discriminator.judges == "patches":
        return ClipPatches(config.discriminator)
    return VideoDiscriminator(config.generator.img_resolution, config.discriminator)
