"""A model: videos, single frames and meshes of its generator."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch

from applications import style_mixing
from applications.latents import driving_dim
from dnnlib.errors import UserError
from dnnlib.options import options_of
from pv3d.appearances import W, clip_spec, latents_of, motion_dim
from pv3d.arguments import (
    as_cameras,
    as_one,
    as_rows,
    as_times,
    clip_of,
    require_count,
    require_seed,
    require_truncation,
    rows_of,
)
from pv3d.video import Video
from torch_utils import runtime
from training.cameras import CAMERA_DIM
from training.checkpoints.snapshots import Snapshot
from training.config import RenderingConfig
from training.data.streams import Stream
from training.networks.generator import Generator
from training.sampling import mesh
from training.sampling.camera_paths import camera_path
from training.sampling.clips import ClipSpec, clip_times, generate, latent_code, mapped_appearance, whole
from training.sampling.latent_paths import between, require_motion_apart
from training.sampling.options import PAPER_FRAMES, SamplingOptions, Shape
from training.sampling.surfaces import Mesh, lattices

RAY_GRID = next(option for option in options_of(RenderingConfig) if option.key == "resolution")  # says what is possible


class Model:
    """A generator for inference, on its device.

    An appearance is a code z [z_dim], or intermediate latents (`W`); a motion is a code [z_motion_dim]. Both may be any
    tensors; `appearance` and `motion` give those of seeds, which are the seeds of `gen_videos.py`. Arguments of the
    wrong shape are a ValueError that names them.

    Args of several methods:
        truncation: psi: 1 is none, 0 the mean appearance.
        truncation_cutoff: how many rows of the latents, from the first, are truncated; None: all.
        neural_rendering_resolution: rays a side; None: as trained.
        t: in [0, 1].

    Attributes:
        G: the network, with `z_dim`, `z_motion_dim`, `w_dim`, `num_ws`, and
            `forward(z, camera, z_motion, t)`.
        config: how it was made and trained.
        camera_bank: camera paths [M, F, 25] of the data.
    """

    def __init__(self, snapshot: Snapshot):
        self.G: Generator = snapshot.G
        self.config = snapshot.config
        self.camera_bank = snapshot.camera_bank

    def __repr__(self) -> str:
        side = self.G.config.img_resolution
        return f"<pv3d.Model of {side} x {side} pixels on {self.device}>"

    @property
    def device(self) -> torch.device:
        """Where it computes, and where what it makes lies."""
        return next(self.G.parameters()).device

    # Codes and cameras

    def appearance(self, seed: int) -> torch.Tensor:
        """Return the appearance code [z_dim] of a seed."""
        return latent_code(require_seed(seed), self.G.z_dim, Stream.APPEARANCE)

    def motion(self, seed: int) -> torch.Tensor:
        """Return the motion code [z_motion_dim] of a seed."""
        return latent_code(require_seed(seed), self.G.z_motion_dim, Stream.MOTION)

    def cameras(self, seed: int, frames: int = PAPER_FRAMES) -> torch.Tensor:
        """Return a real camera path [frames, 25] of the data: that of `gen_videos.py --cameras=dataset` for a seed.

        Raises:
            UserError: the model holds none.
        """
        if len(self.camera_bank) == 0:
            raise UserError("This model holds no cameras: give others, such as pv3d.orbit.")
        return camera_path(self.camera_bank, require_seed(seed), "dataset", require_count("frames", frames))

    def w(self, z: Any, *, camera: Any = None, truncation: float = 1.0, truncation_cutoff: int | None = None) -> W:
        """Return the intermediate latents of a code z [z_dim], seen by a camera [25] (None: the frontal one).

        Raises:
            UserError: the model's appearances and motions are not apart (naive motion generator).
        """
        require_motion_apart(self.G)
        code = as_one("z", z, self.G.z_dim, "an appearance code of this model")
        label = as_one("camera", as_cameras("camera", camera), CAMERA_DIM, "a camera label")
        require_truncation(truncation, truncation_cutoff, self.G.num_ws)
        options = SamplingOptions(psi=truncation, cutoff=truncation_cutoff)
        with runtime.full_float32():
            return W(ws=mapped_appearance(self.G, code, label[None], options))

    def mix(self, a: Any, b: Any, *, layers: Sequence[int] | slice | None = None, camera: Any = None) -> W:
        """Return appearance a with rows of its latents taken from b (style mixing).

        Args:
            a, b: appearances.
            layers: which rows, from 0; None: those of the blocks with motion layers.
            camera: [25] that codes are mapped with; None: the frontal one.

        Raises:
            UserError: there are no such rows.
        """
        ws_a, ws_b = (latents_of(self.G, name, value, camera).ws for name, value in (("a", a), ("b", b)))
        rows = style_mixing.motion_rows(self.G) if layers is None else layers
        if not isinstance(rows, slice) and len(rows) == 0:
            raise ValueError("layers is empty: give the rows to take, such as range(4, 10).")
        return W(ws=style_mixing.mix(ws_a, ws_b, rows))

    # Frames

    def video(
        self,
        z: Any,
        z_motion: Any,
        *,
        cameras: Any = None,
        frames: int | None = None,
        t: Any = None,
        truncation: float = 1.0,
        truncation_cutoff: int | None = None,
        neural_rendering_resolution: int | None = None,
        batch: int = 1,
    ) -> Video:
        """Return the video of an appearance and a motion, without gradients: the frames of `gen_videos.py`, to the bit.

        Args:
            z: appearance: a code [z_dim] or a W.
            z_motion: [z_motion_dim].
            cameras: one [25], or a path [F, 25], which is resampled if `frames` is another number; None: the front.
            frames: how many; None: as many as cameras or times, else 16.
            t: one time, or one a frame; None: evenly from 0 to the greatest one trained, as in `gen_videos.py`.
            batch: frames a pass: more need more memory.
        """
        labels, times = clip_of(cameras, frames, t, partial(clip_times, self.G))
        clip = clip_spec(self.G, z, z_motion, labels, times)
        options = self._options(truncation, truncation_cutoff, neural_rendering_resolution, batch)
        return self._video(clip, options)

    def interpolate(
        self,
        appearances: Iterable[Any],
        *,
        motion: Any,
        frames: int | None = None,
        cameras: Any = None,
        t: Any = None,
        truncation: float = 1.0,
        truncation_cutoff: int | None = None,
        neural_rendering_resolution: int | None = None,
        batch: int = 1,
    ) -> Video:
        """Return a video that goes from appearance to appearance, straight in the space of intermediate latents.

        Args:
            appearances: two or more, codes or W.
            motion: a code [z_motion_dim], which plays meanwhile; a still face with t=0.5, say.

        Others are as of `video`. Codes are mapped with the first camera, as `video` does.

        Raises:
            UserError: the model maps each camera on its own (--camera-mode=Non), and they move.
        """
        labels, times = clip_of(cameras, frames, t, partial(clip_times, self.G))
        keys = list(appearances)
        if len(keys) < 2:
            raise ValueError(f"appearances has {len(keys)}: give two or more to go between.")
        if len(labels) < len(keys):
            raise ValueError(f"{len(labels)} frames are too few to go through {len(keys)} appearances.")
        names = [f"appearances[{number}]" for number in range(len(keys))]
        with torch.no_grad():
            ws = [latents_of(self.G, name, key, labels).ws for name, key in zip(names, keys, strict=True)]
            way = between(torch.stack(ws), len(labels))
        drive = as_one("motion", motion, driving_dim(self.G), "a motion code of this model")
        clip = ClipSpec(ws=way, z_motion=drive, cameras=labels, times=times)
        options = self._options(truncation, truncation_cutoff, neural_rendering_resolution, batch)
        return self._video(clip, options)

    def __call__(
        self,
        z: Any,
        z_motion: Any,
        *,
        t: Any,
        camera: Any = None,
        truncation: float = 1.0,
        truncation_cutoff: int | None = None,
        neural_rendering_resolution: int | None = None,
    ) -> Video:
        """Return frames, made in one pass; gradients flow to whatever asks for them, unless torch's are off.

        Of one appearance and one motion it is a clip, as of `video`: a code is mapped with the first camera. Of several
        codes, each row is a clip of its own.

        Args:
            z: an appearance, or codes [N, z_dim].
            z_motion: [z_motion_dim], or one for each frame, [N, z_motion_dim].
            t: a time, or one for each frame, [N].
            camera: [25], or one for each frame, [N, 25]; None: the frontal one.
        """
        G = self.G
        moments = as_times(t)
        labels = as_cameras("camera", camera)
        motions = as_rows("z_motion", z_motion, motion_dim(self.G, z), "a motion code of this model")
        codes = None if isinstance(z, W) else as_rows("z", z, G.z_dim, "an appearance code of this model")
        options = self._options(truncation, truncation_cutoff, neural_rendering_resolution, 1)
        lengths = {
            "z": len(codes) if codes is not None and codes.ndim == 2 else None,
            "z_motion": len(motions) if motions.ndim == 2 else None,
            "t": len(moments) if moments.ndim == 1 else None,
            "camera": len(labels) if labels.ndim == 2 else None,
        }
        count = rows_of(lengths)
        labels, moments = labels.expand(count, -1), moments.expand(count)
        with runtime.full_float32():
            if codes is not None and (codes.ndim == 2 or motions.ndim == 2):
                out = self._rows(codes.expand(count, -1), motions.expand(count, -1), labels, moments, options)
            else:
                out = whole(G, clip_spec(self.G, z, motions, labels, moments), options)
        return self._framed([out], moments)

    # Surfaces

    def mesh(
        self,
        z: Any,
        z_motion: Any,
        *,
        t: float = 0.0,
        resolution: int = 128,
        level: float | None = None,
        all_parts: bool = False,
        camera: Any = None,
        truncation: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Mesh:
        """Return the head's surface at a time, in the colours that pictures show: that of `gen_videos.py --shapes`.

        Args:
            z, z_motion: as of `video`.
            resolution: points of the lattice a side.
            level: raw density at the surface; None: where this frame shows it. In a video of meshes give one to all.
            all_parts: also what has no connection with the head.
            camera: [25] that a code is mapped with; None: the frontal one.

        Raises:
            UserError: scikit-image or trimesh is missing; there is no surface.
        """
        mesh.require_packages()
        if isinstance(resolution, bool) or not isinstance(resolution, int) or not 8 <= resolution <= 1024:
            raise ValueError(f"resolution is {resolution!r}: give a whole number from 8 to 1024.")
        label = as_one("camera", as_cameras("camera", camera), CAMERA_DIM, "a camera label")
        moment = as_one("t", as_times(t).reshape(-1), 1, "a time")
        clip = clip_spec(self.G, z, z_motion, label[None], moment)
        options = self._options(truncation, truncation_cutoff, None, 1)
        shape = Shape(resolution=resolution, level=level, all_parts=all_parts)
        with runtime.full_float32():
            (lattice,) = lattices(self.G, clip, options, shape)
            return lattice.mesh(all_parts)

    # What these have in common

    def _options(
        self, truncation: float, cutoff: int | None, neural_rendering_resolution: int | None, batch: int
    ) -> SamplingOptions:
        require_truncation(truncation, cutoff, self.G.num_ws)
        if neural_rendering_resolution is not None:
            RAY_GRID.check(neural_rendering_resolution)
        return SamplingOptions(
            psi=truncation,
            cutoff=cutoff,
            neural_rendering_resolution=neural_rendering_resolution,
            frames_per_batch=require_count("batch", batch),
        )

    def _video(self, clip: ClipSpec, options: SamplingOptions) -> Video:
        with runtime.full_float32():
            return self._framed(list(generate(self.G, clip, options)), clip.times.detach())

    def _rows(
        self,
        z: torch.Tensor,
        z_motion: torch.Tensor,
        cameras: torch.Tensor,
        times: torch.Tensor,
        options: SamplingOptions,
    ) -> dict[str, torch.Tensor]:
        """Return frames of codes [N, ...], each a clip of its own."""
        device = self.device
        labels = cameras.to(device)
        out = self.G(
            z.to(device),
            labels,
            z_motion.to(device),
            times.to(device).unsqueeze(1),
            truncation_psi=options.psi,
            truncation_cutoff=options.cutoff,
            neural_rendering_resolution=options.neural_rendering_resolution,
        )
        return {**out, "camera": labels}

    def _framed(self, batches: Sequence[dict[str, torch.Tensor]], times: torch.Tensor) -> Video:
        """Return batches of frames as one video, of ordinary tensors: those of inference mode bear no gradients."""
        image, image_raw, depth, cameras = (
            torch.cat([batch[name] for batch in batches]) for name in ("image", "image_raw", "image_depth", "camera")
        )
        return Video(
            image=image,
            image_raw=image_raw,
            depth=depth,
            cameras=cameras,
            times=times.to(self.device),
            config=self.G.config,
        )
