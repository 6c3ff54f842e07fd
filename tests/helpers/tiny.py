"""Models small enough to train in milliseconds, 16 x 16 planes and 32-pixel frames, and what to feed them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from dnnlib.options import override
from torch_utils.random_numbers import Streams
from training.cameras import frontal_label
from training.checkpoints.snapshots import Networks, build_networks
from training.config import FRAMES_PER_CLIP, Config, validate
from training.fakes import Fakes
from training.judged import Frames
from training.loss import Loss, Schedule
from training.methods import METHODS
from training.networks.generator import Generator

SIZES = {
    "generator.z_dim": 8,
    "generator.z_motion_dim": 8,
    "generator.w_dim": 8,
    "generator.plane_resolution": 16,
    "generator.plane_channels": 4,
    "generator.channel_base": 128,
    "generator.channel_max": 8,
    "generator.img_resolution": 32,
    "generator.sr_channels": (6, 5),
    "generator.motion_blocks": 2,
    "generator.rendering.resolution": 8,
    "generator.rendering.depth_samples": 6,
    "generator.rendering.importance_samples": 6,
    "generator.rendering.decoder_hidden": 8,
    "discriminator.channel_base": 128,
    "discriminator.channel_max": 8,
    "discriminator.mapping_layers": 2,
    "loss.reg_points": 20,
    "training.batch": 2,
    "training.precision": "fp32",
    "training.workers": 0,
}
# Of latents that motion moves: as many as its codes and components fit.
CHAIN = {"generator.z_motion_dim": 8 * 15, "generator.motion_hidden": 6, "training.component_latents": 300}
CALM = Schedule(blur_sigma=0.0, swap_probability=0.0)  # neither blur nor swapped cameras


def config(**changes: Any) -> Config:
    """Return the tiny configuration; `section__option=value` replaces an option, `method=name` is of another method."""
    of_method = METHODS[changes.pop("method", "pv3d")].over("demo")
    sizes = SIZES | CHAIN if of_method["generator.motion"] == "chain" else SIZES
    own = {name.replace("__", "."): value for name, value in changes.items()}
    return validate(override(Config(), of_method | sizes | own))


def networks(options: Config, dtype: torch.dtype = torch.float32, noise: float = 0.1) -> Networks:
    """Return fresh networks; noise strengths, which begin at zero, are set to `noise`, to be seen. G_ema equals G."""
    nets = build_networks(options, 0, torch.device("cpu"))
    for name, parameter in [*nets.G.named_parameters(), *nets.G_ema.named_parameters()]:
        if name.endswith("noise_strength"):
            parameter.data.fill_(noise)
    for _, module in nets.items():
        module.to(dtype)
    return nets


def generator(dtype: torch.dtype = torch.float32, **changes: Any) -> Generator:
    """Return the tiny generator alone, without gradients."""
    return networks(config(**changes), dtype).G_ema


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return normal numbers of this shape, drawn from this seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def uniform(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return numbers in [0, 1) of this shape, drawn from this seed."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def pixels(seed: int, *shape: int) -> torch.Tensor:
    """Return uint8 numbers of this shape, drawn from this seed."""
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let torch draw from this seed inside the block, for what takes no generator, such as a module's first weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def labels(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return cameras [*shape, 25] in front of the head, all different."""
    yaw, pitch = normal(seed, 2, *shape) * 0.2
    return frontal_label(yaw, pitch).to(dtype)


def fakes(options: Config, clips: int = 2, seed: int = 0, dtype: torch.dtype = torch.float32) -> Fakes:
    """Return what `clips` fake clips are made from; t differs between the frames of a clip."""
    frames = options.training.frames
    times = torch.sigmoid(normal(seed + 2, clips, frames, dtype=dtype)).sort(dim=1).values
    if frames > FRAMES_PER_CLIP:
        times = torch.linspace(0, 1, frames, dtype=dtype).expand(clips, -1)
    cameras = labels(seed + 3, clips, frames, dtype=dtype)
    return Fakes(
        z=normal(seed, clips, options.generator.z_dim, dtype=dtype),
        z_motion=normal(seed + 1, clips, options.generator.z_motion_dim, dtype=dtype),
        times=times,
        cameras=cameras,
        others=cameras.roll(1, dims=0),
        random=Streams.seeded((seed,), clips),
    )


def reals(options: Config, clips: int = 2, seed: int = 50, dtype: torch.dtype = torch.float32) -> Frames:
    """Return real frames of noise."""
    sides = options.generator.img_resolution, options.generator.rendering.resolution
    times = torch.tensor([[0.1, 0.8][: options.training.frames]] * clips, dtype=dtype)
    count = times.numel()
    image, raw = (normal(seed + i, count, 3, side, side, dtype=dtype).clamp(-1, 1) for i, side in enumerate(sides))
    return Frames(image=image, image_raw=raw, times=times, cameras=labels(seed, count, dtype=dtype))


def loss(nets: Networks, options: Config, **choices: Any) -> Loss:
    """Return the phases, by default without randomness; `noise_mode` and `deterministic` may be chosen."""
    choices = {"noise_mode": "const", "deterministic": True} | choices
    return Loss(nets.G, nets.D_img, nets.D_vid, options, **choices)
