"""What `benchmarks/applications.py` measures, case by case: each inverts something whose truth is known.

A case returns its numbers by name; None is what could not be measured. Seconds are those of this process.
"""

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from applications.camera_offsets import beside
from applications.jobs import Session, build_comparison, identity_similarity
from applications.latents import Latents
from applications.options import InversionOptions
from applications.running import Inversion
from applications.scores import psnr, ssim
from applications.showing import SIDE_YAW, result_frames
from applications.sources import seeded_latents, with_motion_seed
from applications.targets import Target
from detectors.dlib_face import DlibEmbedder
from dnnlib.progress import Counter
from metrics.frame_regressor import FrameRegressor
from metrics.mouth import correlation, openings
from training import synthetic
from training.cameras import frontal_label
from training.data.streams import Stream
from training.sampling.options import DEFAULT_FPS

CONTROL_SEED = 1000  # the motions of controls have the seeds of the clips, and this more

Numbers = dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What cases are measured with; without dlib there is no embedder, and where no clip is asked for no mouth."""

    session: Session
    mouth: FrameRegressor | None
    embedder: DlibEmbedder | None
    counter: Counter

    def find(self, target: Target, options: InversionOptions, *, with_motion: bool) -> tuple[Latents, float]:
        """Return the latents of a target, and the seconds that the search took."""
        session = self.session
        comparison, _ = build_comparison(session, target, options)
        with tempfile.TemporaryDirectory() as folder:
            inversion = Inversion(
                G=session.G,
                model=session.model,
                target=target,
                comparison=comparison,
                options=options,
                with_motion=with_motion,
                work=session.work,
                folder=Path(folder),
                silent=True,
                after_step=self.counter.update,
            )
            started = time.process_time()
            found = inversion.run().latents
            seconds = time.process_time() - started
        return found, seconds

    def seeded(self, seed: int, frames: int) -> Latents:
        """Return the generator's own clip of a seed. The camera stays in front: nothing but the motion moves."""
        return seeded_latents(seed, self.session.G, self.session.model, frontal_label().expand(frames, -1))

    def frames(self, latents: Latents, yaw: float = 0.0) -> torch.Tensor:
        """Return frames uint8 [T, 3, R, R] seen from a yaw beside the latents' cameras, radians."""
        seen = replace(latents, cameras=beside(latents.cameras, yaw))
        return result_frames(self.session.G, seen, self.session.sampling)

    def identity(self, a: torch.Tensor, b: torch.Tensor) -> float | None:
        """Return the mean cosine of faces in frames uint8 [T, 3, R, R]; None without dlib or faces."""
        return None if self.embedder is None else identity_similarity(self.embedder, a, b)

    def opening(self, frames: torch.Tensor) -> np.ndarray:
        """Return how far mouths are open [T] in frames uint8 [T, 3, R, R]."""
        assert self.mouth is not None
        return openings(self.mouth, frames.numpy())


def target_of(name: str, frames: torch.Tensor, cameras: torch.Tensor) -> Target:
    """Return frames uint8 [T, 3, R, R] as what is to be inverted."""
    return Target(name=name, images=frames.float() / 127.5 - 1, cameras=cameras, fps=DEFAULT_FPS)


