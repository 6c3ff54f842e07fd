"""Every ablation of PV3D T. 2 and T. 3 (and the plane axes) as changes of the tiny configuration."""

from typing import Any

import torch

from tests.helpers import tiny
from training.config import Config
from training.networks.generator import Generator
from training.sampling.clips import ClipSpec, generate

CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "motion early": {"generator__motion_blocks": 1},
    "motion late": {"generator__motion_blocks": 3},
    "motion weight": {"generator__motion_weight": True},
    "motion mlp": {"generator__motion_generator": "mlp"},
    "motion mlp weight": {"generator__motion_generator": "mlp", "generator__motion_weight": True},
    "motion naive": {"generator__motion_generator": "naive"},
    "motion from z_a": {"generator__motion_code": "z_a"},
    "cameras All": {"generator__camera_mode": "All"},
    "cameras Non": {"generator__camera_mode": "Non"},
    "cameras Map": {"generator__camera_mode": "Map"},
    "generator without cameras": {"generator__camera_conditioning": False},
    "rendering at 4": {"generator__rendering__resolution": 4},
    "rendering at 16": {"generator__rendering__resolution": 16},
    "orthogonal planes": {"generator__rendering__plane_axes": "orthogonal"},
    "no image discriminator": {"discriminator__image": False},
    "no video discriminator": {"discriminator__video": False},
    "video without cameras": {"discriminator__video_cameras": False},
    "video without dt": {"discriminator__video_dt": False},
    "video without both": {"discriminator__video_cameras": False, "discriminator__video_dt": False},
}


def config(case: str) -> Config:
    """Return the tiny configuration with an ablation."""
    return tiny.config(**CASES[case])


def generator(case: str, dtype: torch.dtype = torch.float32) -> Generator:
    """Return the tiny generator of an ablation, without gradients."""
    return tiny.generator(dtype, **CASES[case])


def frames_of(
    G: Generator,
    *,
    z: torch.Tensor | None = None,
    z_motion: torch.Tensor | None = None,
    cameras: torch.Tensor | None = None,
    times: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return a clip of three frames [3, 3, 32, 32] as gen_videos.py makes it; what is not given is the same always."""
    dtype = G.decoder.net[0].weight.dtype
    clip = ClipSpec(
        z=tiny.normal(0, 8, dtype=dtype) if z is None else z,
        z_motion=tiny.normal(1, 8, dtype=dtype) if z_motion is None else z_motion,
        cameras=tiny.labels(2, 3, dtype=dtype) if cameras is None else cameras,
        times=torch.linspace(0, 1, 3, dtype=dtype) if times is None else times,
    )
    return torch.cat([out["image"] for out in generate(G, clip)])
