"""What each training phase computes (PV3D section 3.4, A.1): losses, regularisation, gradients.

Shapes: B clips of 2 frames (or 1); frames and their cameras are folded into the batch, [B * 2, ...], times stay [B, 2].
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import softplus

from torch_utils.random_numbers import Streams, normal, uniform
from training.cameras import condition_cameras, swap_cameras
from training.config import FRAMES_PER_CLIP, Config
from training.data.loader import Batch
from training.fakes import Fakes
from training.judged import Frames, blur, joined
from training.motion_likeness import motion_likeness
from training.networks.discriminators import ImageDiscriminator, VideoDiscriminator
from training.networks.generator import Generator
from training.networks.superresolution import resize

BOX_REACH = 1.0  # density regularisation draws points from [-1, 1]^3, whatever the box's side (reference)

Report = dict[str, torch.Tensor]  # statistics by name; a tensor's elements count one by one

# --- Inputs and schedules ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Latents:
    """What the generator renders fake frames from."""

    ws: torch.Tensor  # [B * 2, num_ws, w_dim]; where all frames of a clip share them, [B, num_ws, w_dim]
    z_motion: torch.Tensor  # [B * 2, D], the codes that drive the motion
    t: torch.Tensor  # [B * 2, 1]
    cameras: torch.Tensor  # [B * 2, 25], for rendering

    def rows(self, rows: slice) -> "Latents":
        """Return those of some of the frames."""
        return Latents(**{name: value[rows] for name, value in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What fades over training."""

    blur_sigma: float  # of the discriminators' inputs, pixels
    swap_probability: float  # of the mapping network's cameras


def schedule(config: Config, clips: int) -> Schedule:
    """Return the schedule after `clips` clips."""
    loss = config.loss
    blur_fade = loss.blur_fade_factor * config.training.batch * 1000
    blur_sigma = loss.blur_sigma * max(1 - clips / blur_fade, 0) if blur_fade > 0 else 0.0
    faded = min(clips / (loss.swap_fade_kimg * 1000), 1) if loss.swap_fade_kimg > 0 else 1.0
    swap_probability = loss.swap_start + (loss.swap_end - loss.swap_start) * faded
    return Schedule(blur_sigma=blur_sigma, swap_probability=swap_probability)


# --- The four phases --------------------------------------------------------------------------------------------------


