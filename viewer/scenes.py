"""From what the page asks for to planes: a model with the latents loaded for it, and what is kept of it."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import torch

import pv3d
from applications.latents import Latents, digest_of, driving_dim, load_latents, tuned_generator
from dnnlib.errors import UserError
from pv3d import Model
from training.data.streams import Stream
from training.networks.generator import Generator
from training.sampling import pictures
from training.sampling.clips import ClipSpec, Geometry, clip_geometry, latent_code
from training.sampling.latent_paths import between, require_motion_apart
from training.sampling.options import SamplingOptions, Shape
from training.sampling.shading import Surface
from training.sampling.surfaces import lattice_of, surface_level
from viewer.messages import Appearance, Scene

KEPT_BYTES = 2**28  # of planes: those of a second of a playing clip, so that it can be turned while it plays
KEPT_SURFACES = 2
KEPT_RANGES = 64
MAX_LATENTS = 4  # files; the oldest goes first
SHAPE = Shape()  # as of gen_videos.py
COARSE_SHAPE = Shape(resolution=48)  # while something changes

Value = TypeVar("Value")


@dataclass
class Kept(Generic[Value]):
    """The values that were made last, up to a size; each is made once while it is kept.

    Args:
        most: how large they may be together; the last one is kept in any case.
        size: of a value.
    """

    most: float
    size: Callable[[Value], float] = lambda _: 1
    values: OrderedDict[Hashable, Value] = field(default_factory=OrderedDict)
    made: int = 0  # how often a value was made

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key, which is made if it is not kept."""
        if key not in self.values:
            self.values[key] = make()
            self.made += 1
            while len(self.values) > 1 and sum(map(self.size, self.values.values())) > self.most:
                self.values.popitem(last=False)
        self.values.move_to_end(key)
        return self.values[key]


def _plane_bytes(geometry: Geometry) -> int:
    return geometry.planes.numel() * geometry.planes.element_size()


def _way(first: torch.Tensor, second: torch.Tensor, frames: int) -> torch.Tensor:
    """Return latents [frames, num_ws, w_dim] from one appearance to the other. UserError if one of them changes."""
    if first.ndim == 3 or second.ndim == 3:
        raise UserError("The appearance of these latents changes over time itself: leave the blend as it is.")
    return between(torch.stack([first, second]), frames)