def mean_psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the mean over frames, decibels."""
    return psnr(a, b).mean().item()


# --- Pictures ---------------------------------------------------------------------------------------------------------


def own_picture(bench: Bench, options: InversionOptions, seed: int) -> Numbers:
    """Animate a picture that the generator itself made: how close a search comes to what is there to be found."""
    own = bench.seeded(seed, 1)
    picture = bench.frames(own)
    found, seconds = bench.find(target_of(f"seed {seed}", picture, own.cameras), options, with_motion=False)
    return {
        "psnr": mean_psnr(bench.frames(found), picture),
        "psnr beside": mean_psnr(bench.frames(found, SIDE_YAW), bench.frames(own, SIDE_YAW)),
        "seconds": seconds,
    }


def unseen_head(bench: Bench, options: InversionOptions, seed: int) -> Numbers:
    """Animate a procedural head that training never saw; views from both sides have a truth of their own.

    `start` is the mean appearance, which knows nothing of the picture.
    """
    cameras = frontal_label()[None]
    sides = (-SIDE_YAW, SIDE_YAW)
    picture = _head(bench, seed, cameras)
    true_sides = torch.cat([_head(bench, seed, beside(cameras, yaw)) for yaw in sides])
    found, seconds = bench.find(target_of(f"head {seed}", picture, cameras), options, with_motion=False)
    mean_latent = bench.session.G.backbone.mapping.w_avg.cpu()
    start = replace(found, ws=mean_latent.expand(bench.session.G.num_ws, -1))
    result = bench.frames(found)
    result_sides = torch.cat([bench.frames(found, yaw) for yaw in sides])
    start_sides = torch.cat([bench.frames(start, yaw) for yaw in sides])
    return {
        "psnr start": mean_psnr(bench.frames(start), picture),
        "psnr": mean_psnr(result, picture),
        "ssim": ssim(result, picture).mean().item(),
        "identity": bench.identity(result, picture),
        "start beside": mean_psnr(start_sides, true_sides),
        "psnr beside": mean_psnr(result_sides, true_sides),
        "identity beside": bench.identity(result_sides, true_sides),
        "seconds": seconds,
    }


def _head(bench: Bench, seed: int, cameras: torch.Tensor) -> torch.Tensor:
    """Return a relaxed head that training never saw, uint8 [1, 3, R, R], seen by a camera [1, 25]."""
    identity = synthetic.random_identity(seed, Stream.TEST_IDENTITY)
    resolution = bench.session.config.generator.img_resolution
    image, _ = synthetic.render_frame(identity, synthetic.Expression(), cameras[0].numpy(), resolution)
    return torch.from_numpy(image)[None]


# --- Clips ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """A clip that the generator made of a seed, and the latents that were found for its frames."""

    seed: int
    own: Latents
    frames: torch.Tensor  # uint8 [T, 3, R, R]
    found: Latents


def rebuilt_clip(bench: Bench, options: InversionOptions, seed: int, frames: int) -> tuple[Rebuilt, Numbers]:
    """Reconstruct a clip that the generator itself made.

    `control` is the correlation of mouths with those of the found appearance under another seed's motion: where it is
    as high as `mouth`, the model moves by time more than by the code. `identity edited` compares faces of the input
    with those frames.
    """
    own = bench.seeded(seed, frames)
    truth = bench.frames(own)
    found, seconds = bench.find(target_of(f"clip {seed}", truth, own.cameras), options, with_motion=True)
    result = bench.frames(found)
    edited = bench.frames(_otherwise_moved(bench, found, seed))
    opening = bench.opening(truth)
    numbers = {
        "psnr": mean_psnr(result, truth),
        "opening spread": float(opening.std()),
        "mouth": correlation(opening, bench.opening(result)),
        "control": correlation(opening, bench.opening(edited)),
        "identity": bench.identity(truth, result),
        "identity edited": bench.identity(truth, edited),
        "seconds": seconds,
    }
    return Rebuilt(seed=seed, own=own, frames=truth, found=found), numbers


def retargeted(bench: Bench, driving: Rebuilt, appearance: Rebuilt) -> Numbers:
    """Move the appearance that was found in one clip by the motion that was found in another.

    `control` has the motion of neither. `own codes` is what the generator itself makes of both clips' true codes:
    no search can hope for more.
    """
    opening = bench.opening(driving.frames)
    moved = bench.frames(appearance.found.with_motion_of(driving.found))
    control = bench.frames(_otherwise_moved(bench, appearance.found, driving.seed))
    true_codes = bench.frames(appearance.own.with_motion_of(driving.own))
    return {
        "mouth": correlation(opening, bench.opening(moved)),
        "control": correlation(opening, bench.opening(control)),
        "own codes": correlation(opening, bench.opening(true_codes)),
        "identity": bench.identity(appearance.frames, moved),
        "strangers": bench.identity(appearance.frames, driving.frames),
    }


def _otherwise_moved(bench: Bench, latents: Latents, seed: int) -> Latents:
    """Return an appearance with a motion that has nothing to do with that of the seed's clip."""
    return with_motion_seed(latents, seed + CONTROL_SEED, bench.session.G, latents.cameras)