class Loss:
    """The computations of the four phases.

    Each accumulates gradients, times `gain`, into the networks that it trains, and returns what to report.

    Args:
        D_img, D_vid: None where the ablation leaves one out, or the data has nothing for it to judge.
        noise_mode, deterministic: how fakes are synthesised ("random" and False in training).
    """

    def __init__(
        self,
        G: Generator,
        D_img: ImageDiscriminator | None,
        D_vid: VideoDiscriminator | None,
        config: Config,
        *,
        noise_mode: str = "random",
        deterministic: bool = False,
    ):
        self.G = G
        self.D_img = D_img
        self.D_vid = D_vid
        self.config = config
        self.noise_mode = noise_mode
        self.deterministic = deterministic
        # With `reuse_fakes`: what g_main made, a pass each, for d_main to take in the same order.
        self.made: deque[Frames] = deque()

    def g_main(self, fakes: Fakes, schedule: Schedule, gain: float = 1.0) -> Report:
        """Train the generator: fakes should look real.

        With `reuse_fakes` they are kept for `d_main`, and the generator's mean latent is tracked.
        """
        options = self.config.training
        frames = self.synthesise(fakes, schedule, options.w_avg_beta**gain if options.reuse_fakes else None)
        if options.reuse_fakes:
            self.made.append(frames.detached())
        logits = self.judge(frames, schedule)
        loss = self.adversarial(logits)
        (loss * gain).backward()
        scores = {f"scores/fake_{name}": value.mean() for name, value in logits.items()}
        return {"loss/g": loss, **scores, **self.scores_by_data("fake", logits, frames)}

    def g_reg(self, fakes: Fakes, schedule: Schedule, gain: float = 1.0) -> Report:
        """Train the generator: densities close to each other should be alike; by choice, motions should not."""
        latents = self.latents(fakes.with_image_cameras(), schedule)
        options = self.config.loss
        device = latents.ws.device
        report = {}
        terms = []
        if options.lambda_reg > 0:
            shape = [len(latents.t), options.reg_points, 3]
            points = (uniform(shape, fakes.random, device) * 2 - 1) * BOX_REACH
            shifts = normal(shape, fakes.random, device) * options.reg_perturbation
            report["loss/g_reg"] = self.density_variation(points, points + shifts, latents, fakes.random)
            terms.append(report["loss/g_reg"] * (options.lambda_reg * gain))
        if options.lambda_motion > 0:
            others = normal([len(fakes.z), latents.z_motion.shape[1]], fakes.random, device)
            late = latents.rows(slice(1, None, FRAMES_PER_CLIP))
            likeness = motion_likeness(self.G, late.ws, late.cameras, late.t, late.z_motion, others)
            report["loss/motion_likeness"] = likeness.mean()
            terms.append(report["loss/motion_likeness"] * (options.lambda_motion * gain))
        _total(terms).backward()
        return {name: value.detach() for name, value in report.items()}

    def d_main(self, reals: Frames, fakes: Fakes | None, schedule: Schedule, gain: float = 1.0) -> Report:
        """Train the discriminators: low logits for fakes, high ones for reals.

        Both are judged in one pass, each as if alone. Tracks the generator's mean latent; of several passes
        (gain = 1 / passes) each decays it by its share.

        Args:
            fakes: None: those that `g_main` made in this iteration.
        """
        # Fakes, which do not train the generator here.
        if fakes is None:
            frames = self.made.popleft()
        else:
            with torch.no_grad():
                frames = self.synthesise(fakes, schedule, self.config.training.w_avg_beta**gain)
        assert frames.images == reals.images

        fake_logits, real_logits = self.judge_together([frames, reals], schedule)
        loss_fake = self.adversarial({name: -value for name, value in fake_logits.items()})
        loss_real = self.adversarial(real_logits)
        loss = loss_fake + loss_real
        (loss * gain).backward()

        report = {"loss/d": loss.detach()}
        for name, value in real_logits.items():
            report[f"scores/real_{name}"] = value.mean()
            report[f"scores/sign_{name}"] = value.sign().mean()
        return report | self.scores_by_data("real", real_logits, reals)

    def d_reg(self, reals: Frames, schedule: Schedule, gain: float = 1.0) -> Report:
        """Train the discriminators: R1, gamma / 2 times the squared gradient on reals."""
        own, judged = reals.blurred(schedule.blur_sigma)
        penalties = {}
        if self.D_img is not None:
            penalties["img"] = r1_image(self.D_img, own.image, own.image_raw, own.cameras).mean()
        if self.D_vid is not None:
            pairs = self.D_vid.assemble(judged.image, judged.times)
            penalties["vid"] = r1_video(self.D_vid, pairs, judged.cameras).mean()
        loss = _total(penalties.values()) * (self.config.loss.gamma / 2)
        (loss * gain).backward()
        return {f"loss/r1_{name}": penalty for name, penalty in penalties.items()}

    # --- Their parts --------------------------------------------------------------------------------------------------

    def reals(self, batch: Batch, rows: slice, schedule: Schedule) -> Frames:
        """Return the frames of some of the clips of a batch of stored ones, and of the images in their place."""
        own = {name: value[rows] for name, value in batch.items()}
        frames = self.real_frames(own["frames"], own["times"], own["cameras"], schedule)
        if "stand_in_frames" in own:
            frames.stand_ins = self.real_frames(
                own["stand_in_frames"], own["stand_in_times"], own["stand_in_cameras"], schedule
            )
        if len(own.get("image_frames", ())):  # of the first clips alone, so `rows` are the right ones of it, too
            images, cameras = own["image_frames"], own["image_cameras"]
            times = torch.zeros(images.shape[:2], device=images.device)
            frames = frames.with_images(self.real_frames(images, times, cameras, schedule))
        return frames

    def real_frames(
        self, images: torch.Tensor, times: torch.Tensor, cameras: torch.Tensor, schedule: Schedule
    ) -> Frames:
        """Return stored clips as frames to judge, with their raw images.

        Args:
            images: uint8 [B, 2, 3, R, R].
            times: [B, 2].
            cameras: [B, 2, 25].
        """
        image = images.flatten(0, 1).float() / 127.5 - 1
        image_raw = blur(resize(image, self.config.generator.rendering.resolution), schedule.blur_sigma)
        return Frames(image=image, image_raw=image_raw, times=times, cameras=cameras.flatten(0, 1))

    def latents(self, fakes: Fakes, schedule: Schedule) -> Latents:
        """Map the codes of fakes; the mapping network's cameras may be swapped with those of other clips."""
        camera_mode = self.G.config.camera_mode
        mapped, rendered = condition_cameras(fakes.cameras, camera_mode, training=True)
        if schedule.swap_probability > 0:
            others, _ = condition_cameras(fakes.others, camera_mode, training=True)
            mapped = swap_cameras(mapped, others, schedule.swap_probability, fakes.random)
        if self.G.config.shares_latents:
            mapped = mapped[:, :1]
        z = fakes.z.repeat_interleave(mapped.shape[1], dim=0)
        z_motion = self.G.motion_code(fakes.z, fakes.z_motion).repeat_interleave(fakes.times.shape[1], dim=0)
        t = fakes.times.reshape(-1, 1)
        ws = self.G.mapping(z, mapped.flatten(0, 1), z_motion, t)
        return Latents(ws=ws, z_motion=z_motion, t=t, cameras=rendered.flatten(0, 1))

    def synthesise(self, fakes: Fakes, schedule: Schedule, w_avg_beta: float | None = None) -> Frames:
        """Return fake frames; update the mean latent if its decay `w_avg_beta` is given.

        Where some clips have but one frame, `stand_ins` holds those of others in their place; where the image
        discriminator judges images in the place of some, it holds the clips.
        """
        frames = self._synthesise(fakes, schedule, w_avg_beta)
        if self.D_vid is not None and fakes.stand_ins is not None:
            stills = fakes.stills()
            if stills:
                others = self._synthesise(fakes.stand_ins.rows(stills), schedule)
                frames.stand_ins = frames.with_clips(stills, others)
        if fakes.images is not None:
            frames = frames.with_images(self._synthesise(fakes.images, schedule))
        return frames

    def _synthesise(self, fakes: Fakes, schedule: Schedule, w_avg_beta: float | None = None) -> Frames:
        latents = self.latents(fakes, schedule)
        if w_avg_beta is not None:
            self.G.backbone.mapping.update_w_avg(latents.ws.detach(), w_avg_beta)
        out = self.G.synthesis(
            latents.ws,
            latents.cameras,
            latents.z_motion,
            latents.t,
            noise_mode=self.noise_mode,
            random=None if self.deterministic else fakes.random,
        )
        return Frames(image=out["image"], image_raw=out["image_raw"], times=fakes.times, cameras=latents.cameras)

    def judge(self, frames: Frames, schedule: Schedule) -> dict[str, torch.Tensor]:
        """Return the logits by discriminator: img [B * 2, 1], vid [B, 1]."""
        (logits,) = self.judge_together([frames], schedule)
        return logits

    def judge_together(self, sets: Sequence[Frames], schedule: Schedule) -> list[dict[str, torch.Tensor]]:
        """Return what `judge` does for each of several sets of frames, of as many clips each, in one pass."""
        own, judged = joined(sets).blurred(schedule.blur_sigma)
        logits = {}
        if self.D_img is not None:
            logits["img"] = self.D_img(own.image, own.image_raw, own.cameras, sets=len(sets))
        if self.D_vid is not None:
            logits["vid"] = self.D_vid(self.D_vid.assemble(judged.image, judged.times), judged.cameras, sets=len(sets))
        parts = {name: value.chunk(len(sets)) for name, value in logits.items()}
        return [{name: part[index] for name, part in parts.items()} for index in range(len(sets))]

    def scores_by_data(self, kind: str, logits: dict[str, torch.Tensor], frames: Frames) -> Report:
        """Return the image discriminator's logits of images and of clips' frames, to report; none in a run of clips."""
        if "img" not in logits or not self.config.images.wanted:
            return {}
        of_images, of_clips = logits["img"].split([frames.images, len(frames.image) - frames.images])
        return {f"scores/{kind}_img_images": of_images, f"scores/{kind}_img_clips": of_clips}

    def adversarial(self, logits: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the weighted sum of mean softplus(-logit): large for what does not look real."""
        weights = {"img": self.config.loss.lambda_img, "vid": self.config.loss.lambda_vid}
        return _total(softplus(-value).mean() * weights[name] for name, value in logits.items())

    def density_variation(
        self, points: torch.Tensor, near: torch.Tensor, latents: Latents, random: Streams | None = None
    ) -> torch.Tensor:
        """Return the mean |sigma(points) - sigma(near)| of raw densities at points, near [B * 2, M, 3]."""
        sampled = self.G.sample(
            torch.cat([points, near], dim=1),
            latents.ws,
            latents.z_motion,
            latents.t,
            noise_mode=self.noise_mode,
            random=None if self.deterministic else random,
        )
        first, second = sampled["sigma"].chunk(2, dim=1)
        return (first - second).abs().mean()


# --- R1 ---------------------------------------------------------------------------------------------------------------


def r1_image(
    D: ImageDiscriminator, image: torch.Tensor, image_raw: torch.Tensor, cameras: torch.Tensor
) -> torch.Tensor:
    """Return the squared gradient norm of the logits on frame and raw image, per frame [N]."""
    image = image.detach().requires_grad_()
    image_raw = image_raw.detach().requires_grad_()
    return _squared_gradient(D(image, image_raw, cameras), [image, image_raw])


def r1_video(D: VideoDiscriminator, pairs: torch.Tensor, cameras: torch.Tensor) -> torch.Tensor:
    """Return the squared gradient norm of the logits on the assembled pairs, the time plane included, per clip [B]."""
    pairs = pairs.detach().requires_grad_()
    return _squared_gradient(D(pairs, cameras), [pairs])


def _squared_gradient(logits: torch.Tensor, inputs: list[torch.Tensor]) -> torch.Tensor:
    gradients = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return _total(gradient.square().sum(dim=[1, 2, 3]) for gradient in gradients)


def _total(terms: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return the sum of tensors of one shape."""
    return torch.stack(list(terms)).sum(dim=0)