class Scenes:
    """The scenes of one model: their planes are kept, so that only rays are computed while a camera moves."""

    def __init__(self, model: Model):
        self.model = model
        self.latents: OrderedDict[str, Latents] = OrderedDict()
        self.tuned: dict[str, Generator] = {}
        self.planes: Kept[Geometry] = Kept(most=KEPT_BYTES, size=_plane_bytes)
        self.surfaces: Kept[Surface] = Kept(most=KEPT_SURFACES)
        self.levels: Kept[float] = Kept(most=KEPT_RANGES)
        self.ranges: Kept[tuple[float, float]] = Kept(most=KEPT_RANGES)

    @cached_property
    def digest(self) -> str:
        """The digest of the model's weights, which latents name."""
        return digest_of(self.model.G)

    @property
    def can_blend(self) -> bool:
        """Whether appearances are latents of their own."""
        return not self.model.G.config.maps_motion

    def add_latents(self, name: str, path: Path) -> Latents:
        """Load a file of latents, without running anything of it. UserError if it is of another model, or damaged."""
        found = load_latents(path, self.model.G, self.digest)
        self.latents[name] = found
        if found.tuned:
            self.tuned[name] = tuned_generator(self.model.G, found)
        while len(self.latents) > MAX_LATENTS:
            oldest, _ = self.latents.popitem(last=False)
            self.tuned.pop(oldest, None)
        return found

    # --- Clips --------------------------------------------------------------------------------------------------------

    def generator(self, scene: Scene) -> Generator:
        """Return the generator of a scene: the model's, or one that was tuned for its first head."""
        return self.tuned.get(scene.first.latents or "", self.model.G)

    def clip(self, scene: Scene, cameras: torch.Tensor, times: torch.Tensor, blends: bool = False) -> ClipSpec:
        """Return a scene's clip, seen by cameras [T, 25] at times [T].

        Codes are mapped with the frontal camera, so that a head is the same from everywhere; where motions are no
        latents of their own (naive motion generator), with the first of these cameras.

        Args:
            blends: whether the first head becomes the second, evenly; else the scene's blend stays.
        """
        if not self.can_blend:
            return self._mapped_clip(scene, cameras, times)
        rows = self._rows(scene, times)
        ws = self._ws(scene.first, rows)
        if scene.second is not None:
            second = self._ws(scene.second, rows)
            ws = _way(ws, second, len(times)) if blends else torch.lerp(ws, second, scene.blend)
        if scene.motion is None:
            own = self._latents(scene.first)
            return ClipSpec(ws=ws, z_motion=own.z_motion[rows], cameras=cameras, times=own.times[rows])
        return ClipSpec(ws=ws, z_motion=self._motion(scene), cameras=cameras, times=times)

    def _mapped_clip(self, scene: Scene, cameras: torch.Tensor, times: torch.Tensor) -> ClipSpec:
        if scene.second is not None or scene.first.seed is None:
            require_motion_apart(self.model.G)
        assert scene.first.seed is not None and scene.motion is not None
        code, motion = self.model.appearance(scene.first.seed), self.model.motion(scene.motion)
        return ClipSpec(z=code, z_motion=motion, cameras=cameras, times=times)

    def _motion(self, scene: Scene) -> torch.Tensor:
        """Return the code [D] that drives the motion of a seed."""
        assert scene.motion is not None
        if scene.first.seed is None:
            return latent_code(scene.motion, driving_dim(self.model.G), Stream.MOTION)
        return self.model.G.motion_code(self.model.appearance(scene.first.seed), self.model.motion(scene.motion))

    def _rows(self, scene: Scene, times: torch.Tensor) -> torch.Tensor:
        """Return which of the latents' frames are shown at times [T]: the nearest ones."""
        frames = 1 if scene.first.latents is None else len(self._latents(scene.first))
        share = times / (self.model.G.max_time or 1.0)
        return (share.clamp(0, 1) * (frames - 1)).round().long()

    def _ws(self, appearance: Appearance, rows: torch.Tensor) -> torch.Tensor:
        """Return the intermediate latents [num_ws, w_dim] of an appearance, or [T, num_ws, w_dim] of these frames."""
        if appearance.latents is None:
            assert appearance.seed is not None
            return self.model.w(self.model.appearance(appearance.seed)).ws
        own = self._latents(appearance)
        ws = own.ws if own.ws.ndim == 2 else own.ws[rows.clamp(max=len(own) - 1)]
        return ws.to(self.model.device)

    def _latents(self, appearance: Appearance) -> Latents:
        found = self.latents.get(appearance.latents or "")
        if found is None:
            raise UserError("These latents are not loaded for this model: open their file again, or choose a seed.")
        return found

    # --- What is kept -------------------------------------------------------------------------------------------------

    def geometry(self, scene: Scene) -> Geometry:
        """Return the planes of a scene."""
        return self.planes.get(scene, lambda: self._geometry(scene))

    def _geometry(self, scene: Scene) -> Geometry:
        clip = self.clip(scene, pv3d.frontal()[None], torch.tensor([scene.time], dtype=torch.float32))
        return next(clip_geometry(self.generator(scene), clip, SamplingOptions(psi=scene.psi)))

    def depth_range(self, scene: Scene) -> tuple[float, float]:
        """Return the distances between which depth has its colours: those seen from the front when time is 0.

        So colours change neither while the camera moves, nor while a head does.
        """
        start = replace(scene, time=0.0)
        return self.ranges.get(start, lambda: self._depth_range(start))

    def _depth_range(self, scene: Scene) -> tuple[float, float]:
        return pictures.depth_range(self.geometry(scene).view(pv3d.frontal())["image_depth"])

    def surface(self, scene: Scene, shape: Shape) -> Surface:
        """Return the surface of a scene, at the level of the one when time is 0, as in gen_videos.py."""
        return self.surfaces.get((scene, shape.resolution), lambda: self._surface(scene, shape))

    def has_surface(self, scene: Scene, shape: Shape) -> bool:
        """Return whether a surface is kept."""
        return (scene, shape.resolution) in self.surfaces.values

    def _surface(self, scene: Scene, shape: Shape) -> Surface:
        start = replace(scene, time=0.0)
        level = self.levels.get(start, lambda: self._level(start))
        lattice = lattice_of(self.geometry(scene), level=level, resolution=shape.resolution)
        return lattice.surface(shape.all_parts)

    def _level(self, scene: Scene) -> float:
        try:
            return surface_level(self.geometry(scene))
        except UserError as error:
            raise UserError("Rays from the front meet no surface, so there is no shape to show.") from error
