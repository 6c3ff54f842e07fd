"""What training computes where motion moves the latents of a static generator (MoCoGAN-HD; `training.loss` otherwise).

Shapes: B clips of F frames that follow each other, all seen by one camera.
"""

from functools import partial

import torch
from torch.nn.functional import cosine_similarity
from torch.utils.checkpoint import checkpoint

from torch_utils.random_numbers import Streams, uniform
from training.config import Config
from training.data.loader import Batch
from training.data.streams import Draws
from training.fakes import Fakes
from training.judged import Frames
from training.loss import Report, Schedule
from training.networks.generator import Generator
from training.networks.patch_discriminators import ClipPatches, PairPatches, seen

LAMBDA_GUESS = 1.0  # weight of the guessed noise: mutual information of noise and motion
PIXELS = 2**16  # of the frames of a clip that are rendered at a time
TINY = 1e-16  # below all squared gradients that count; keeps that of a norm finite

Scores = list[torch.Tensor]  # of patches at several scales, [B, 1, ...] each


class ChainLoss:
    """The computations of the phases. Arguments as of `Loss`."""

    def __init__(
        self,
        G: Generator,
        D_img: PairPatches,
        D_vid: ClipPatches,
        config: Config,
        *,
        noise_mode: str = "random",
        deterministic: bool = False,
    ):
        assert G.chain is not None
        self.G = G
        self.chain = G.chain
        self.D_img = D_img
        self.D_vid = D_vid
        self.config = config
        self.noise_mode = noise_mode
        self.deterministic = deterministic

    def g_main(self, reals: Frames, fakes: Fakes, schedule: Schedule, gain: float = 1.0) -> Report:
        """Train the motion: clips should look real, and show which noise moved them."""
        latents, guesses = self.latents(fakes)
        chosen, is_reversed = self._choices(fakes)
        fake = self.judge(self.synthesise(latents, fakes), chosen, is_reversed)
        with torch.no_grad():
            real = self.judge(_clips(reals), chosen, is_reversed)
        guess = -cosine_similarity(guesses, fakes.z_motion.unflatten(1, guesses.shape[1:]), dim=2).mean()
        loss = self.adversarial(fake, real) + LAMBDA_GUESS * guess
        (loss * gain).backward()
        scores = {f"scores/fake_{name}": _mean(value).detach() for name, value in fake.items()}
        return {"loss/g": loss.detach(), "loss/guess": guess.detach(), **scores}

    def d_main(self, reals: Frames, fakes: Fakes, schedule: Schedule, gain: float = 1.0) -> Report:
        """Train the discriminators: reals should look more real than fakes, and D_vid should change evenly between."""
        chosen, is_reversed = self._choices(fakes)
        with torch.no_grad():
            made = self.synthesise(self.latents(fakes)[0], fakes)
        clips = _clips(reals)
        fake = self.judge(made, chosen, is_reversed)
        real = self.judge(clips, chosen, is_reversed)
        shares = uniform([len(clips)], fakes.random, clips.device, clips.dtype)
        between = torch.lerp(made, clips, shares.view(-1, 1, 1, 1, 1))
        penalty = gradient_penalty(self.D_vid, self._judged_clips(between, is_reversed))
        loss = self.adversarial(real, fake) + penalty * (self.config.loss.gamma / 2)
        (loss * gain).backward()
        scores = {f"scores/real_{name}": _mean(value).detach() for name, value in real.items()}
        return {"loss/d": loss.detach(), "loss/penalty_vid": penalty.detach(), **scores}

    # --- Their parts --------------------------------------------------------------------------------------------------

    def reals(self, batch: Batch, rows: slice, schedule: Schedule) -> Frames:
        """Return the frames of some of the clips of a batch of stored ones, on the device."""
        return self.real_frames(batch["frames"][rows], batch["times"][rows], batch["cameras"][rows], schedule)

    def real_frames(
        self, images: torch.Tensor, times: torch.Tensor, cameras: torch.Tensor, schedule: Schedule
    ) -> Frames:
        """Return stored clips as the discriminators see them; nothing looks at their raw images.

        Args:
            images: uint8 [B, F, 3, R, R].
            times: [B, F].
            cameras: [B, F, 25].
        """
        image = seen(images.flatten(0, 1).float() / 127.5 - 1)
        return Frames(image=image, image_raw=image, times=times, cameras=cameras.flatten(0, 1))

    def latents(self, fakes: Fakes) -> tuple[torch.Tensor, torch.Tensor]:
        """Return latents [B, F, num_ws, w_dim] of fakes, and guesses [B, F - 1, w_dim] of their noise."""
        with torch.no_grad():
            ws = self.G.mapping(fakes.z, fakes.cameras[:, 0])
        offsets, guesses = self.chain(ws[:, 0], fakes.z_motion)
        return ws.unsqueeze(1) + offsets.unsqueeze(2), guesses

    @property
    def frames_at_a_time(self) -> int:
        """How many frames of each clip are rendered at a time."""
        return max(PIXELS // self.G.config.img_resolution**2, 1)

    def synthesise(self, latents: torch.Tensor, fakes: Fakes) -> torch.Tensor:
        """Return clips [B, F, 3, S, S] of latents [B, F, num_ws, w_dim], as the discriminators see them.

        They are rendered PIXELS of a clip at a time; what takes several times is rendered anew in the backward pass, so
        that the memory is that of one.
        """
        parts = latents.split(self.frames_at_a_time, dim=1)
        make = self._frames
        if len(parts) > 1 and torch.is_grad_enabled():
            make = partial(checkpoint, self._frames, use_reentrant=False)
        return torch.cat([make(ws, fakes, number) for number, ws in enumerate(parts)], dim=1)

    def _frames(self, latents: torch.Tensor, fakes: Fakes, number: int) -> torch.Tensor:
        """Return part `number` of clips, [B, F', 3, S, S]; each call of it draws the same random numbers."""
        clips, frames = latents.shape[:2]
        of_frames = partial(torch.repeat_interleave, repeats=frames, dim=0)
        made = self.G.synthesis(
            latents.flatten(0, 1),
            of_frames(fakes.cameras[:, 0]),
            of_frames(fakes.z_motion),
            of_frames(fakes.times[:, :1]),
            is_moved=True,
            noise_mode=self.noise_mode,
            random=None if self.deterministic else fakes.random.apart(Draws.FRAMES, number),
        )
        return seen(made["image"]).unflatten(0, (clips, frames))

    def _choices(self, fakes: Fakes) -> tuple[torch.Tensor, bool]:
        """Draw which later frame of each clip D_img sees, int [B], and whether time runs backwards for D_vid.

        The latter is one draw for all clips of a batch, in all passes and processes.
        """
        later = self.config.training.frames - 1
        draws = uniform([len(fakes.z)], fakes.random, fakes.z.device)
        host = torch.device("cpu")
        backwards = torch.rand([], generator=Streams.next_generator(fakes.random.apart(Draws.REVERSAL), host)) < 0.5
        return 1 + (draws * later).long().clamp(max=later - 1), bool(backwards)

    def _judged_clips(self, clips: torch.Tensor, is_reversed: bool) -> torch.Tensor:
        """Return what D_vid sees of clips [B, F, 3, S, S]; in turned time, the first frame stays beside the rest."""
        later = self.D_vid.assemble(clips)
        return later.flip(2) if is_reversed else later

    def judge(self, clips: torch.Tensor, chosen: torch.Tensor, is_reversed: bool) -> dict[str, Scores]:
        """Return the scores by discriminator of clips [B, F, 3, S, S]."""
        return {
            "img": self.D_img(self.D_img.assemble(clips, chosen)),
            "vid": self.D_vid(self._judged_clips(clips, is_reversed)),
        }

    def adversarial(self, higher: dict[str, Scores], lower: dict[str, Scores]) -> torch.Tensor:
        """Return the weighted sum of the losses of scores that should be higher and of those that should be lower."""
        weights = {"img": self.config.loss.lambda_img, "vid": self.config.loss.lambda_vid}
        group = self.config.discriminator.mbstd_group
        terms = []
        for name, weight in weights.items():
            for up, down in zip(higher[name], lower[name], strict=True):
                terms.append(relativistic(up, down, group) * weight)
        return torch.stack(terms).sum()


def relativistic(higher: torch.Tensor, lower: torch.Tensor, group: int) -> torch.Tensor:
    """Return the loss of relativistic averages, by least squares.

    It is half the mean of (higher - mean(lower) - 1)^2 + (lower - mean(higher) + 1)^2. Means that are subtracted are
    those of groups of min(group, B) clips and of all their patches, so that they do not depend on how a batch is
    divided among processes. Clip n belongs to group n mod (B / group).

    Args:
        higher, lower: scores [B, 1, ...].
    """
    size = min(group, len(higher))
    up, down = (scores.reshape(size, len(scores) // size, -1) for scores in (higher, lower))
    up_mean, down_mean = (scores.mean(dim=(0, 2), keepdim=True) for scores in (up, down))
    return ((up - down_mean - 1).square().mean() + (down - up_mean + 1).square().mean()) / 2


def gradient_penalty(D: ClipPatches, clips: torch.Tensor) -> torch.Tensor:
    """Return how far gradients of scores are from length 1, at clips [B, 6, T, S, S] between fakes and reals.

    Lengths are over the channels, of each pixel; the squares of what they differ are averaged, and summed over the
    scales.
    """
    clips = clips.detach().requires_grad_()
    terms = []
    for scores in D(clips):
        (gradient,) = torch.autograd.grad(scores.sum(), clips, create_graph=True)
        lengths = (gradient.square().sum(dim=1) + TINY).sqrt()
        terms.append((lengths - 1).square().mean())
    return torch.stack(terms).sum()


def _clips(frames: Frames) -> torch.Tensor:
    """Return frames as clips [B, F, 3, S, S]."""
    return frames.image.unflatten(0, (len(frames.times), -1))


def _mean(scores: Scores) -> torch.Tensor:
    """Return the mean score of each clip, [B], over the scales."""
    return torch.stack([score.flatten(1).mean(dim=1) for score in scores]).mean(dim=0)
