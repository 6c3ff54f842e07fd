"""Pictures of a scene: at full resolution those of pv3d, to the bit; of what moves, as many rays as are fast."""

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import torch

from dnnlib.errors import UserError
from pv3d import Model, Video
from training.cameras import resample_labels
from training.sampling import pictures, records
from training.sampling.clips import Geometry, clip_times
from training.sampling.drawing import layered
from training.sampling.options import SHAPE as SHAPE_LAYER
from training.sampling.options import SamplingOptions
from training.sampling.shading import shaded
from viewer.cameras import angles_of
from viewer.messages import FrameWish, VideoWish, camera_label
from viewer.scenes import COARSE_SHAPE, SHAPE, Scenes

MOVING_SECONDS = 0.045  # that a preview may take: twenty a second, with time left for the way to the page
GOOD_RAYS = 32  # a side, that may take as long as SLOW_SECONDS
SLOW_SECONDS = 0.1
FEWEST_RAYS = 16  # a side
RAY_STEP = 8  # between two numbers of rays a side
MOST_SHAPE_RAYS = 128  # a side, of the layer shape while something moves
SLOWER = 0.3  # of a slower measurement that counts: one slow picture says little of the next
MAX_WIDTH = 4096  # of a video, pixels: more than that, few players show
PNG_LEVEL = 1  # of compression: fast


class Superseded(Exception):
    """Somebody has asked for something newer."""


@dataclass
class Pace:
    """How long pictures of some layers take, so that previews are as fine as they can be while they are fast.

    Args:
        full: seconds of one at full resolution; None: not known yet.
        a_ray: seconds of a preview by the number of its rays.
    """

    full: float | None = None
    a_ray: float | None = None

    def rays(self, most: int) -> int | None:
        """Return how many rays a side a preview has, at most so many; None: it is as a still picture."""
        if self.full is not None and self.full <= MOVING_SECONDS:
            return None
        if self.a_ray is None:
            return min(FEWEST_RAYS, most)
        quick, slow = (int((seconds / self.a_ray) ** 0.5) for seconds in (MOVING_SECONDS, SLOW_SECONDS))
        affordable = max(quick, min(slow, GOOD_RAYS)) // RAY_STEP * RAY_STEP
        return min(max(affordable, FEWEST_RAYS), most)

    def learn(self, seconds: float, rays: int | None) -> None:
        """Take into account how long a picture took."""
        if rays is None:
            self.full = _updated(self.full, seconds)
        else:
            self.a_ray = _updated(self.a_ray, seconds / rays**2)


