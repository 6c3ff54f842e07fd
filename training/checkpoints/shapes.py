"""Which entries the networks of a configuration have, and whether weights of a file are such entries.

Shapes are found without the networks' memory: a file's configuration may ask for anything, and is believed only when
the file has as many weights.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from dnnlib.files import shown
from training.config import Config
from training.networks.discriminators import ImageDiscriminator, VideoDiscriminator
from training.networks.generator import Generator

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # that weights may be of
MAKERS = (torch.randn, torch.rand, torch.zeros, torch.ones, torch.empty, torch.full)
SCALERS = (torch.Tensor.mul, torch.Tensor.div)

Shapes = dict[str, tuple[int, ...]]


class _WithoutMemory(TorchFunctionMode):
    """Tensors of any size that a network begins with have no numbers; the small constants that it computes have.

    (As under `torch.device("meta")`, where filters could not be computed, and random numbers take a second to start.)
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in MAKERS:
            return torch.empty(*(args[:1] if function is torch.full else args), device="meta")
        if function in SCALERS and args[0].is_meta:
            return args[0]
        return function(*args, **(kwargs or {}))


def network_shapes(config: Config, names: Iterable[str]) -> dict[str, Shapes]:
    """{network: {name in its state_dict: shape}} of the networks named, of G, G_ema, D_img, D_vid."""
    side = config.generator.img_resolution
    builders = {
        "D_img": lambda: ImageDiscriminator(side, config.discriminator),
        "D_vid": lambda: VideoDiscriminator(side, config.discriminator),
    }
    with _WithoutMemory():
        return {name: shapes_of(builders.get(name, lambda: Generator(config.generator))()) for name in names}


def shapes_of(module: torch.nn.Module) -> Shapes:
    """Of the entries of a network that there is."""
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def misfit(weights: Mapping[Any, Any], shapes: Shapes) -> str | None:
    """Why weights are not those of a network of these shapes, or not fit for use, in words; None if they are.

    Weights may be floating-point numbers of any precision, and must be finite in float32.
    """
    wrong = sorted(weights.keys() ^ shapes.keys(), key=str)
    wrong += [
        name
        for name, shape in shapes.items()
        if name in weights and (not isinstance(weights[name], torch.Tensor) or weights[name].shape != shape)
    ]
    if wrong:
        return f"do not fit this configuration: {len(wrong)} entries differ, {shown(str(wrong[0]))} among them"
    for name, value in weights.items():
        if value.dtype not in FLOATS:
            return f"are no floating-point numbers ({name} holds {str(value.dtype).removeprefix('torch.')})"
        if not value.float().isfinite().all():
            return f"hold numbers that are not finite, in {name}"
    return None
