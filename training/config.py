"""Every option of the model and its training: the only place with default numbers, ranges, flags and help texts.

Defaults are the paper's VoxCeleb configuration (PV3D section 3, A.1). `PRESETS` overrides them as one table; a command
line overrides a preset only where a flag is given, and `training.methods` are laid over presets. Configurations are
saved with every run and inside every snapshot as plain dictionaries (`dnnlib.options`), and read back with unknown keys
refused.
"""

import math
from dataclasses import dataclass

from dnnlib import options
from dnnlib.errors import UserError
from dnnlib.options import MAX_WHOLE, option, override
from torch_utils.machine_options import AUTO, MACHINE, PRECISIONS
from training.image_config import ImagesConfig
from training.methods import METHODS
from training.methods.presets import PRESETS

# Where motion enters a generator: its backbone, its decoder, the latents of a static one; or nowhere.
MOTIONS = ("layers", "decoder", "chain", "none")
MOTION_GENERATORS = ("modconv", "mlp", "naive")  # PV3D T. 2: motion generator
MOTION_CODES = ("z_m", "z_a")  # T. 2: z_m replaced by z_a
CAMERA_MODES = ("MapT", "All", "Non", "Map")  # T. 3: camera mode
PLANE_AXES = ("reference", "orthogonal")  # x-y x-z z-x, or x-y x-z y-z
MIN_WEIGHTED = 4  # stratified samples whose weights importance samples can be drawn from
COLOURS = 3  # of an image
FRAMES_PER_CLIP = 2  # section 3.4: two frames of a clip per training sample
MAX_FRAMES = 16  # of one
MAX_KIMG = 1e9  # greatest number of the progress
FOCAL = 4.2647  # of the EG3D / PV3D data preparation, in image sizes
FOCALS = (1.5, 8.0)  # pictures then show from 1.8, all that the planes hold and as much again, to 0.34, half a face
MAX_SAMPLES = 2**25  # along all rays of a frame; the paper's have 2 ** 18.6

# Headings of `train.py --help`.
RUN = "Run"
DATA = "Data"
LENGTH = "Length"
LOSSES = "Losses and optimisation"
MODEL = "Model"
ABLATIONS = "Ablations (PV3D tables 2 and 3)"


# --- Options ---------------------------------------------------------------------------------------------------------
# (default, heading, flag, help, range). Options without a heading have no flag; presets and files set them. Upper ends
# of ranges are far around what is of use: a file must not make networks of any size.


