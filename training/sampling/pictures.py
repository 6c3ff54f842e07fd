"""From what the generator gives to pictures: images, depth, normals, grids of them."""

from collections.abc import Mapping

import numpy as np
import torch

from training.cameras import make_label, split_label
from training.config import GeneratorConfig
from training.rendering.rays import camera_rays

# Colours of depth, far to near: CIE lightness rises evenly from 8 to 97 while the hue turns from violet through red and
# orange to pale yellow, so that equal steps of depth look equally large, in print and to the colour-blind too.
DEPTH_COLOURS = (
    (27, 4, 79),
    (50, 7, 96),
    (74, 14, 105),
    (99, 21, 110),
    (125, 29, 110),
    (150, 39, 105),
    (173, 52, 96),
    (193, 67, 84),
    (209, 86, 69),
    (224, 104, 64),
    (235, 124, 61),
    (243, 145, 64),
    (249, 166, 75),
    (251, 188, 95),
    (252, 209, 118),
    (253, 230, 144),
    (254, 250, 176),
)


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Floats [...] in [-1, 1] -> uint8 of the same shape: clamped and truncated, as the reference stores its frames."""
    return (images * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def depth_to_rgb(depth: torch.Tensor, near: float, far: float) -> torch.Tensor:
    """Depth [N, 1, H, W] in world units -> uint8 [N, 3, H, W]: bright at `near` and before, dark at `far` and after."""
    colours = torch.tensor(DEPTH_COLOURS, dtype=torch.float32, device=depth.device)
    steps = len(DEPTH_COLOURS) - 1
    place = ((far - depth[:, 0].float()) / (far - near)).clamp(0, 1) * steps
    lower = place.floor().clamp(max=steps - 1).long()
    rgb = torch.lerp(colours[lower], colours[lower + 1], (place - lower).unsqueeze(-1))
    return rgb.round().to(torch.uint8).permute(0, 3, 1, 2).contiguous()


def normals_from_depth(depth: torch.Tensor, camera: torch.Tensor) -> torch.Tensor:
    """Surface normals of depth maps.

    Args:
        depth: [N, 1, R, R], distance along the unit ray through each pixel's centre, world units; R >= 2.
        camera: labels [N, 25]; only the intrinsics matter.

    Returns:
        Unit vectors [N, 3, R, R] in camera axes (x right, y down, z forward) that face the camera, from finite
        differences of the unprojected points: central, one-sided at the border.
    """
    _, intrinsics = split_label(camera)
    unmoved = torch.eye(4, dtype=camera.dtype, device=camera.device).expand(len(camera), 4, 4)
    _, directions = camera_rays(make_label(unmoved, intrinsics), depth.shape[-1])
    points = depth.movedim(1, -1) * directions.unflatten(1, depth.shape[-2:])
    down, right = torch.gradient(points, dim=(1, 2))
    return torch.nn.functional.normalize(torch.linalg.cross(down, right, dim=-1), dim=-1).movedim(-1, 1)


def normals_to_rgb(normals: torch.Tensor) -> torch.Tensor:
    """Unit normals [N, 3, H, W] in camera axes -> uint8: red to the right, green up, blue towards the camera."""
    flip = torch.tensor([1.0, -1.0, -1.0], device=normals.device).view(3, 1, 1)
    return to_uint8(normals * flip)


def depth_layers(frames: Mapping[str, torch.Tensor], config: GeneratorConfig) -> dict[str, torch.Tensor]:
    """Pictures of the geometry that `videos.generate` gives with its frames.

    Args:
        frames: `image_depth` [N, 1, r, r] and `camera` [N, 25].

    Returns:
        `depth` and `normals`, uint8 [N, 3, R, R] at the size of the images.
    """
    depth = frames["image_depth"].float()
    layers = {"depth": depth_to_rgb(_resize(depth, config.img_resolution), config.rendering.near, config.rendering.far)}
    normals = _resize(normals_from_depth(depth, frames["camera"]), config.img_resolution)
    layers["normals"] = normals_to_rgb(torch.nn.functional.normalize(normals, dim=1))
    return layers


def _resize(maps: torch.Tensor, side: int) -> torch.Tensor:
    return torch.nn.functional.interpolate(maps, (side, side), mode="bilinear", antialias=True)


def image_grid(images: torch.Tensor, columns: int) -> np.ndarray:
    """Images uint8 [N, 3, H, W], row by row, as one picture uint8 [rows * H, columns * W, 3]; empty places black."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    places = images.new_zeros(rows * columns, channels, height, width)
    places[:count] = images
    picture = places.unflatten(0, (rows, columns)).permute(0, 3, 1, 4, 2)  # [rows, H, columns, W, 3]
    return picture.reshape(rows * height, columns * width, channels).cpu().numpy()
