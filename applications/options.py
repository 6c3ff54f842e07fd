"""Every number of an inversion: defaults, ranges and help texts; and other values that options of commands name."""

from dataclasses import dataclass
from typing import Any

from dnnlib.options import option
from training.sampling.options import ARRAYS, FORMATS

# Headings of `--help`.
INVERSION = "Inversion"
LOSSES = "What frames are compared by"
TUNING = "Tuning of the generator"

COLUMNS = ("input", "result", "side", "normals")  # pictures side by side
GENERATED = COLUMNS[1:]
ANALYSES = ("style-mixing", "alignment", "motion")
PAIRS = 3000  # of the analysis of cameras (Fig. 8)
VIDEO_FORMATS = tuple(name for name in FORMATS if name != ARRAYS)


@dataclass(frozen=True, kw_only=True)
class Output:
    """How videos and pictures are written.

    Args:
        format: of videos, of VIDEO_FORMATS; what is one frame is a picture.
        scale: how many times larger than the frames.
        labels: whether a strip above names the columns.
    """

    format: str = "mp4"
    scale: int = 1
    labels: bool = False

    def options(self) -> dict[str, Any]:
        """Return what a record says of it; where an option is at its default, what older records have."""
        return {name: value for name, value in vars(self).items() if value != vars(USUAL_OUTPUT)[name]}


USUAL_OUTPUT = Output()


@dataclass(frozen=True, kw_only=True)
class InversionOptions:
    """How latents are found for a picture or a clip."""

    steps: int = option(300, INVERSION, "--steps", "Steps of the search.", low=1)
    space: str = option("w+", INVERSION, "--space", "w+: a latent for each layer; w: one for all.", choices=("w", "w+"))
    lr: float = option(0.05, INVERSION, "--lr", "Learning rate of the appearance.", above=0)
    motion_lr: float = option(0.05, INVERSION, "--motion-lr", "Learning rate of the motion codes.", above=0)
    starts: int = option(16, INVERSION, "--starts", "Random appearances to try as a start, beside the mean.", low=0)
    restarts: int = option(1, INVERSION, "--restarts", "Best starts that are searched from; the best goes on.", low=1)
    frames_per_step: int = option(4, INVERSION, "--frames-per-step", "Frames of a clip in each step.", low=1)
    fit_cameras: bool = option(False, INVERSION, "--fit-cameras", "Search for the cameras as well.")
    camera_lr: float = option(0.005, INVERSION, "--camera-lr", "Learning rate of the cameras.", above=0)
    seed: int = option(0, INVERSION, "--seed", "Seed of all random numbers.", low=0)

    pixels: float = option(1.0, LOSSES, "--pixels", "Weight of squared errors of pixels, at four scales.", low=0)
    features: float = option(0.1, LOSSES, "--features", "Weight of the image discriminator's features.", low=0)
    lpips: float = option(0.0, LOSSES, "--lpips", "Weight of LPIPS, whose weights are downloaded.", low=0)
    identity: float = option(0.0, LOSSES, "--identity", "Weight of ArcFace's identity, from a file of weights.", low=0)
    mean_pull: float = option(1e-3, LOSSES, "--mean-pull", "Pull of the appearance to the mean latent.", low=0)
    unity_pull: float = option(1e-3, LOSSES, "--unity-pull", "Pull of the layers' latents to each other.", low=0)
    symmetry: float = option(0.0, LOSSES, "--symmetry", "Weight of mirror symmetry of views from the side.", low=0)
    motion_pull: float = option(1e-4, LOSSES, "--motion-pull", "Pull of motion codes to ordinary ones.", low=0)
    motion_smooth: float = option(1e-4, LOSSES, "--motion-smooth", "Pull of motion codes to their neighbours.", low=0)
    camera_pull: float = option(1.0, LOSSES, "--camera-pull", "Pull of cameras to those given.", low=0)

    tune_steps: int = option(0, TUNING, "--tune-steps", "Steps that tune the generator to the frames; 0: none.", low=0)
    tune_lr: float = option(3e-4, TUNING, "--tune-lr", "Learning rate of the generator.", above=0)
    locality: float = option(1.0, TUNING, "--locality", "Weight that keeps other appearances as they are.", low=0)