@dataclass(frozen=True, kw_only=True)
class RenderingConfig:
    """Volume rendering (PV3D Eq. 3). Lengths are in world units."""

    resolution: int = option(64, ABLATIONS, "--neural-rendering-resolution", "Side of the ray grid.", low=4, high=512)
    near: float = option(2.25, MODEL, "--near", "Least depth along rays.", above=0)
    far: float = option(3.3, MODEL, "--far", "Greatest depth along rays.", above=0)
    depth_samples: int = option(48, MODEL, "--depth-samples", "Stratified samples per ray.", low=2, high=4096)
    importance_samples: int = option(48, MODEL, "--importance-samples", "Importance samples per ray.", low=0, high=4096)
    box_side: float = option(1.0, above=0)  # side of the cube that the planes cover, centred on the origin
    plane_axes: str = option(
        "reference", ABLATIONS, "--plane-axes", "Planes x-y x-z z-x, or x-y x-z y-z.", choices=PLANE_AXES
    )
    disparity: bool = False  # coarse samples uniform in inverse depth
    white_background: bool = False
    decoder_hidden: int = option(64, low=1, high=8192)


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """Temporal tri-plane generator (PV3D section 3.2, Fig. 2)."""

    z_dim: int = option(512, low=1, high=8192)
    z_motion_dim: int = option(512, low=1, high=8192)
    w_dim: int = option(512, low=1, high=8192)
    mapping_layers: int = option(2, low=1, high=64)
    plane_resolution: int = option(
        256, MODEL, "--plane-resolution", "Side of the feature planes.", power_of_two=True, low=8, high=1024
    )
    plane_channels: int = option(32, low=1, high=1024)  # features of each of the three planes
    channel_base: int = option(
        32768, MODEL, "--cbase", "Channels of the generator: min(cbase / resolution, cmax).", low=1, high=2**22
    )
    channel_max: int = option(512, MODEL, "--cmax", "Most channels of the generator.", low=1, high=8192)
    img_resolution: int = option(
        512, MODEL, "--img-resolution", "Side of frames; data are shrunk to it.", power_of_two=True, low=16, high=1024
    )
    sr_channels: tuple[int, int] | None = option(None, low=1, high=8192)  # of super-resolution; None: by image size
    motion: str = option("layers", choices=MOTIONS)
    # Width of the network whose vector the decoder adds; of the chain, which moves along as many components of w.
    motion_hidden: int = option(128, low=1, high=8192)
    raw_layer: bool = True  # the raw image is a to-RGB layer of the features (PV3D), else the first three (EG3D)
    motion_blocks: int = option(
        4, ABLATIONS, "--motion-blocks", "K, fused blocks from 4 x 4 up: early 2, middle 4, late 7.", low=1
    )
    motion_generator: str = option(
        "modconv",
        ABLATIONS,
        "--motion-generator",
        "How motion enters: a modulated convolution, a vector that is added, or codes fed to the mapping network.",
        choices=MOTION_GENERATORS,
    )
    motion_code: str = option("z_m", ABLATIONS, "--motion-code", "The code that drives motion.", choices=MOTION_CODES)
    motion_weight: bool = option(False, ABLATIONS, "--motion-weight", "A learned scalar weight per motion layer.")
    camera_mode: str = option(
        "MapT", ABLATIONS, "--camera-mode", "Which camera mapping and rendering see.", choices=CAMERA_MODES
    )
    camera_conditioning: bool = option(
        True, ABLATIONS, "--camera-conditioning", "Condition the generator on cameras; else it sees zeros."
    )
    rendering: RenderingConfig = RenderingConfig()

    @property
    def block_resolutions(self) -> list[int]:
        """4, 8, ... plane_resolution."""
        return [2**i for i in range(2, int(math.log2(self.plane_resolution)) + 1)]

    @property
    def moves_planes(self) -> bool:
        """Whether the planes of a clip change over time; else they are those of its latents."""
        return self.motion == "layers"

    @property
    def shares_latents(self) -> bool:
        """Whether all frames of a clip have the same latents and planes in training."""
        return not self.moves_planes and self.camera_mode == "All"

    @property
    def is_static(self) -> bool:
        """Whether it knows no motion."""
        return self.motion == "none"

    @property
    def maps_each_camera(self) -> bool:
        """Whether the mapping network sees each frame's own camera in videos too."""
        return self.camera_mode == "Non"

    @property
    def maps_motion(self) -> bool:
        """Whether motion and time enter the mapping network (naive): an appearance has no latents of its own."""
        return self.motion == "layers" and self.motion_generator == "naive"

    @property
    def motion_dim(self) -> int:
        """Length of the code that drives motion."""
        return self.z_dim if self.motion_code == "z_a" else self.z_motion_dim

    def channels(self, resolution: int) -> int:
        """Return the feature channels of the backbone block at a resolution."""
        return min(self.channel_base // resolution, self.channel_max)


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Image and video discriminators (PV3D section 3.3)."""

    channel_base: int = option(32768, MODEL, "--d-cbase", "Like --cbase, of the discriminators.", low=1, high=2**22)
    channel_max: int = option(512, MODEL, "--d-cmax", "Like --cmax, of the discriminators.", low=1, high=8192)
    judges: str = option("frames", choices=("frames", "patches"))  # of whole frames and cameras; of patches of clips
    mapping_layers: int = option(8, low=1, high=64)
    # Samples per group of the minibatch standard deviation; of patches, whose scores are compared with their mean.
    mbstd_group: int = option(4, low=1, high=2**20)
    half_resolutions: int = option(4, low=0, high=16)  # highest ones run in fp16, if that is chosen; all in bf16
    image: bool = option(True, ABLATIONS, "--image-discriminator", "Train against the image discriminator.")
    video: bool = option(True, ABLATIONS, "--video-discriminator", "Train against the video discriminator.")
    video_cameras: bool = option(True, ABLATIONS, "--video-cameras", "Condition the video discriminator on cameras.")
    video_dt: bool = option(True, ABLATIONS, "--video-dt", "Show the video discriminator the time between frames.")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights and regularisation (PV3D section 3.4, A.1)."""

    lambda_img: float = option(1.0, LOSSES, "--lambda-img", "Weight of the image discriminator.", low=0)
    lambda_vid: float = option(0.65, LOSSES, "--lambda-vid", "Weight of the video discriminator.", low=0)
    lambda_reg: float = option(0.6, LOSSES, "--lambda-reg", "Weight of the density regularisation.", low=0)
    lambda_motion: float = option(
        0.0,
        LOSSES,
        "--lambda-motion",
        "Weight that keeps motions of a head from being alike (not in the paper).",
        low=0,
    )
    gamma: float = option(2.0, LOSSES, "--gamma", "Weight of R1.", low=0)
    reg_points: int = option(1000, low=1, high=2**22)
    reg_perturbation: float = 0.004
    blur_sigma: float = option(
        10.0, LOSSES, "--blur-sigma", "Initial blur of the discriminators' inputs, in pixels.", low=0
    )
    blur_fade_factor: float = 200 / 32  # fades to 0 over this times batch, in kimg
    swap_start: float = 1.0  # probability of swapping the mapping network's camera at the beginning
    swap_end: float = option(
        0.5,
        LOSSES,
        "--swap-end",
        "Probability of swapping the mapping network's camera with another clip's, to which it falls from 1.",
        low=0,
        high=1,
    )
    swap_fade_kimg: float = option(1000.0, LOSSES, "--swap-fade", "... over this many thousand clips.", low=0)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Optimisation and schedule (A.1). One kimg is a thousand clips (pairs of frames) shown to the discriminators.

    Where a sample is one frame, all that counts clips here counts frames.
    """

    # Of a clip, per training sample; more than a pair follow each other.
    frames: int = option(FRAMES_PER_CLIP, low=1, high=MAX_FRAMES)
    batch: int = option(16, LOSSES, "--batch", "Clips per iteration over all processes.", low=1, high=2**20)
    batch_gpu: int | None = option(
        None, MACHINE, "--batch-gpu", "Clips per pass; gradients of passes add up. [default: all]", low=1, high=2**20
    )
    kimg: float = option(4800.0, LENGTH, "--kimg", "Train for this many thousand clips.", above=0)  # 300k iterations
    glr: float = option(0.0025, LOSSES, "--glr", "Learning rate of the generator.", above=0)
    dlr: float = option(0.002, LOSSES, "--dlr", "Learning rate of the discriminators.", above=0)
    betas: tuple[float, float] = option((0.0, 0.99), low=0, below=1)
    eps: float = option(1e-8, above=0)
    g_reg_interval: int | None = option(4, low=1, high=2**20)  # None: no iteration has more than its one step
    d_reg_interval: int | None = option(16, low=1, high=2**20)
    ema_kimg_factor: float = 10 / 32  # half-life of the EMA is this times batch, in kimg
    ema_rampup: float = 0.05
    w_avg_beta: float = 0.998
    component_latents: int = option(10**6, low=2, high=2**30)  # of which the principal components of w are those
    reuse_fakes: bool = option(
        False, LOSSES, "--reuse-fakes", "The discriminators train on the fakes that the generator has just trained on."
    )
    precision: str = option(
        AUTO,
        MACHINE,
        "--precision",
        "fp16: of super-resolution and the discriminators' top blocks; bf16: of all convolutions, planes and decoder; "
        "tf32: of all products, on a GPU. auto: bf16 on a GPU or CPU that is fast in it, else fp16 on a GPU, fp32 on a "
        "CPU; a run keeps what it began with.",
        choices=(AUTO, *PRECISIONS),
    )
    window: int = option(16, DATA, "--window", "Frames of a clip from which a pair is drawn.", low=1, high=2**20)
    mirror: bool = option(True, DATA, "--mirror", "Mirror clips at random.")
    seed: int = option(0, RUN, "--seed", "Seed of weights, data order and noise.", low=0, high=MAX_WHOLE)
    workers: int = option(
        2, MACHINE, "--workers", "Processes that load data; 0 loads in the main process.", low=0, high=1024
    )
    tick: float = option(4.0, LENGTH, "--tick", "Thousand clips between status lines.", above=0)
    snap: int = option(50, LENGTH, "--snap", "Ticks between snapshots; 0: only at the end.", low=0, high=2**31)
    keep: int = option(3, LENGTH, "--keep", "Training states to keep in the run's folder.", low=1, high=2**31)


@dataclass(frozen=True, kw_only=True)
class Config:
    """A complete configuration."""

    method: str = option(
        "pv3d",
        RUN,
        "--method",
        f"What is trained (docs/methods.md). {'; '.join(method.help() for method in METHODS.values())}.",
        choices=tuple(METHODS),
    )
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    images: ImagesConfig = ImagesConfig()


# --- Presets ---------------------------------------------------------------------------------------------------------


def preset(name: str, method: str = "pv3d") -> Config:
    """Return the configuration of a method at a preset; UserError for an unknown name of a preset."""
    if name not in PRESETS:
        raise UserError(f"--cfg={name} is no preset; choose one of {', '.join(PRESETS)}.")
    return override(Config(), PRESETS[name] | METHODS[method].over(name))


# --- What relates several options ------------------------------------------------------------------------------------


def validate(config: Config) -> Config:
    """Refuse impossible options; the UserError says which flag and what is possible. Return `config`."""
    options.check(config)
    config.images.check(frames=config.training.frames, judged=config.discriminator.image)
    for key, value in METHODS[config.method].fixed.items():
        found = options.value_of(config, key)
        if found != value:
            raise UserError(f"--method={config.method} means {key} = {value}, not {found}: begin with a preset.")
    g = config.generator
    d = config.discriminator
    rendering = g.rendering
    blocks = len(g.block_resolutions)
    if g.motion == "chain" and (g.z_motion_dim != g.w_dim * (config.training.frames - 1) or g.motion_hidden > g.w_dim):
        raise UserError(
            f"No chain of codes of {g.z_motion_dim} numbers moves latents of {g.w_dim}: begin with a preset."
        )
    if g.motion != "chain" and None in (config.training.g_reg_interval, config.training.d_reg_interval):
        raise UserError(f"--method={config.method} regularises once in so many iterations: give both intervals.")
    if g.moves_planes and g.motion_blocks > blocks:
        raise UserError(
            f"--motion-blocks={g.motion_blocks} is out of range: planes of {g.plane_resolution} pixels "
            f"have {blocks} blocks, choose 1 to {blocks}."
        )
    if not g.raw_layer and g.plane_channels < COLOURS:
        raise UserError(f"Planes of {g.plane_channels} features hold no raw image, which is the first {COLOURS}.")
    fewest_channels = min(g.channels(g.plane_resolution), d.channel_base // g.img_resolution)
    if fewest_channels < 1:
        raise UserError("The networks have layers without channels: raise --cbase or --d-cbase.")
    if rendering.importance_samples > 0 and rendering.depth_samples < MIN_WEIGHTED:
        raise UserError(
            f"--depth-samples={rendering.depth_samples} is too small: importance samples are drawn from the weights of "
            f"at least {MIN_WEIGHTED}."
        )
    if rendering.near >= rendering.far:
        raise UserError(f"The rays' depths must satisfy 0 < near < far, not {rendering.near} and {rendering.far}.")
    if not (d.image or d.video):
        raise UserError(
            "--image-discriminator and --video-discriminator are both off: nothing is left to train against."
        )
    if config.loss.lambda_motion > 0 and (g.maps_motion or g.motion_code == "z_a"):
        raise UserError(
            "--lambda-motion compares motions of one appearance, which --motion-generator=naive and --motion-code=z_a "
            "do not have: leave it out."
        )
    samples = rendering.resolution**2 * (rendering.depth_samples + rendering.importance_samples)
    if samples > MAX_SAMPLES:
        raise UserError(
            f"A frame of {samples} samples along rays is too large: choose a lower --depth-samples, "
            "--importance-samples or --neural-rendering-resolution."
        )
    return config
