"""The configuration of a foreign checkpoint's networks.

It comes from their weights' shapes and, for what shapes do not tell, from the keyword arguments of EG3D's record.
"""

import math
from dataclasses import replace
from typing import Any

from dnnlib.errors import UserError
from dnnlib.files import shown
from torch_utils.pickles.machine import InertTensor, Record
from training.cameras import CAMERA_DIM
from training.checkpoints.shapes import Shapes
from training.checkpoints.snapshots import MOTION
from training.config import Config, DiscriminatorConfig, GeneratorConfig, RenderingConfig, validate

MAX_LAYERS = 64  # of a mapping network
MAX_COUNT = 4096  # of samples along a ray
# EG3D's names of our rendering options.
RENDERING = {
    "ray_start": "near",
    "ray_end": "far",
    "depth_resolution": "depth_samples",
    "box_warp": "box_side",
    "depth_resolution_importance": "importance_samples",
    "disparity_space_sampling": "disparity",
    "white_back": "white_background",
}
# What our networks do, and an EG3D checkpoint must not ask otherwise.
FIXED = {"clamp_mode": "softplus", "superresolution_noise_mode": "none", "sr_antialias": True}


class Unfit(Exception):
    """Why a checkpoint does not fit our networks."""


def dictionary(value: Any) -> dict[Any, Any]:
    """A dictionary, also of a class of its own (EasyDict); {} for anything else."""
    value = value.entries if type(value) is Record else value
    return value if type(value) is dict else {}


def eg3d_options(state: dict[str, Any]) -> tuple[RenderingConfig, dict[str, Any]]:
    """Rendering, and all rendering options as EG3D names them, of the state of its generator's record."""
    arguments = dictionary(state.get("_init_kwargs"))
    options = dictionary(state.get("rendering_kwargs") or arguments.get("rendering_kwargs"))
    options = {name: value for name, value in options.items() if type(value) in (bool, int, float, str)}
    for name, value in FIXED.items():
        if options.get(name, value) != value:
            raise Unfit(f"its {name} is {shown(repr(options[name]))}, where only {value!r} is known here")
    chosen = {ours: options[name] for name, ours in RENDERING.items() if name in options}
    if type(side := state.get("neural_rendering_resolution")) is int:
        chosen["resolution"] = side
    if not all(math.isfinite(options.get(name, 1)) for name in ("c_scale", "decoder_lr_mul")):
        raise Unfit("its factors of cameras or of the decoder are not finite")
    default = RenderingConfig()
    for name, value in chosen.items():
        kind = type(getattr(default, name))
        if (type(value) is not kind and not (kind is float and type(value) is int)) or value > MAX_COUNT:
            raise Unfit(f"its rendering option {name} is {shown(repr(value))}")
        chosen[name] = kind(value)
    return replace(default, **chosen), options


def generator_config(shapes: Shapes, rendering: RenderingConfig, origin: str) -> GeneratorConfig:
    """The configuration whose networks have these shapes, as far as shapes tell; `_fit` sees whether they all do."""

    def size(name: str, axis: int = 0) -> int:
        if len(shapes.get(name, ())) <= axis:
            raise Unfit(f"it lacks {name}")
        return shapes[name][axis]

    sides = [side for side in (2**i for i in range(2, 11)) if f"backbone.synthesis.b{side}.conv1.weight" in shapes]
    channels = {side: size(f"backbone.synthesis.b{side}.conv1.weight") for side in sides}
    fused = [side for side in sides if any(f"b{side}{MOTION}" in name for name in shapes)]
    if not sides or (origin == "PV3D" and (not fused or fused != sides[: len(fused)])):
        raise Unfit("it has no backbone with motion layers from 4 x 4 up")
    w_dim = size("backbone.mapping.embed.weight")
    if size("backbone.mapping.embed.weight", 1) != CAMERA_DIM:
        raise Unfit(f"its cameras have {size('backbone.mapping.embed.weight', 1)} numbers, not {CAMERA_DIM}")
    upscaled = "superresolution.block1.conv1.weight" in shapes
    if origin == "EG3D" and not upscaled:
        raise Unfit("it has no super-resolution")
    first = f"backbone.synthesis.b4{MOTION}"
    return GeneratorConfig(
        z_dim=size("backbone.mapping.fc0.weight", 1) - w_dim,
        w_dim=w_dim,
        mapping_layers=_layers(shapes, "backbone."),
        z_motion_dim=size(f"{first}affine.weight", 1) if fused else GeneratorConfig.z_motion_dim,
        plane_resolution=sides[-1],
        plane_channels=size("backbone.synthesis.b4.torgb.weight") // 3,
        channel_base=max(side * count for side, count in channels.items()),
        channel_max=max(channels.values()),
        img_resolution=size("superresolution.block1.conv1.noise_const") if upscaled else rendering.resolution,
        sr_channels=tuple(size(f"superresolution.block{i}.conv1.weight") for i in (0, 1)) if upscaled else None,
        motion_blocks=len(fused) or min(GeneratorConfig.motion_blocks, len(sides)),
        motion_generator="modconv" if not fused or f"{first}conv.weight" in shapes else "mlp",
        motion_weight=not fused or f"{first}weight" in shapes,
        rendering=replace(rendering, decoder_hidden=size("decoder.net.0.weight")),
    )


def _layers(shapes: Any, prefix: str = "") -> int:
    count = 0
    while count < MAX_LAYERS and f"{prefix}mapping.fc{count}.weight" in shapes:
        count += 1
    return count


def discriminator_config(found: dict[str, dict[str, InertTensor]]) -> DiscriminatorConfig:
    """Of the discriminators that there are; those that are not will be fresh."""
    D = found.get("D_img") or found.get("D_vid") or {}
    widths = {
        side: D[f"b{side}.conv0.weight"].shape[0]
        for side in (2**i for i in range(3, 11))
        if f"b{side}.conv0.weight" in D
    }
    if not widths:
        return DiscriminatorConfig()
    video = found.get("D_vid", {})
    fromrgb = next((value.shape for name, value in video.items() if name.endswith("fromrgb.weight")), (0, 7))
    return DiscriminatorConfig(
        channel_base=max(side * width for side, width in widths.items()),
        channel_max=max(widths.values()),
        mapping_layers=_layers(D) or DiscriminatorConfig.mapping_layers,
        video_dt=fromrgb[1] == 7,
        video_cameras=not video or "mapping.embed.weight" in video,
    )


def validated(config: Config) -> Config:
    """The configuration; Unfit if nobody could have trained it."""
    try:
        return validate(config)
    except UserError as error:
        raise Unfit(str(error).rstrip(".")) from error
