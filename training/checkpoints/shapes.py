"""Which entries the networks of a configuration have, and whether weights of a file are such entries.

Shapes are found without the networks' memory: a file's configuration may ask for anything, and is believed only when
the file has as many weights.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from dnnlib.files import shown
from torch_utils.pickles.dtypes import dtype_name
from torch_utils.pickles.reader import is_finite
from training.config import Config
from training.networks.generator import Generator
from training.networks.judges import image_discriminator, video_discriminator

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # that weights may be of
MAKERS = (torch.randn, torch.rand, torch.zeros, torch.ones, torch.empty, torch.full)
SCALERS = (torch.Tensor.mul, torch.Tensor.div)

Shapes = dict[str, tuple[int, ...]]


class _WithoutMemory(TorchFunctionMode):
    """A mode in which tensors that a network begins with have no numbers; the small constants that it computes have.

    (As under `torch.device("meta")`, where filters could not be computed, and random numbers take a second to start.)
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in MAKERS:
            size = args[:1] if function is torch.full else args
            return torch.empty(*size, device="meta")
        if function in SCALERS and args[0].is_meta:
            return args[0]
        return function(*args, **(kwargs or {}))


def network_shapes(config: Config, names: Iterable[str]) -> dict[str, Shapes]:
    """Return {network: {name in its state_dict: shape}} of the networks named, of G, G_ema, D_img, D_vid."""
    with _WithoutMemory():
        return {name: shapes_of(_build(config, name).state_dict()) for name in names}


def _build(config: Config, name: str) -> torch.nn.Module:
    """Build one network by its name."""
    if name == "D_img":
        return image_discriminator(config)
    if name == "D_vid":
        return video_discriminator(config)
    return Generator(config.generator)


def shapes_of(weights: Mapping[str, torch.Tensor]) -> Shapes:
    """Return the shapes of a network's entries."""
    return {name: tuple(value.shape) for name, value in weights.items()}


def misfit(weights: Mapping[Any, Any], shapes: Shapes) -> str | None:
    """Return why weights are not those of a network of these shapes, or not fit for use, in words; None if they are.

    Weights may be floating-point numbers of any precision, and must be finite in float32.
    """
    wrong = sorted(weights.keys() ^ shapes.keys(), key=str)
    for name, shape in shapes.items():
        if name not in weights:
            continue
        value = weights[name]
        if not isinstance(value, torch.Tensor) or value.shape != shape:
            wrong.append(name)
    if wrong:
        return f"do not fit this configuration: {len(wrong)} entries differ, {shown(str(wrong[0]))} among them"
    for name, value in weights.items():
        if value.dtype not in FLOATS:
            return f"are no floating-point numbers ({name} holds {dtype_name(value.dtype)})"
        if not is_finite(value, torch.float32):
            return f"hold numbers that are not finite, in {name}"
    return None
