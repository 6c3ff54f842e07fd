"""Clips from a generator: codes from seeds, cameras over time, frames one batch at a time.

The one path that gen_videos.py, the training loop's pictures and metrics share. Results depend on seeds and cameras
alone, not on how frames are batched.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from operator import itemgetter

import numpy as np
import torch

from training.cameras import canonical_label, condition_cameras
from training.data.streams import Stream
from training.networks.generator import Generator
from training.sampling.options import SamplingOptions

STATIC = "The model is static: nothing but the camera moves."
OPAQUE = 0.5  # opacity above which a ray meets a surface


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """One clip to make: T frames of one appearance and one motion.

    The appearance is a code z, which is mapped, or intermediate latents ws; these come with the code that drives the
    motion of each frame (`Generator.motion_code`).
    """

    z: torch.Tensor | None = None  # [z_dim]
    ws: torch.Tensor | None = None  # [num_ws, w_dim] or, one a frame, [T, num_ws, w_dim], in place of z
    z_motion: torch.Tensor  # [z_motion_dim]; with ws, [T, D] or [D]
    cameras: torch.Tensor  # [T, 25]
    times: torch.Tensor  # [T] in [0, 1], or on from there where motion moves latents
    mapped_with: torch.Tensor | None = None  # camera [25] that z is mapped with; None: by the model's camera mode

    @property
    def mapping_cameras(self) -> torch.Tensor:
        """Cameras [T, 25] of which the mapping network sees what the model's camera mode lets it."""
        return self.cameras if self.mapped_with is None else self.mapped_with.expand(len(self.cameras), -1)


def latent_code(seed: int, dim: int, stream: int) -> torch.Tensor:
    """Return the latent code [dim] of a seed; `stream` Stream.APPEARANCE or Stream.MOTION."""
    random = np.random.default_rng([seed, stream])
    return torch.from_numpy(random.standard_normal(dim, dtype=np.float32))


def frame_times(frames: int, end: float = 1.0) -> torch.Tensor:
    """Return evenly spaced times [frames] from 0 to `end`."""
    return torch.linspace(0, end, frames)


def clip_times(G: Generator, frames: int) -> torch.Tensor:
    """Return the times [frames] of a video: evenly up to the greatest trained one; of a chain, a step each."""
    if G.chain is not None:
        return torch.arange(frames) / G.chain.steps
    return frame_times(frames, G.max_time)


def clip_spec(G: Generator, seed: int, motion_seed: int, cameras: torch.Tensor) -> ClipSpec:
    """Return the clip of two seeds seen by cameras [T, 25], at the times of `clip_times`."""
    return ClipSpec(
        z=latent_code(seed, G.config.z_dim, Stream.APPEARANCE),
        z_motion=latent_code(motion_seed, G.config.z_motion_dim, Stream.MOTION),
        cameras=cameras,
        times=clip_times(G, len(cameras)),
    )


def mapped_appearance(
    G: Generator, z: torch.Tensor, cameras: torch.Tensor, options: SamplingOptions = SamplingOptions()
) -> torch.Tensor:
    """Return intermediate latents of a code z [z_dim] for a clip seen by cameras [T, 25].

    They are [num_ws, w_dim], or one a frame, [T, num_ws, w_dim], where the mapping network sees several cameras. The
    naive motion generator maps the motion as well, so that it has none.
    """
    device = next(G.parameters()).device
    for_mapping, _ = condition_cameras(cameras[None], G.config.camera_mode, training=False)
    seen = for_mapping[0].to(device)
    codes = z.to(device).expand(len(seen), -1)
    ws = G.mapping(codes, seen, truncation_psi=options.psi, truncation_cutoff=options.cutoff)
    return ws[0] if (seen == seen[0]).all() else ws


def trained_frames(G: Generator, window: int) -> int:
    """Return how many frames of a clip a generator was trained on, with windows of `window` frames."""
    return round(G.max_time * (window - 1)) + 1


