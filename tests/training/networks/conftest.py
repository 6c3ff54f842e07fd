"""The golden scene: the paper's generator on the golden inputs, once for all tests, in float32 and in float64."""

from dataclasses import dataclass

import pytest
import torch

from tests.helpers import float64, full, golden
from tests.helpers.recording import Call, recorded
from training.networks.generator import Generator

BLOCKS = (4, 8, 16, 32, 64, 128, 256)


@dataclass
class Scene:
    """What the generator made of two samples, and on the way."""

    generator: Generator
    dtype: torch.dtype
    ws: torch.Tensor  # [2, 14, 512]
    blocks: dict[str, list[Call]]  # of the backbone: (features, image) by name
    planes: torch.Tensor  # [2, 3, 32, 256, 256]
    features: torch.Tensor  # [2, 32, 64, 64], rendered
    first_upscaled: Call | None  # of the first super-resolution block: (features, image)
    frames: dict[str, torch.Tensor]  # what synthesis returns


def given(name: str, dtype: torch.dtype) -> torch.Tensor:
    """An input of the golden scene."""
    return golden.tensor("generator", name, dtype)


@torch.no_grad()
def make_scene(generator: Generator, dtype: torch.dtype) -> Scene:
    z, z_motion, t, camera = (given(name, dtype) for name in ("z", "z_motion", "t", "camera"))
    inside = ["to_img_raw"] + (["superresolution.block0"] if generator.superresolution is not None else [])
    with recorded(generator.backbone.synthesis, *(f"b{r}" for r in BLOCKS)) as blocks:
        ws = generator.mapping(z, camera)
        planes = generator.planes(ws, z_motion, t)
    with recorded(generator, *inside) as calls:
        frames = generator.render_planes(planes, ws, camera, with_points=True)
    upscaled = calls["superresolution.block0"][0] if len(inside) > 1 else None
    return Scene(generator, dtype, ws, blocks, planes, calls["to_img_raw"][0].inputs[0], upscaled, frames)


@pytest.fixture(scope="session")
def scene(generator) -> Scene:
    """The golden scene in float32."""
    return make_scene(generator, torch.float32)


@pytest.fixture(scope="session")
def scene64() -> Scene:
    """The golden scene in float64, without super-resolution, which takes longest and is there in float32."""
    generator = full.generator(torch.float64)
    generator.superresolution = None
    with float64.fast_convolutions():
        return make_scene(generator, torch.float64)
