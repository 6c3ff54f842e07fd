"""What each training phase computes (PV3D section 3.4, A.1): losses, regularisation, gradients.

Shapes: B clips of 2 frames; frames and their cameras are folded into the batch, [B * 2, ...], times stay [B, 2].
"""

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import softplus

from torch_utils.ops.upfirdn2d import filter2d
from torch_utils.random_numbers import Streams, normal, uniform
from training.cameras import condition_cameras, swap_cameras
from training.config import FRAMES_PER_CLIP, Config
from training.networks.discriminators import ImageDiscriminator, VideoDiscriminator
from training.networks.generator import Generator
from training.networks.superresolution import resize

BOX_REACH = 1.0  # density regularisation draws points from [-1, 1]^3, whatever the box's side (reference)


@dataclass
class Fakes:
    """What fake clips are made from."""

    z: torch.Tensor  # [B, z_dim]
    z_motion: torch.Tensor  # [B, z_motion_dim]
    times: torch.Tensor  # [B, 2] in [0, 1]
    cameras: torch.Tensor  # [B, 2, 25]
    others: torch.Tensor  # [B, 2, 25], cameras of other clips: what the mapping network may see instead
    random: Streams  # B: drives noise, ray jitter, camera swaps and regularisation points

    def rows(self, rows: slice) -> "Fakes":
        """Those of some of the clips."""
        return Fakes(*(value[rows] for value in vars(self).values()))


@dataclass
class Frames:
    """Frames that discriminators judge, real or fake."""

    image: torch.Tensor  # [B * 2, 3, R, R] in [-1, 1]
    image_raw: torch.Tensor  # [B * 2, 3, r, r]
    times: torch.Tensor  # [B, 2]
    cameras: torch.Tensor  # [B * 2, 25]


@dataclass(frozen=True)
class Schedule:
    """What fades over training."""

    blur_sigma: float  # of the discriminators' inputs, pixels
    swap_probability: float  # of the mapping network's cameras


def schedule(config: Config, clips: int) -> Schedule:
    """The schedule after `clips` clips."""
    loss = config.loss
    fade = loss.blur_fade_factor * config.training.batch * 1000
    blur = loss.blur_sigma * max(1 - clips / fade, 0) if fade > 0 else 0.0
    swap = min(clips / (loss.swap_fade_kimg * 1000), 1) if loss.swap_fade_kimg > 0 else 1.0
    return Schedule(blur, loss.swap_start + (loss.swap_end - loss.swap_start) * swap)


def blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """images [N, C, H, W] under a Gaussian-like filter with taps 2^-((k / sigma)^2), |k| <= floor(3 sigma)."""
    reach = math.floor(3 * sigma)
    if reach < 1:
        return images
    taps = torch.arange(-reach, reach + 1, device=images.device, dtype=torch.float32).div(sigma).square().neg().exp2()
    return filter2d(images, taps / taps.sum())


