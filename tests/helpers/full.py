"""The paper's networks with the golden weights, and the golden inputs."""

import torch

from tests.helpers import golden
from tests.helpers.weights import fill
from torch_utils.random_numbers import Streams
from training.config import Config
from training.fakes import Fakes
from training.networks.discriminators import ImageDiscriminator, VideoDiscriminator
from training.networks.generator import Generator

CONFIG = Config()


def _golden(network: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    return fill(network).to(dtype).eval().requires_grad_(False)


def generator(dtype: torch.dtype = torch.float32) -> Generator:
    """Return the generator, without gradients."""
    return _golden(Generator(CONFIG.generator), dtype)


def image_discriminator(dtype: torch.dtype = torch.float32) -> ImageDiscriminator:
    """Return the discriminator of frames, without gradients."""
    return _golden(ImageDiscriminator(CONFIG.generator.img_resolution, CONFIG.discriminator), dtype)


def video_discriminator(dtype: torch.dtype = torch.float32) -> VideoDiscriminator:
    """Return the discriminator of pairs of frames, without gradients."""
    return _golden(VideoDiscriminator(CONFIG.generator.img_resolution, CONFIG.discriminator), dtype)


def discriminator_inputs(rows: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Return the first `rows` frames, raw images and cameras, and the times of the videos they make."""
    arrays = golden.load("discriminators")
    image, raw = golden.pictures(arrays["image_seed"], 4, 512), golden.pictures(arrays["image_raw_seed"], 4, 64)
    assert image.flatten()[:8].tolist() == arrays["image_check"].tolist()
    assert raw.flatten()[:8].tolist() == arrays["image_raw_check"].tolist()
    camera, t = (golden.tensor("discriminators", name) for name in ("camera", "t"))
    return tuple(x[:n].to(dtype) for x, n in ((image, rows), (raw, rows), (camera, rows), (t, rows // 2)))


def training_fakes(dtype: torch.dtype) -> Fakes:
    """Return the training step's clip of two frames, whose rows share z and z_motion."""
    z, z_motion, t, camera = (golden.tensor("training_step", name, dtype) for name in ("z", "z_motion", "t", "camera"))
    assert torch.equal(z[:1], z[1:]) and torch.equal(z_motion[:1], z_motion[1:])
    cameras = camera.unsqueeze(0)
    return Fakes(
        z=z[:1],
        z_motion=z_motion[:1],
        times=t,
        cameras=cameras,
        others=cameras,
        random=Streams.seeded((0,), 1),
    )