def _updated(known: float | None, seen: float) -> float:
    return seen if known is None or seen < known else known + SLOWER * (seen - known)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as a PNG file, and what the page says of it."""

    png: bytes
    about: dict[str, Any]


@dataclass
class Artist:
    """Draws the pictures of one model."""

    model: Model
    scenes: Scenes = field(init=False)
    paces: dict[tuple[str, ...], Pace] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scenes = Scenes(self.model)

    def draw(self, wish: FrameWish, is_stale: Callable[[], bool] = lambda: False) -> Picture:
        """Return the picture that a page wishes.

        Args:
            is_stale: whether somebody has asked for something newer. It is asked between the steps of still pictures;
                those of moving ones are quick, and a page always asks for the next one before it has this one.

        Raises:
            Superseded: so it was. UserError: there are no such latents, or no surface.
        """
        label = camera_label(wish.camera)
        pace = self.paces.setdefault(wish.layers, Pace())
        geometry = self.scenes.geometry(wish.scene)
        _stop_if(wish, is_stale)
        shown = self.scenes.depth_range(wish.scene) if "depth" in wish.layers else (0.0, 1.0)
        rays = pace.rays(self._most_rays(wish.layers)) if wish.is_moving else None
        is_final = rays is None
        if SHAPE_LAYER in wish.layers:  # before the time is taken: while a camera moves, it is there
            self._surface(wish)
            is_final = is_final and self.scenes.has_surface(wish.scene, SHAPE)
            _stop_if(wish, is_stale)
        started = time.perf_counter()
        drawn = self._still(wish, geometry, label, shown) if rays is None else self._preview(wish, label, shown, rays)
        pace.learn(time.perf_counter() - started, rays)
        about = {
            "camera": label.tolist(),
            "angles": vars(angles_of(label)),
            "rays": rays,
            "final": is_final,
            "trained_rays": self.model.G.config.rendering.resolution,
            "depth_range": list(shown) if "depth" in wish.layers else None,
            "layers": list(wish.layers),
        }
        return Picture(png=png_of(drawn), about=about)

    def _most_rays(self, layers: tuple[str, ...]) -> int:
        """Return how many rays a side a preview has at most."""
        if layers == (SHAPE_LAYER,):
            return min(MOST_SHAPE_RAYS, self.model.G.config.img_resolution)
        return self.model.G.config.rendering.resolution

    def _surface(self, wish: FrameWish) -> Any:
        """Return the surface of a wish; while something moves, a coarse one unless the fine one is there."""
        is_coarse = wish.is_moving and not self.scenes.has_surface(wish.scene, SHAPE)
        return self.scenes.surface(wish.scene, COARSE_SHAPE if is_coarse else SHAPE)

    def _still(
        self, wish: FrameWish, geometry: Geometry, label: torch.Tensor, shown: tuple[float, float]
    ) -> torch.Tensor:
        """Return layers side by side, uint8 [3, R, R * layers]: those of pv3d.Video."""
        frames = _seen(geometry, label, None, with_image="rgb" in wish.layers)
        video = Video(
            image=frames.get("image", frames["image_raw"]),
            image_raw=frames["image_raw"],
            depth=frames["image_depth"],
            cameras=frames["camera"],
            times=torch.tensor([wish.scene.time]),
            config=self.model.G.config,
        )
        drawn = []
        for name in wish.layers:
            if name == SHAPE_LAYER:
                drawn.append(shaded(self._surface(wish), label, self.model.G.config.img_resolution).cpu())
            else:
                drawn.append(video.pictures(name, depth_range=shown if name == "depth" else None)[0])
        return torch.cat(drawn, dim=2)

    def _preview(self, wish: FrameWish, label: torch.Tensor, shown: tuple[float, float], rays: int) -> torch.Tensor:
        """Return layers side by side, uint8 [3, r, r * layers], as rays see them: without super-resolution."""
        config = replace(self.model.G.config, img_resolution=rays)
        drawn = []
        frames: dict[str, torch.Tensor] = {}
        if wish.layers != (SHAPE_LAYER,):
            frames = _seen(self.scenes.geometry(wish.scene), label, rays, with_image=False)
            frames["image"] = frames["image_raw"]
        for name in wish.layers:
            if name == SHAPE_LAYER:
                drawn.append(shaded(self._surface(wish), label, rays, rays_a_side=1).cpu())
            else:
                drawn.append(pictures.layer(name, frames, config, shown)[0].cpu())
        return torch.cat(drawn, dim=2)

    # --- Videos -------------------------------------------------------------------------------------------------------

    def require_size(self, wish: VideoWish) -> None:
        """Raise a UserError if the frames of a video would be larger than MAX_WIDTH."""
        width = self.model.G.config.img_resolution * wish.scale * len(wish.layers)
        if width > MAX_WIDTH:
            raise UserError(f"The video would be {width} pixels wide, more than {MAX_WIDTH}: choose a smaller size.")

    def frames(self, wish: VideoWish) -> Iterator[np.ndarray]:
        """Yield the frames uint8 [S, S * layers, 3] of a video, made one at a time by what gen_videos.py makes them by.

        Raises:
            UserError: no way between two cameras is the shortest; there are no such latents, or no surface.
        """
        G = self.scenes.generator(wish.scene)
        labels = resample_labels(wish.labels, wish.frames)
        times = clip_times(G, wish.frames) if wish.plays else torch.full([wish.frames], wish.scene.time)
        clip = self.scenes.clip(wish.scene, labels, times, wish.blends)
        sampling = SamplingOptions(psi=wish.scene.psi, frames_per_batch=1)
        shown = self.scenes.depth_range(wish.scene) if "depth" in wish.layers else None
        side = G.config.img_resolution * wish.scale
        for drawn in layered(G, clip, sampling, wish.layers, shape=SHAPE, shown=shown, side=side):
            yield drawn.permute(1, 2, 0).numpy()


@torch.inference_mode()
def _seen(geometry: Geometry, label: torch.Tensor, rays: int | None, with_image: bool) -> dict[str, torch.Tensor]:
    """Return what a camera [25] sees of planes, as batches of `clips.generate` are."""
    camera = label[None].to(geometry.planes.device)
    frames = geometry.G.render_planes(
        geometry.planes,
        geometry.ws,
        camera,
        neural_rendering_resolution=rays,
        with_image=with_image,
        shift=geometry.shift,
    )
    return {**frames, "camera": camera}


def _stop_if(wish: FrameWish, is_stale: Callable[[], bool]) -> None:
    if not wish.is_moving and is_stale():
        raise Superseded


def png_of(image: torch.Tensor) -> bytes:
    """Return a picture uint8 [3, H, W] as a PNG file that says what it is."""
    about = PIL.PngImagePlugin.PngInfo()
    about.add_text("Comment", records.SYNTHETIC)
    file = io.BytesIO()
    array = image.permute(1, 2, 0).numpy()
    PIL.Image.fromarray(array).save(file, format="PNG", pnginfo=about, compress_level=PNG_LEVEL)
    return file.getvalue()