def slow_motion(G: Generator, window: int, frames: int) -> str | None:
    """Return a sentence if so many frames are more than those that the generator was trained on, or nothing moves.

    None where it was trained on whole windows of `window` frames: then any number of frames shows the same stretch of
    time, as in the paper.
    """
    if G.config.is_static:
        return STATIC
    trained = trained_frames(G, window)
    if G.chain is not None and frames > trained:
        return f"The model was trained on clips of {trained} frames: further ones go on from there, and may drift."
    if G.max_time == 1 or frames <= trained:
        return None
    if trained == 1:
        return "The model was trained on single frames: nothing but the camera moves."
    return (
        f"The model was trained on clips of up to {trained} frames: {frames} frames show that stretch of time slowed "
        f"down, --frames={trained} at the speed of the data."
    )


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Latents of n consecutive frames: ws [n or 1, num_ws, w_dim], z_motion [n, D], t [n, 1]; `rows` of the clip."""

    ws: torch.Tensor
    z_motion: torch.Tensor
    t: torch.Tensor
    rows: slice


def _batches(G: Generator, clip: ClipSpec, options: SamplingOptions) -> Iterator[_Batch]:
    if clip.ws is not None:
        yield from _latent_batches(G, clip.ws, clip, options)
        return
    assert clip.z is not None
    if G.chain is not None:
        yield from _latent_batches(G, mapped_appearance(G, clip.z, clip.mapping_cameras), clip, options)
    else:
        yield from _mapped_batches(G, clip.z, clip, options)


# A generator under inference mode keeps what it yielded last. What is made of latents takes more memory than they do,
# so it comes from `map`, which keeps nothing: in a grid, clips wait for each other between their frames.
_inferred_batches = torch.inference_mode()(_batches)


def _latent_batches(G: Generator, ws: torch.Tensor, clip: ClipSpec, options: SamplingOptions) -> Iterator[_Batch]:
    """Yield the batches of intermediate latents, as of ClipSpec; truncation moves them towards the mean latent.

    It does so behind a motion of the latents, all of whose frames are made at once.
    """
    device = next(G.parameters()).device
    z_motion = clip.z_motion.to(device).expand(len(clip.times), -1)
    times = clip.times.to(device).unsqueeze(1)
    ws = ws.to(device)
    if G.chain is not None:
        ws = G.moved(ws if ws.ndim == 3 else ws.unsqueeze(0), z_motion, times)
    ws = G.backbone.mapping.truncated(ws, options.psi, options.cutoff)
    for start in range(0, len(times), options.frames_per_batch):
        rows = slice(start, start + options.frames_per_batch)
        appearance = ws[rows] if ws.ndim == 3 else ws.unsqueeze(0)
        yield _Batch(ws=appearance, z_motion=z_motion[rows], t=times[rows], rows=rows)


def _mapped_batches(G: Generator, code: torch.Tensor, clip: ClipSpec, options: SamplingOptions) -> Iterator[_Batch]:
    """Yield the batches of an appearance's code [z_dim]."""
    device = next(G.parameters()).device
    for_mapping, _ = condition_cameras(clip.mapping_cameras[None], G.config.camera_mode, training=False)
    cameras = for_mapping[0].to(device)
    one_camera = torch.equal(cameras, cameras[:1].expand_as(cameras))
    # One appearance for all frames is mapped, and modulates the weights, once a batch.
    one_appearance = one_camera and not G.config.maps_motion
    for start in range(0, len(cameras), options.frames_per_batch):
        rows = slice(start, start + options.frames_per_batch)
        camera = cameras[rows]
        n = len(camera)
        z = code.to(device).expand(n, -1)
        z_motion = G.motion_code(z, clip.z_motion.to(device).expand(n, -1))
        t = clip.times[rows].to(device).reshape(n, 1)
        mapped = slice(1 if one_appearance else n)
        ws = G.mapping(
            z[mapped],
            camera[mapped],
            z_motion[mapped],
            t[mapped],
            truncation_psi=options.psi,
            truncation_cutoff=options.cutoff,
        )
        yield _Batch(ws=ws, z_motion=z_motion, t=t, rows=rows)


def generate(
    G: Generator, clip: ClipSpec, options: SamplingOptions = SamplingOptions()
) -> Iterator[dict[str, torch.Tensor]]:
    """Return batches of frames of a clip, in order: what `Generator.synthesis` returns, plus `camera` [n, 25]."""
    return map(itemgetter(0), generate_views(G, clip, [clip.cameras], options))


def whole(G: Generator, clip: ClipSpec, options: SamplingOptions = SamplingOptions()) -> dict[str, torch.Tensor]:
    """Return all frames of a clip, made in one pass, with gradients unless they are off: what `generate` yields."""
    _, cameras = condition_cameras(clip.cameras[None], G.config.camera_mode, training=False)
    (batch,) = _batches(G, clip, replace(options, frames_per_batch=len(clip.times)))
    (seen,) = _views(G, batch, paths=[cameras[0]], options=options, with_points=False)
    return seen


def generate_views(
    G: Generator,
    clip: ClipSpec,
    views: Sequence[torch.Tensor],
    options: SamplingOptions = SamplingOptions(),
    with_points: bool = False,
) -> Iterator[list[dict[str, torch.Tensor]]]:
    """Return batches of frames of one clip seen by several camera paths [T, 25]: for each, what `generate` yields.

    The mapping network sees the clip's own cameras, so that only the viewpoint differs; a model that maps each frame's
    own camera maps each view with its own. `with_points` adds surface points and opacity (`Generator.synthesis`).
    """
    if G.config.maps_each_camera and clip.ws is None and clip.mapped_with is None:
        alone = [_views_of_one_mapping(G, replace(clip, cameras=view), [view], options, with_points) for view in views]
        return map(_together, *alone)
    return _views_of_one_mapping(G, clip, views, options, with_points)


