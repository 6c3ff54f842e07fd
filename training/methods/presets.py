"""Presets: what `--cfg` changes of the defaults, before a method does."""

from typing import Any

# What each preset changes; keys are `section.field`. Weights: A.1.
PRESETS: dict[str, dict[str, Any]] = {
    "voxceleb": {"loss.lambda_reg": 0.60, "loss.gamma": 2.0},
    "celebvhq": {"loss.lambda_reg": 0.05, "loss.gamma": 4.0},
    "talkinghead1kh": {"loss.lambda_reg": 0.50, "loss.gamma": 2.0},
    # 64 x 64, small enough to learn heads on two CPU cores.
    "demo": {
        "generator.z_dim": 128,
        "generator.z_motion_dim": 64,
        "generator.w_dim": 128,
        "generator.motion_blocks": 4,
        "generator.plane_resolution": 64,
        "generator.plane_channels": 12,
        "generator.channel_base": 2048,
        "generator.channel_max": 96,
        "generator.img_resolution": 64,
        "generator.sr_channels": (48, 32),
        "generator.rendering.resolution": 32,
        "generator.rendering.depth_samples": 8,
        "generator.rendering.importance_samples": 8,
        "generator.rendering.decoder_hidden": 32,
        "generator.rendering.plane_axes": "orthogonal",
        "discriminator.channel_base": 1024,
        "discriminator.channel_max": 128,
        "discriminator.mapping_layers": 2,
        "loss.gamma": 1.0,
        "loss.lambda_reg": 0.25,
        "loss.blur_sigma": 2.0,
        "loss.blur_fade_factor": 0.625,
        "training.batch": 8,
        "training.ema_kimg_factor": 10 / 64,
        "training.reuse_fakes": True,
        "training.kimg": 200.0,
        "training.tick": 0.2,
        "training.snap": 10,
        "training.workers": 1,
    },
}
