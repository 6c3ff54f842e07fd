"""Weights whose motion begins anew: of a static generator, or of one whose motions have become alike."""

import math

import torch

from dnnlib.errors import UserError
from training.config import COLOURS, GeneratorConfig
from training.networks.generator import Generator
from training.networks.motion import MotionLayer

MOTION = ".motion_time_fuser."  # in the names of motion layers' weights
APART = ("point_motion.", "chain.")  # of a motion network's, which shifts the decoder, or moves the latents
TO_RAW = "to_img_raw."  # of the layer that makes the raw image
STYLE = ("affine.", "motion_mlp.")  # of a motion layer's weights: those that turn code and time into a style
SHIFT = "motion_mlp.1.bias"  # is added to the style

Weights = dict[str, torch.Tensor]


def with_fresh_motion(weights: Weights, module: Generator) -> Weights:
    """Return weights of a static generator for one to be trained, with its own motion layers, or network of motion.

    Learned weights of motion layers, if it has them, become 0: then training begins with the static frames. Its raw
    image, too, is that of the static generator: the first features.
    """
    fresh = dict(weights)
    for name, value in module.state_dict().items():
        if name.endswith(f"{MOTION}weight"):
            fresh[name] = torch.zeros_like(value)
        elif MOTION in name or name.startswith(APART):
            fresh[name] = value
    if module.to_img_raw is not None:
        device = module.to_img_raw.weight.device
        fresh |= {name: value.to(device) for name, value in _first_features(module.config).items()}
    return fresh


def _first_features(config: GeneratorConfig) -> Weights:
    """Return weights of a raw image's layer that make the first features of it, whatever the style."""
    channels = config.plane_channels
    # The style is affine.bias / sqrt(channels) = 1: features pass as they are.
    return {
        f"{TO_RAW}weight": torch.eye(COLOURS, channels)[:, :, None, None],
        f"{TO_RAW}bias": torch.zeros(COLOURS),
        f"{TO_RAW}affine.weight": torch.zeros(channels, config.w_dim),
        f"{TO_RAW}affine.bias": torch.full([channels], math.sqrt(channels)),
    }


def with_fresh_styles(weights: Weights, module: Generator) -> Weights:
    """Return weights of a generator with motion, of which only what turns code and time into styles is `module`'s own.

    Styles are shifted by a constant so that those at t = 0 stay, and with them the frames. What the convolutions of the
    motion layers make of a style stays, too, so that frames remain plausible, but different codes move a head
    differently, also where all motions had become one.

    Raises:
        UserError: the generator has no such layers.
    """
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, MotionLayer)}
    if not layers:
        raise UserError("--fresh-motion is not possible: this model has no motion layers.")
    fresh = dict(weights)
    for name, layer in layers.items():
        learned = {key: weights[f"{name}.{key}"].to(value) for key, value in layer.state_dict().items()}
        own = {key: value for key, value in layer.state_dict().items() if key.startswith(STYLE)}
        shift = _style_at_start(layer, learned) - _style_at_start(layer, own)
        own[SHIFT] = own[SHIFT] + shift
        fresh |= {f"{name}.{key}": value for key, value in own.items()}  # not rounded to half, as a compact one's are
    return fresh


@torch.no_grad()
def _style_at_start(layer: MotionLayer, weights: Weights) -> torch.Tensor:
    """Return the style [w_dim or channels] of every code at t = 0, with other weights."""
    code = torch.zeros_like(weights["affine.weight"][:1])
    parts = (code, code[:, :1])
    return torch.func.functional_call(
        _Style(layer), {f"layer.{name}": value for name, value in weights.items()}, parts
    )[0]


class _Style(torch.nn.Module):
    """A motion layer whose call is its style."""

    def __init__(self, layer: MotionLayer):
        super().__init__()
        self.layer = layer

    def forward(self, z_motion: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """As `MotionLayer.style`."""
        return self.layer.style(z_motion, t)
