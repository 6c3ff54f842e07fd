"""The configuration of a foreign checkpoint's networks.

It comes from their weights' shapes and, for what shapes do not say, from the keyword arguments of EG3D's record.
"""

import math
from dataclasses import replace
from typing import Any

from dnnlib.errors import UserError
from dnnlib.files import shown
from torch_utils.pickles.machine import Record
from training.cameras import CAMERA_DIM
from training.checkpoints.fresh_motion import MOTION
from training.checkpoints.shapes import Shapes
from training.config import Config, DiscriminatorConfig, GeneratorConfig, RenderingConfig, validate

SIDES = tuple(2**i for i in range(2, 11))  # of feature maps: 4 to 1024
MAX_LAYERS = 64  # of a mapping network
MAX_COUNT = 4096  # of samples along a ray
# Our names of EG3D's rendering options.
RENDERING = {
    "ray_start": "near",
    "ray_end": "far",
    "depth_resolution": "depth_samples",
    "box_warp": "box_side",
    "depth_resolution_importance": "importance_samples",
    "disparity_space_sampling": "disparity",
    "white_back": "white_background",
}
FACTORS = ("c_scale", "decoder_lr_mul")  # EG3D's, outside of its weights
# What our networks do, and an EG3D checkpoint must not ask otherwise.
FIXED = {
    "clamp_mode": "softplus",
    "superresolution_noise_mode": "none",
    "sr_antialias": True,
}


class Unfit(Exception):
    """A checkpoint does not fit our networks: why, in words."""


def validated(config: Config) -> Config:
    """Return the configuration. Raises Unfit if nobody could have trained it."""
    try:
        return validate(config)
    except UserError as error:
        raise Unfit(str(error).rstrip(".")) from error


# --- EG3D's options ---------------------------------------------------------------------------------------------------


def dictionary(value: Any) -> dict[Any, Any]:
    """Return a dictionary, also one of a class of its own (EasyDict); {} for anything else."""
    entries = value.entries if type(value) is Record else value
    return entries if type(entries) is dict else {}


def eg3d_options(state: dict[str, Any]) -> dict[str, Any]:
    """Return the rendering options in the state of a generator's record, by EG3D's names."""
    arguments = dictionary(state.get("_init_kwargs"))
    options = dictionary(state.get("rendering_kwargs") or arguments.get("rendering_kwargs"))
    options = {name: value for name, value in options.items() if type(value) in (bool, int, float, str)}
    for name, value in FIXED.items():
        if options.get(name, value) != value:
            raise Unfit(f"its {name} is {shown(repr(options[name]))}, where only {value!r} is known here")
    if not all(math.isfinite(options.get(name, 1)) for name in FACTORS):
        raise Unfit("its factors of cameras or of the decoder are not finite")
    return options


def eg3d_rendering(options: dict[str, Any], resolution: Any) -> RenderingConfig:
    """Return our rendering options for those that EG3D names; `resolution` is the side of its ray grid."""
    chosen = {ours: options[name] for name, ours in RENDERING.items() if name in options}
    if type(resolution) is int:
        chosen["resolution"] = resolution
    default = RenderingConfig()
    for name, value in chosen.items():
        kind = type(getattr(default, name))
        fits = type(value) is kind or (kind is float and type(value) is int)
        if not fits or value > MAX_COUNT:
            raise Unfit(f"its rendering option {name} is {shown(repr(value))}")
        chosen[name] = kind(value)
    return replace(default, **chosen)


# --- Shapes -----------------------------------------------------------------------------------------------------------


def generator_config(shapes: Shapes, rendering: RenderingConfig, static: bool) -> GeneratorConfig:
    """Return the configuration whose generator has these shapes, as far as these few of them say.

    Args:
        static: EG3D's generator, without motion layers; else PV3D's, with them.
    """
    sides = [side for side in SIDES if f"backbone.synthesis.b{side}.conv1.weight" in shapes]
    widths = {side: _length(shapes, f"backbone.synthesis.b{side}.conv1.weight") for side in sides}
    fused = [side for side in sides if any(f"b{side}{MOTION}" in name for name in shapes)]
    if not sides or (not static and (not fused or fused != sides[: len(fused)])):
        raise Unfit("it has no backbone with motion layers from 4 x 4 up")
    w_dim = _length(shapes, "backbone.mapping.embed.weight")
    camera_dim = _length(shapes, "backbone.mapping.embed.weight", 1)
    if camera_dim != CAMERA_DIM:
        raise Unfit(f"its cameras have {camera_dim} numbers, not {CAMERA_DIM}")
    motion = f"backbone.synthesis.b4{MOTION}"
    config = GeneratorConfig(
        z_dim=_length(shapes, "backbone.mapping.fc0.weight", 1) - w_dim,
        w_dim=w_dim,
        z_motion_dim=_length(shapes, f"{motion}affine.weight", 1) if fused else GeneratorConfig.z_motion_dim,
        mapping_layers=_mapping_layers(shapes, "backbone."),
        plane_resolution=sides[-1],
        plane_channels=_length(shapes, "backbone.synthesis.b4.torgb.weight") // 3,
        channel_base=max(side * width for side, width in widths.items()),
        channel_max=max(widths.values()),
        img_resolution=rendering.resolution,
        motion="none" if static else "layers",
        raw_layer=not static,
        motion_blocks=len(fused) or GeneratorConfig.motion_blocks,
        motion_generator="modconv" if static or f"{motion}conv.weight" in shapes else "mlp",
        motion_weight=f"{motion}weight" in shapes,
        rendering=replace(rendering, decoder_hidden=_length(shapes, "decoder.net.0.weight")),
    )
    if "superresolution.block1.conv1.weight" in shapes:
        config = replace(
            config,
            sr_channels=(
                _length(shapes, "superresolution.block0.conv1.weight"),
                _length(shapes, "superresolution.block1.conv1.weight"),
            ),
            img_resolution=_length(shapes, "superresolution.block1.conv1.noise_const"),
        )
    elif static:
        raise Unfit("it has no super-resolution")
    return config


def discriminator_config(found: dict[str, Shapes]) -> DiscriminatorConfig:
    """Return the configuration of the discriminators that there are by the shapes of each; others will be fresh."""
    video = found.get("D_vid", {})
    shapes = found.get("D_img") or video
    weights = {side: f"b{side}.conv0.weight" for side in SIDES}
    widths = {side: _length(shapes, name) for side, name in weights.items() if name in shapes}
    if not widths:
        return DiscriminatorConfig()
    config = DiscriminatorConfig(
        channel_base=max(side * width for side, width in widths.items()),
        channel_max=max(widths.values()),
        mapping_layers=_mapping_layers(shapes) or DiscriminatorConfig.mapping_layers,
    )
    if not video:
        return config
    channels = [_length(video, name, 1) for name in video if name.endswith("fromrgb.weight")]
    return replace(
        config,
        video_dt=not channels or channels[0] == 7,  # two frames of three colours, and the time between them
        video_cameras="mapping.embed.weight" in video,
    )


def _length(shapes: Shapes, name: str, axis: int = 0) -> int:
    """Return the length of a tensor along an axis. Raises Unfit if there is no such tensor or axis."""
    shape = shapes.get(name, ())
    if len(shape) <= axis:
        raise Unfit(f"it lacks {name}")
    return shape[axis]


def _mapping_layers(shapes: Shapes, prefix: str = "") -> int:
    """Count the layers of a mapping network."""
    count = 0
    while count < MAX_LAYERS and f"{prefix}mapping.fc{count}.weight" in shapes:
        count += 1
    return count
