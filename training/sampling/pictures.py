"""From what the generator gives to pictures: images, depth, normals, grids of them."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import torch
from torch.nn.functional import normalize

from dnnlib.files import atomic_path
from training.cameras import make_label, split_label
from training.config import GeneratorConfig
from training.networks.superresolution import resize
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
SHOWN_DEPTHS = (0.02, 0.98)  # the quantiles between which depth has its colours
LEAST_DEPTH = 0.01  # that has all of them, world units: noise of a flat picture is no relief


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Turn floats [...] in [-1, 1] into uint8 of the same shape: clamped and truncated, as the reference's frames."""
    levels = images * 127.5 + 128
    return levels.clamp(0, 255).to(torch.uint8)


def depth_to_rgb(depth: torch.Tensor, near: float, far: float) -> torch.Tensor:
    """Colour depth [N, 1, H, W] in world units as uint8 [N, 3, H, W]: bright up to `near`, dark from `far` on."""
    colours = torch.tensor(DEPTH_COLOURS, dtype=torch.float32, device=depth.device)
    steps = len(DEPTH_COLOURS) - 1
    distance = far - depth.squeeze(1).float()
    nearness = distance / (far - near)
    place = nearness.clamp(0, 1) * steps
    lower = place.floor().clamp(max=steps - 1)
    fraction = (place - lower).unsqueeze(-1)
    index = lower.long()
    rgb = torch.lerp(colours[index], colours[index + 1], fraction)
    levels = rgb.round().to(torch.uint8)
    return levels.permute(0, 3, 1, 2).contiguous()


def normals_from_depth(depth: torch.Tensor, camera: torch.Tensor) -> torch.Tensor:
    """Return surface normals of depth maps.

    Args:
        depth: [N, 1, R, R], distance along the unit ray through each pixel's centre, world units; R >= 2.
        camera: labels [N, 25]; only the intrinsics matter.

    Returns:
        Unit vectors [N, 3, R, R] in camera axes (x right, y down, z forward) that face the camera, from finite
        differences of the unprojected points: central, one-sided at the border.
    """
    n, _, height, width = depth.shape
    _, intrinsics = split_label(camera)
    identity = torch.eye(4, dtype=camera.dtype, device=camera.device)
    at_origin = make_label(identity.expand(n, 4, 4), intrinsics)
    _, directions = camera_rays(at_origin, width)
    rays = directions.unflatten(1, (height, width))
    points = depth.movedim(1, -1) * rays
    down, right = torch.gradient(points, dim=(1, 2))
    normals = torch.linalg.cross(down, right, dim=-1)
    return normalize(normals, dim=-1).movedim(-1, 1)


def normals_to_rgb(normals: torch.Tensor) -> torch.Tensor:
    """Colour unit normals [N, 3, H, W] in camera axes as uint8: red to the right, green up, blue towards the camera."""
    signs = torch.tensor([1.0, -1.0, -1.0], device=normals.device)
    return to_uint8(normals * signs.view(3, 1, 1))


def depth_range(depth: torch.Tensor) -> tuple[float, float]:
    """Return between which distances depth [...] has its colours, world units: all but a few pixels lie there.

    Taken of a clip's first frame for all of it, so that colours do not change while the head does not.
    """
    near, far = depth.float().flatten().quantile(torch.tensor(SHOWN_DEPTHS, device=depth.device)).tolist()
    return near, max(far, near + LEAST_DEPTH)


def depth_layer(
    frames: Mapping[str, torch.Tensor], config: GeneratorConfig, shown: tuple[float, float]
) -> torch.Tensor:
    """Return depth as pictures uint8 [N, 3, R, R], of the size of the images.

    Args:
        frames: what `clips.generate` yields: `image_depth` [N, 1, r, r].
        shown: the distances between which depth has its colours, such as `depth_range`.
    """
    return depth_to_rgb(resize(frames["image_depth"].float(), config.img_resolution), *shown)


def normals_layer(frames: Mapping[str, torch.Tensor], config: GeneratorConfig) -> torch.Tensor:
    """Return normals as pictures uint8 [N, 3, R, R], of the size of the images.

    Args:
        frames: what `clips.generate` yields: `image_depth` [N, 1, r, r] and `camera` [N, 25].
    """
    normals = normals_from_depth(frames["image_depth"].float(), frames["camera"])
    return normals_to_rgb(normalize(resize(normals, config.img_resolution), dim=1))


def layer(
    name: str, frames: Mapping[str, torch.Tensor], config: GeneratorConfig, shown: tuple[float, float]
) -> torch.Tensor:
    """Return one of LAYERS as pictures uint8 [N, 3, R, R].

    Args:
        frames: what `clips.generate` yields.
        shown: the distances between which depth has its colours, such as `depth_range`.
    """
    if name == "rgb":
        return to_uint8(frames["image"])
    return depth_layer(frames, config, shown) if name == "depth" else normals_layer(frames, config)


def enlarged(images: torch.Tensor, size: int) -> torch.Tensor:
    """Return pictures uint8 [N, 3, R, R] as [N, 3, size, size]."""
    if images.shape[-1] == size:
        return images
    return resize(images.float(), size).round().clamp(0, 255).to(torch.uint8)


def image_grid(images: torch.Tensor, columns: int) -> np.ndarray:
    """Return images uint8 [N, 3, H, W], row by row, as one picture uint8 [rows * H, columns * W, 3]; the rest black."""
    count, channels, height, width = images.shape
    rows = math.ceil(count / columns)
    places = images.new_zeros(rows * columns, channels, height, width)
    places[:count] = images
    grid = places.unflatten(0, (rows, columns))
    grid = grid.permute(0, 3, 1, 4, 2)  # [rows, H, columns, W, 3]
    picture = grid.reshape(rows * height, columns * width, channels)
    return picture.cpu().numpy()


def save_png(path: Path, image: np.ndarray, comment: str | None = None) -> None:
    """Write an image uint8 [H, W, 3] atomically; `comment` is what the file's metadata say of it."""
    about = PIL.PngImagePlugin.PngInfo()
    if comment is not None:
        about.add_text("Comment", comment)
    with atomic_path(path) as temporary:
        PIL.Image.fromarray(image).save(temporary, format="PNG", pnginfo=about)