def _together(*batches: list[dict[str, torch.Tensor]]) -> list[dict[str, torch.Tensor]]:
    """Return the batch of several views of batches of one view each."""
    return [view for (view,) in batches]


def _views_of_one_mapping(
    G: Generator, clip: ClipSpec, views: Sequence[torch.Tensor], options: SamplingOptions, with_points: bool
) -> Iterator[list[dict[str, torch.Tensor]]]:
    """Return what `generate_views` does, of latents that are mapped with the clip's cameras."""
    paths = []
    for view in views:
        _, for_rendering = condition_cameras(view[None], G.config.camera_mode, training=False)
        paths.append(for_rendering[0])
    seen = partial(_views, G, paths=paths, options=options, with_points=with_points)
    return map(torch.inference_mode()(seen), _inferred_batches(G, clip, options))


def _views(
    G: Generator, batch: _Batch, *, paths: list[torch.Tensor], options: SamplingOptions, with_points: bool
) -> list[dict[str, torch.Tensor]]:
    """Return the frames of a batch for each camera path [T, 25]."""
    planes = G.planes(batch.ws, batch.z_motion, batch.t)
    shift = G.shift(batch.z_motion, batch.t)
    seen = []
    for path in paths:
        camera = path[batch.rows].to(planes.device)
        frames = G.render_planes(
            planes,
            batch.ws,
            camera,
            neural_rendering_resolution=options.neural_rendering_resolution,
            with_points=with_points,
            shift=shift,
        )
        seen.append({**frames, "camera": camera})
    return seen


@dataclass(frozen=True, kw_only=True, eq=False)
class Geometry:
    """The geometry of a frame.

    Args:
        planes: of the generator, [1, 3, C, R, R].
        ws: latents [1, num_ws, w_dim].
        camera: [25], that the frame is seen from.
        side: of ray grids.
        shift: of the generator, [1, hidden], if it has one.
    """

    G: Generator
    planes: torch.Tensor
    ws: torch.Tensor
    camera: torch.Tensor
    side: int
    shift: torch.Tensor | None = None

    def density(self, points: torch.Tensor) -> torch.Tensor:
        """Return the raw densities [M] at world points [M, 3]."""
        return self.G.sample_planes(self.planes, points.unsqueeze(0), self.shift)["sigma"].reshape(-1)

    @torch.inference_mode()
    def view(self, camera: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the frame [1, ...] that a camera [25] sees, with points and opacity, as of `Generator.synthesis`."""
        label = camera[None].to(self.planes.device)
        return self.G.render_planes(
            self.planes,
            self.ws,
            label,
            neural_rendering_resolution=self.side,
            with_points=True,
            shift=self.shift,
        )

    @cached_property
    def surface(self) -> torch.Tensor:
        """Where the rays of a frontal camera meet the surface: world points [M, 3].

        Of the middle of the picture alone, where the head is; rays that pass everything meet none.
        """
        view = self.view(canonical_label())
        middle = slice(self.side // 4, self.side - self.side // 4)
        is_met = view["weight_total"][0, middle, middle, 0] > OPAQUE
        return view["xyz"][0, middle, middle][is_met]


def clip_geometry(
    G: Generator, clip: ClipSpec, options: SamplingOptions = SamplingOptions(), chosen: Sequence[int] | None = None
) -> Iterator[Geometry]:
    """Return the geometry of each frame of a clip, or of the chosen ones, in order: each is the same either way."""
    side = options.neural_rendering_resolution or G.config.rendering.resolution
    _, cameras = condition_cameras(clip.cameras[None], G.config.camera_mode, training=False)
    batches = _inferred_batches(G, clip, replace(options, frames_per_batch=1))
    wanted = (batch for index, batch in enumerate(batches) if chosen is None or index in chosen)
    return map(partial(_geometry, G, cameras=cameras[0], side=side), wanted)


@torch.inference_mode()
def _geometry(G: Generator, batch: _Batch, *, cameras: torch.Tensor, side: int) -> Geometry:
    """Return the geometry of a batch of one frame, of a clip seen by cameras [T, 25]."""
    planes = G.planes(batch.ws, batch.z_motion, batch.t)
    return Geometry(
        G=G,
        planes=planes,
        ws=batch.ws,
        camera=cameras[batch.rows][0],
        side=side,
        shift=G.shift(batch.z_motion, batch.t),
    )
