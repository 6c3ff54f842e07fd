"""The generator: codes, time and camera to a frame with depth, rendered from a temporal tri-plane (PV3D Eq. 1-3).

Where planes do not move (`GeneratorConfig.motion`), frames that follow each other may share latents and planes: those
of M rows are seen in N frames, N / M by each. Motion may then enter the decoder, as a vector for each frame (a shift),
or move the latents.
"""

from functools import partial

import torch
from torch import nn

from torch_utils.random_numbers import Random
from training.cameras import CAMERA_DIM
from training.config import COLOURS, GeneratorConfig
from training.networks.backbone import PLANES, Backbone
from training.networks.decoder import Decoder
from training.networks.layers import ToRGBLayer
from training.networks.motion import PointMotion
from training.networks.motion_chain import MotionChain
from training.networks.superresolution import CONV_CLAMP, SMALLEST, SuperResolution, resize
from training.rendering.marching import widened
from training.rendering.rays import camera_rays
from training.rendering.renderer import Decoder as Field
from training.rendering.renderer import Jitter, decode, render


class Generator(nn.Module):
    """G(z_a, z_m | c, t). Rows of every argument are frames: a clip of T frames repeats its codes T times.

    `precision` sets the data type of the super-resolution and, if bfloat16, whose range is that of float32, of the
    backbone's convolutions, the planes, their lookup and most of the decoder (None: that of the parameters). Latents,
    coordinates, densities, compositing and images keep the parameters' type.
    `max_time` is the greatest time that it was trained at, and that videos of it run to.
    """

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.config = config
        self.precision: torch.dtype | None = None
        self.max_time = 1.0
        channels = config.plane_channels
        self.backbone = Backbone(config, CAMERA_DIM)
        self.decoder = Decoder(channels, config.rendering.decoder_hidden, channels)
        self.point_motion: PointMotion | None = None
        if config.motion == "decoder":
            width = config.rendering.decoder_hidden
            self.point_motion = PointMotion(config.motion_dim, config.motion_hidden, width)
        self.chain: MotionChain | None = None
        if config.motion == "chain":
            steps = config.motion_dim // config.w_dim
            self.chain = MotionChain(config.w_dim, config.motion_hidden, steps)
        self.to_img_raw: ToRGBLayer | None = None
        if config.raw_layer:
            self.to_img_raw = ToRGBLayer(channels, COLOURS, config.w_dim, conv_clamp=CONV_CLAMP)
        self.superresolution: SuperResolution | None = None
        largest_rendered = max(SMALLEST, config.rendering.resolution)
        if config.img_resolution > largest_rendered or config.sr_channels is not None:
            self.superresolution = SuperResolution(channels, config.img_resolution, config.w_dim, config.sr_channels)

    @property
    def z_dim(self) -> int:
        """How many numbers an appearance code has."""
        return self.config.z_dim

    @property
    def z_motion_dim(self) -> int:
        """How many numbers a motion code has."""
        return self.config.z_motion_dim

    @property
    def w_dim(self) -> int:
        """How many numbers a row of the intermediate latents has."""
        return self.config.w_dim

    @property
    def num_ws(self) -> int:
        """How many rows the intermediate latents have."""
        return self.backbone.synthesis.num_ws

    @property
    def trained(self) -> nn.Module:
        """What training changes: all, or what moves the latents of a generator that stays as it is."""
        return self if self.chain is None else self.chain

    def forward(
        self,
        z: torch.Tensor,
        camera: torch.Tensor,
        z_motion: torch.Tensor,
        t: torch.Tensor,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        neural_rendering_resolution: int | None = None,
        noise_mode: str = "const",
        random: Jitter = None,
        with_points: bool = False,
    ) -> dict[str, torch.Tensor]:
        """Return frames of z [N, z_dim], z_motion [N, z_motion_dim], t [N, 1], seen by camera [N, 25].

        It is `mapping`, which sees the same cameras, and then `synthesis`: so are its arguments and what it returns.
        Latents that motion moves are truncated behind it.
        """
        driving = self.motion_code(z, z_motion)
        ws = self.moved(self.mapping(z, camera, driving, t), driving, t)
        return self.synthesis(
            self.backbone.mapping.truncated(ws, truncation_psi, truncation_cutoff),
            camera,
            driving,
            t,
            is_moved=True,
            neural_rendering_resolution=neural_rendering_resolution,
            noise_mode=noise_mode,
            random=random,
            with_points=with_points,
        )

    def mapping(
        self,
        z: torch.Tensor,
        camera: torch.Tensor,
        z_motion: torch.Tensor | None = None,
        t: torch.Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> torch.Tensor:
        """Map z [N, z_dim] and camera [N, 25] to ws [N, num_ws, w_dim].

        z_motion [N, z_motion_dim] and t [N, 1] matter to the naive motion generator alone.
        """
        if not self.config.camera_conditioning:
            camera = torch.zeros_like(camera)
        motion = None
        if self.config.maps_motion:
            assert z_motion is not None and t is not None
            motion = torch.cat([z_motion, t.to(z_motion.dtype)], dim=1)
        return self.backbone.mapping(z, camera, motion, truncation_psi, truncation_cutoff)

    def motion_code(self, z: torch.Tensor, z_motion: torch.Tensor) -> torch.Tensor:
        """Return the code that drives the motion: z_motion, or z where the ablation of T. 2 replaces it."""
        return z if self.config.motion_code == "z_a" else z_motion

    def moved(self, ws: torch.Tensor, z_motion: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return the latents that frames are made from.

        Those of an appearance, ws [N or 1, num_ws, w_dim], as they are, or where motion moves them, for z_motion
        [N, z_motion_dim] and t [N, 1], [N, num_ws, w_dim].
        """
        if self.chain is None:
            return ws
        return ws + self.chain.at(ws[:, 0].expand(len(t), -1), z_motion, t).unsqueeze(1)

    def planes(
        self,
        ws: torch.Tensor,
        z_motion: torch.Tensor,
        t: torch.Tensor,
        noise_mode: str = "const",
        random: Random | None = None,
        *,
        exact: bool = False,
    ) -> torch.Tensor:
        """Return feature planes [N, 3, C, R, R] of ws [N or 1, num_ws, w_dim], z_motion [N, z_motion_dim], t [N, 1].

        `ws` are those that `moved` returns, here and in `render_planes`.
        Planes that do not move are those of ws [M, num_ws, w_dim], [M, 3, C, R, R]. `exact` makes them, and what is
        rendered of them, in the parameters' type, whatever the precision.
        """
        in_half = self.precision == torch.bfloat16 and not exact
        dtype = torch.bfloat16 if in_half else None
        if self.config.moves_planes:
            planes = self.backbone.synthesis(ws, z_motion, t, noise_mode, random, dtype)
        else:
            planes = self.backbone.synthesis(ws, None, None, noise_mode, random, dtype)
        return planes.unflatten(1, (PLANES, -1))

    def shift(self, z_motion: torch.Tensor, t: torch.Tensor) -> torch.Tensor | None:
        """Return what motion adds in the decoder, [N, hidden], of z_motion [N, z_motion_dim], t [N, 1].

        None where motion does not enter there.
        """
        return None if self.point_motion is None else self.point_motion(z_motion, t)

    def synthesis(
        self,
        ws: torch.Tensor,
        camera: torch.Tensor,
        z_motion: torch.Tensor,
        t: torch.Tensor,
        *,
        neural_rendering_resolution: int | None = None,
        noise_mode: str = "const",
        random: Jitter = None,
        is_moved: bool = False,
        with_points: bool = False,
    ) -> dict[str, torch.Tensor]:
        """Return frames of ws [N or 1, num_ws, w_dim], z_motion [N, z_motion_dim], t [N, 1], seen by camera [N, 25].

        Args:
            ws: where planes do not move, [M, num_ws, w_dim], each for N / M frames.
            t: in [0, 1], or beyond where motion moves latents.
            is_moved: whether `ws` are what `moved` returns.
            neural_rendering_resolution: side r of the ray grid; None: the configuration's.
            noise_mode: "const", "random" or "none", in the backbone.
            random: None renders deterministically; a generator or streams (True: torch's own) jitters the samples along
                rays and draws the noise of `noise_mode="random"`.
            with_points: add `xyz` and `weight_total`.

        Returns:
            image [N, 3, R, R] and image_raw [N, 3, r, r] in about [-1, 1] (never clipped here), image_depth
            [N, 1, r, r] in world units, weight_total [N, r, r, 1] (opacity), xyz [N, r, r, 3] (mean surface points).
        """
        if not is_moved:
            ws = self.moved(ws, z_motion, t)
        planes = self.planes(ws, z_motion, t, noise_mode, None if random is True else random)
        return self.render_planes(
            planes,
            ws,
            camera,
            neural_rendering_resolution=neural_rendering_resolution,
            random=random,
            with_points=with_points,
            shift=self.shift(z_motion, t),
        )

    def render_planes(
        self,
        planes: torch.Tensor,
        ws: torch.Tensor,
        camera: torch.Tensor,
        neural_rendering_resolution: int | None = None,
        random: Jitter = None,
        with_points: bool = False,
        with_image: bool = True,
        shift: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return frames of planes [N, 3, C, R, R] seen by camera [N, 25]: the second half of `synthesis`.

        Without `with_image`, that of full size is neither computed nor returned. `shift` [N, hidden] is that of the
        method of this name.
        """
        rendering = self.config.rendering
        if not self.config.moves_planes:
            planes = _for_each(planes, len(camera))
            ws = ws if len(ws) == 1 else _for_each(ws, len(camera))
        side = neural_rendering_resolution or rendering.resolution
        origins, directions = camera_rays(camera, side)
        seen = render(
            planes,
            self._field(shift),
            origins,
            directions,
            config=rendering,
            random=random,
            with_points=with_points,
        )
        features = seen.features.transpose(1, 2).unflatten(-1, (side, side))
        image_raw = features[:, :COLOURS] if self.to_img_raw is None else self.to_img_raw(features, ws[:, 0])
        out = {"image_raw": image_raw, "image_depth": seen.depth.unflatten(-1, (side, side)).unsqueeze(1)}
        if with_image:
            out["image"] = self._upscale(image_raw, features, ws)
        if seen.points is not None:
            out["xyz"] = seen.points.unflatten(1, (side, side))
            out["weight_total"] = seen.opacity.unflatten(-1, (side, side)).unsqueeze(-1)
        return out

    def _upscale(self, image_raw: torch.Tensor, features: torch.Tensor, ws: torch.Tensor) -> torch.Tensor:
        if self.superresolution is None:
            return resize(image_raw, self.config.img_resolution)
        return self.superresolution(image_raw, features, ws[:, -1], dtype=self.precision)

    def sample(
        self,
        coordinates: torch.Tensor,
        ws: torch.Tensor,
        z_motion: torch.Tensor,
        t: torch.Tensor,
        noise_mode: str = "const",
        random: Random | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return raw density `sigma` [N, M, 1] and colours `rgb` [N, M, C] at world coordinates [N, M, 3]."""
        planes = self.planes(self.moved(ws, z_motion, t), z_motion, t, noise_mode, random)
        return self.sample_planes(planes, coordinates, self.shift(z_motion, t))

    def sample_planes(
        self, planes: torch.Tensor, coordinates: torch.Tensor, shift: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Return what `sample` does, from planes [N, 3, C, R, R] and the shift [N, hidden]: its second half."""
        if not self.config.moves_planes:
            planes = _for_each(planes, len(coordinates))
        sigma, rgb = decode(planes, self._field(shift), coordinates, self.config.rendering)
        if rgb.dtype != sigma.dtype:  # in half precision
            rgb = widened(rgb.to(sigma.dtype))
        return {"sigma": sigma.unsqueeze(-1), "rgb": rgb}

    def _field(self, shift: torch.Tensor | None) -> Field:
        """Return the decoder of frames whose motion is this shift."""
        if (shift is None) != (self.point_motion is None):
            raise ValueError("A generator whose motion enters the decoder needs a shift, and no other one takes it.")
        return self.decoder if shift is None else partial(self.decoder, shift=shift)


def _for_each(rows: torch.Tensor, frames: int) -> torch.Tensor:
    """Return rows [M, ...] as those of `frames` frames, of which frames / M that follow each other share one."""
    return rows if len(rows) == frames else rows.repeat_interleave(frames // len(rows), dim=0)