class Loss:
    """The four phases. Every phase accumulates gradients into the networks it trains and returns what to report.

    Args:
        D_img, D_vid: None where the ablation leaves one out.
        noise_mode, deterministic: how fakes are synthesised ("random" and False in training).
    """

    def __init__(
        self,
        G: Generator,
        D_img: ImageDiscriminator | None,
        D_vid: VideoDiscriminator | None,
        config: Config,
        noise_mode: str = "random",
        deterministic: bool = False,
    ):
        self.G, self.D_img, self.D_vid, self.config = G, D_img, D_vid, config
        self.noise_mode, self.deterministic = noise_mode, deterministic

    def real_frames(
        self, images: torch.Tensor, times: torch.Tensor, cameras: torch.Tensor, schedule: Schedule
    ) -> Frames:
        """images uint8 [B, 2, 3, R, R], times [B, 2], cameras [B, 2, 25] -> real frames with their raw images."""
        images = images.flatten(0, 1).float() / 127.5 - 1
        raw = blur(resize(images, self.config.generator.rendering.resolution), schedule.blur_sigma)
        return Frames(images, raw, times, cameras.flatten(0, 1))

    def latents(self, fakes: Fakes, schedule: Schedule) -> tuple[torch.Tensor, ...]:
        """ws [B * 2, num_ws, w_dim], motion codes [B * 2, D], times [B * 2, 1], rendering cameras [B * 2, 25]."""
        G = self.G
        mapped, rendered = condition_cameras(fakes.cameras, G.config.camera_mode, training=True)
        if schedule.swap_probability > 0:
            others, _ = condition_cameras(fakes.others, G.config.camera_mode, training=True)
            mapped = swap_cameras(mapped, others, schedule.swap_probability, fakes.random)
        z = fakes.z.repeat_interleave(FRAMES_PER_CLIP, dim=0)
        z_motion = G.motion_code(fakes.z, fakes.z_motion).repeat_interleave(FRAMES_PER_CLIP, dim=0)
        t = fakes.times.reshape(-1, 1)
        return G.mapping(z, mapped.flatten(0, 1), z_motion, t), z_motion, t, rendered.flatten(0, 1)

    def synthesise(self, fakes: Fakes, schedule: Schedule, w_avg_beta: float | None = None) -> Frames:
        """Fake frames; tracks the mean latent if `w_avg_beta` is given."""
        ws, z_motion, t, cameras = self.latents(fakes, schedule)
        if w_avg_beta is not None:
            self.G.backbone.mapping.update_w_avg(ws.detach(), w_avg_beta)
        out = self.G.synthesis(
            ws, cameras, z_motion, t, noise_mode=self.noise_mode, random=None if self.deterministic else fakes.random
        )
        return Frames(out["image"], out["image_raw"], fakes.times, cameras)

    def judge(self, frames: Frames, schedule: Schedule) -> dict[str, torch.Tensor]:
        """Logits by discriminator: img [B * 2, 1], vid [B, 1]. The frames are blurred, the raw image is not."""
        image = blur(frames.image, schedule.blur_sigma)
        logits = {}
        if self.D_img is not None:
            logits["img"] = self.D_img(image, frames.image_raw, frames.cameras)
        if self.D_vid is not None:
            logits["vid"] = self.D_vid(self.D_vid.assemble(image, frames.times), frames.cameras)
        return logits

    def adversarial(self, logits: dict[str, torch.Tensor]) -> torch.Tensor:
        """Weighted sum of mean softplus(-logit): large for what does not look real."""
        weights = {"img": self.config.loss.lambda_img, "vid": self.config.loss.lambda_vid}
        return sum(softplus(-value).mean() * weights[name] for name, value in logits.items())

    def g_main(self, fakes: Fakes, schedule: Schedule, gain: float = 1.0) -> dict[str, torch.Tensor]:
        """Generator: fakes shall look real."""
        logits = self.judge(self.synthesise(fakes, schedule), schedule)
        loss = self.adversarial(logits)
        (loss * gain).backward()
        return {"loss/g": loss, **{f"scores/fake_{name}": value.mean() for name, value in logits.items()}}

    def g_reg(self, fakes: Fakes, schedule: Schedule, gain: float = 1.0) -> dict[str, torch.Tensor]:
        """Generator: densities of near-by points shall be alike."""
        ws, z_motion, t, _ = self.latents(fakes, schedule)
        loss = self.config.loss
        shape = [len(ws), loss.reg_points, 3]
        points = (uniform(shape, fakes.random, ws.device) * 2 - 1) * BOX_REACH
        near = points + normal(shape, fakes.random, ws.device) * loss.reg_perturbation
        l1 = self.density_variation(points, near, ws, z_motion, t, fakes.random)
        (l1 * (loss.lambda_reg * gain)).backward()
        return {"loss/g_reg": l1}

    def density_variation(self, points, near, ws, z_motion, t, random: Streams | None = None) -> torch.Tensor:
        """Mean |sigma(points) - sigma(near)| of raw densities at points, near [N, M, 3]."""
        random = None if self.deterministic else random
        sigma = self.G.sample(torch.cat([points, near], dim=1), ws, z_motion, t, self.noise_mode, random)["sigma"]
        first, second = sigma.chunk(2, dim=1)
        return (first - second).abs().mean()

    def d_main(self, reals: Frames, fakes: Fakes, schedule: Schedule, gain: float = 1.0) -> dict[str, torch.Tensor]:
        """Discriminators: fakes low, reals high. Each half is its own backward pass, to bound memory.

        Tracks the mean latent; of several passes (gain = 1 / passes) each decays it by its share.
        """
        with torch.no_grad():
            made = self.synthesise(fakes, schedule, self.config.training.w_avg_beta**gain)
        logits = self.judge(made, schedule)
        loss_fake = self.adversarial({name: -value for name, value in logits.items()})
        (loss_fake * gain).backward()
        logits = self.judge(reals, schedule)
        loss_real = self.adversarial(logits)
        (loss_real * gain).backward()
        return {
            "loss/d": (loss_fake + loss_real).detach(),
            **{f"scores/real_{name}": value.mean() for name, value in logits.items()},
            **{f"scores/sign_{name}": value.sign().mean() for name, value in logits.items()},
        }

    def d_reg(self, reals: Frames, schedule: Schedule, gain: float = 1.0) -> dict[str, torch.Tensor]:
        """Discriminators: R1, gamma / 2 times the squared gradient on reals."""
        image = blur(reals.image, schedule.blur_sigma)
        penalties = {}
        if self.D_img is not None:
            penalties["img"] = r1_image(self.D_img, image, reals.image_raw, reals.cameras)
        if self.D_vid is not None:
            penalties["vid"] = r1_video(self.D_vid, self.D_vid.assemble(image, reals.times), reals.cameras)
        loss = sum(penalty.mean() for penalty in penalties.values()) * (self.config.loss.gamma / 2)
        (loss * gain).backward()
        return {f"loss/r1_{name}": penalty.mean() for name, penalty in penalties.items()}


def r1_image(
    D: ImageDiscriminator, image: torch.Tensor, image_raw: torch.Tensor, cameras: torch.Tensor
) -> torch.Tensor:
    """Squared gradient norm of the logits on frame and raw image, per frame [N]."""
    image, image_raw = (x.detach().requires_grad_() for x in (image, image_raw))
    return _squared_gradient(D(image, image_raw, cameras), [image, image_raw])


def r1_video(D: VideoDiscriminator, x: torch.Tensor, cameras: torch.Tensor) -> torch.Tensor:
    """Squared gradient norm of the logits on the assembled input, the time plane included, per clip [B]."""
    x = x.detach().requires_grad_()
    return _squared_gradient(D(x, cameras), [x])


def _squared_gradient(logits: torch.Tensor, inputs: list[torch.Tensor]) -> torch.Tensor:
    gradients = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return sum(g.square().sum(dim=[1, 2, 3]) for g in gradients)
