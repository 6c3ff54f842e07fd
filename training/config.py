"""Every option of the model and its training: typed, validated once, and the only place with default numbers.

Defaults are the paper's VoxCeleb configuration (PV3D section 3, A.1). `PRESETS` overrides them as one table; a command
line overrides a preset only where a flag is given. Configurations are saved with every run and inside every snapshot as
plain dictionaries (`to_dict`) and read back with unknown keys refused (`from_dict`).
"""

import dataclasses
import functools
import math
import typing
from dataclasses import dataclass, field

from dnnlib.errors import UserError
from dnnlib.files import shown

MOTION_GENERATORS = ("modconv", "mlp", "naive")  # PV3D T. 2: motion generator
MOTION_CODES = ("z_m", "z_a")  # T. 2: z_m replaced by z_a
CAMERA_MODES = ("MapT", "All", "Non", "Map")  # T. 3: camera mode
PLANE_AXES = ("reference", "orthogonal")  # x-y x-z z-x, or x-y x-z y-z
PRECISIONS = ("fp32", "bf16", "fp16")
FRAMES_PER_CLIP = 2  # section 3.4: two frames of a clip per training sample
MAX_SAMPLES = 2**25  # along all rays of a frame; the paper's have 2 ** 18.6
MAX_WHOLE = 2**63 - 1  # what other software takes for a whole number
# Least and greatest of whole numbers, far around what is of use: a file must not make networks of any size.
RANGES = {
    "generator.z_dim": (1, 8192),
    "generator.z_motion_dim": (1, 8192),
    "generator.w_dim": (1, 8192),
    "generator.mapping_layers": (1, 64),
    "generator.plane_channels": (1, 1024),
    "generator.sr_channels": (1, 8192),
    "generator.channel_base": (1, 2**22),
    "generator.channel_max": (1, 8192),
    "generator.rendering.depth_samples": (1, 4096),
    "generator.rendering.importance_samples": (0, 4096),
    "generator.rendering.decoder_hidden": (1, 8192),
    "discriminator.channel_base": (1, 2**22),
    "discriminator.channel_max": (1, 8192),
    "discriminator.mapping_layers": (1, 64),
    "discriminator.mbstd_group": (1, 2**20),
    "discriminator.half_resolutions": (0, 16),
    "loss.reg_points": (1, 2**22),
    "training.batch": (1, 2**20),
    "training.batch_gpu": (1, 2**20),
    "training.g_reg_interval": (1, 2**20),
    "training.d_reg_interval": (1, 2**20),
    "training.window": (1, 2**20),
    "training.seed": (0, MAX_WHOLE),
    "training.workers": (0, 1024),
    "training.snap": (0, 2**31),
    "training.keep": (1, 2**31),
}


@dataclass(frozen=True)
class RenderingConfig:
    """Volume rendering (PV3D Eq. 3)."""

    resolution: int = 64  # side of the ray grid in training; the raw image's size
    near: float = 2.25  # first depth along a ray, world units
    far: float = 3.3  # last depth
    depth_samples: int = 48  # stratified samples per ray
    importance_samples: int = 48  # samples drawn from the coarse weights
    box_side: float = 1.0  # side of the cube that the planes cover, centred on the origin
    plane_axes: str = "reference"  # one of PLANE_AXES
    disparity: bool = False  # coarse samples uniform in inverse depth
    white_background: bool = False
    decoder_hidden: int = 64


@dataclass(frozen=True)
class GeneratorConfig:
    """Temporal tri-plane generator (PV3D section 3.2, Fig. 2)."""

    z_dim: int = 512
    z_motion_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 2
    plane_resolution: int = 256
    plane_channels: int = 32  # features of each of the three planes
    channel_base: int = 32768  # channels at a resolution: min(channel_base / resolution, channel_max)
    channel_max: int = 512
    img_resolution: int = 512
    sr_channels: tuple[int, int] | None = None  # of the two super-resolution blocks; None: by image size
    motion_blocks: int = 4  # K: fused blocks from 4 x 4 up (T. 2: early 2, middle 4, late 7)
    motion_generator: str = "modconv"  # one of MOTION_GENERATORS
    motion_code: str = "z_m"  # one of MOTION_CODES
    motion_weight: bool = False  # learned scalar weight per motion layer
    camera_mode: str = "MapT"  # one of CAMERA_MODES
    camera_conditioning: bool = True  # False: the mapping network sees zeros in place of the camera
    rendering: RenderingConfig = field(default_factory=RenderingConfig)

    @property
    def block_resolutions(self) -> list[int]:
        """4, 8, ... plane_resolution."""
        return [2**i for i in range(2, int(math.log2(self.plane_resolution)) + 1)]

    @property
    def motion_dim(self) -> int:
        """Numbers of the code that drives motion."""
        return self.z_dim if self.motion_code == "z_a" else self.z_motion_dim

    def channels(self, resolution: int) -> int:
        """Feature channels of the backbone block at a resolution."""
        return min(self.channel_base // resolution, self.channel_max)


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Image and video discriminators (PV3D section 3.3)."""

    channel_base: int = 32768
    channel_max: int = 512
    mapping_layers: int = 8
    mbstd_group: int = 4  # minibatch standard deviation: samples per group
    half_resolutions: int = 4  # highest resolutions that run in half precision, if one is chosen
    image: bool = True  # T. 3: without image discriminator
    video: bool = True  # T. 3: without video discriminator
    video_cameras: bool = True  # T. 3: without cameras
    video_dt: bool = True  # T. 3: without the time difference


@dataclass(frozen=True)
class LossConfig:
    """Weights and regularisation (section 3.4, A.1)."""

    lambda_img: float = 1.0
    lambda_vid: float = 0.65
    lambda_reg: float = 0.6  # density regularisation
    gamma: float = 2.0  # R1
    reg_points: int = 1000
    reg_perturbation: float = 0.004
    blur_sigma: float = 10.0  # initial blur of discriminator inputs, pixels
    blur_fade_factor: float = 200 / 32  # fades to 0 over this times batch, in kimg
    swap_start: float = 1.0  # probability of swapping the mapping network's camera, fading ...
    swap_end: float = 0.5
    swap_fade_kimg: float = 1000.0  # ... over this many kimg


@dataclass(frozen=True)
class TrainingConfig:
    """Optimisation and schedule (A.1). One kimg is a thousand clips (pairs of frames) shown to the discriminators."""

    batch: int = 16  # clips per iteration over all processes
    batch_gpu: int | None = None  # clips per forward pass; None: batch / processes
    kimg: float = 4800.0  # 300k iterations of 16 clips
    glr: float = 0.0025
    dlr: float = 0.002
    betas: tuple[float, float] = (0.0, 0.99)
    eps: float = 1e-8
    g_reg_interval: int = 4
    d_reg_interval: int = 16
    ema_kimg_factor: float = 10 / 32  # half-life of the EMA is this times batch, in kimg
    ema_rampup: float = 0.05
    w_avg_beta: float = 0.998
    precision: str = "fp16"  # of super-resolution and the discriminators' highest resolutions
    window: int = 16  # frames of a clip that a pair is drawn from
    mirror: bool = True
    seed: int = 0
    workers: int = 2
    tick: float = 4.0  # kimg between status lines
    snap: int = 50  # ticks between snapshots; 0: only at the end
    keep: int = 3  # training states kept in the run folder


@dataclass(frozen=True)
class Config:
    """A complete configuration."""

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


# What each preset changes; keys are `section.field`. Weights: A.1.
PRESETS: dict[str, dict[str, typing.Any]] = {
    "voxceleb": {"loss.lambda_reg": 0.60, "loss.gamma": 2.0},
    "celebvhq": {"loss.lambda_reg": 0.05, "loss.gamma": 4.0},
    "talkinghead1kh": {"loss.lambda_reg": 0.50, "loss.gamma": 2.0},
    # 64 x 64, small enough to learn heads on two CPU cores.
    "demo": {
        "generator.z_dim": 128,
        "generator.z_motion_dim": 64,
        "generator.w_dim": 128,
        "generator.motion_blocks": 4,
        "generator.plane_resolution": 64,
        "generator.plane_channels": 12,
        "generator.channel_base": 2048,
        "generator.channel_max": 96,
        "generator.img_resolution": 64,
        "generator.sr_channels": (48, 32),
        "generator.rendering.resolution": 32,
        "generator.rendering.depth_samples": 14,
        "generator.rendering.importance_samples": 14,
        "generator.rendering.decoder_hidden": 32,
        "generator.rendering.plane_axes": "orthogonal",
        "discriminator.channel_base": 1024,
        "discriminator.channel_max": 128,
        "discriminator.mapping_layers": 2,
        "loss.gamma": 1.0,
        "loss.lambda_reg": 0.25,
        "loss.blur_sigma": 2.0,
        "loss.blur_fade_factor": 2.5,
        "training.batch": 4,
        "training.kimg": 200.0,
        "training.precision": "fp32",
        "training.tick": 0.2,
        "training.snap": 10,
        "training.workers": 1,
    },
}


def preset(name: str) -> Config:
    """The configuration of a preset; UserError for an unknown name."""
    if name not in PRESETS:
        raise UserError(f"--cfg={name} is no preset; choose one of {', '.join(PRESETS)}.")
    return override(Config(), PRESETS[name])


def override(config: Config, changes: dict[str, typing.Any]) -> Config:
    """A copy of `config` with dotted keys replaced: {"loss.gamma": 1.0}. Unknown keys are errors."""
    for key, value in changes.items():
        config = _replace(config, key.split("."), value, key)
    return config


def _replace(node, path: list[str], value, key: str):
    if path[0] not in {f.name for f in dataclasses.fields(node)}:
        raise UserError(f"{key} is no option of this version; it was probably written by another one.")
    if len(path) > 1:
        value = _replace(getattr(node, path[0]), path[1:], value, key)
    return dataclasses.replace(node, **{path[0]: value})


def to_dict(config) -> dict[str, typing.Any]:
    """Plain nested dictionaries (tuples become lists), fit for JSON."""
    plain = dataclasses.asdict(config)
    return _listed(plain)


def _listed(value):
    if isinstance(value, dict):
        return {k: _listed(v) for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


def from_dict(values: dict[str, typing.Any], kind: type = Config):
    """Inverse of `to_dict`. UserError for unknown keys or values of the wrong type."""
    if not isinstance(values, dict):
        raise UserError(f"The saved {kind.__name__} is damaged: expected a dictionary, found {type(values).__name__}.")
    hints = typing.get_type_hints(kind)
    unknown = shown(", ".join(sorted(str(name) for name in values if name not in hints)))
    if unknown:
        raise UserError(f"The saved {kind.__name__} has options this version does not know: {unknown}.")
    return kind(**{name: _typed(value, hints[name], f"{kind.__name__}.{name}") for name, value in values.items()})


def _typed(value, hint, name: str):
    if dataclasses.is_dataclass(hint):
        return from_dict(value, hint)
    options = typing.get_args(hint) if typing.get_origin(hint) is not tuple else ()
    if value is None and type(None) in options:
        return None
    hint = next((h for h in options if h is not type(None)), hint)
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        if not isinstance(value, (list, tuple)) or len(value) != len(kinds):
            raise UserError(f"{name} is {_said(value)}; expected {len(kinds)} numbers.")
        return tuple(_typed(item, kind, name) for item, kind in zip(value, kinds, strict=True))
    if type(value) is int and not -MAX_WHOLE <= value <= MAX_WHOLE:
        raise UserError(f"{name} is a number of {value.bit_length()} bits, far out of range.")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise UserError(f"{name} is {_said(value)}; expected {hint.__name__}.")
    return value


def _said(value) -> str:
    """For a message: a short value as it is, else what it is."""
    return f"a {type(value).__name__}" if isinstance(value, (dict, list, tuple)) else shown(repr(value))


def validate(config: Config) -> Config:
    """Refuse impossible options; UserError says which flag and what is possible. Returns `config`."""
    g, d, loss, t = config.generator, config.discriminator, config.loss, config.training
    _choose("--motion-generator", g.motion_generator, MOTION_GENERATORS)
    _choose("--motion-code", g.motion_code, MOTION_CODES)
    _choose("--camera-mode", g.camera_mode, CAMERA_MODES)
    _choose("--plane-axes", g.rendering.plane_axes, PLANE_AXES)
    _choose("--precision", t.precision, PRECISIONS)
    _power_of_two("plane resolution", g.plane_resolution, 8, 1024)
    _power_of_two("image resolution", g.img_resolution, 16, 1024)
    blocks = len(g.block_resolutions)
    if not 1 <= g.motion_blocks <= blocks:
        raise UserError(
            f"--motion-blocks={g.motion_blocks} is out of range: planes of {g.plane_resolution} pixels "
            f"have {blocks} blocks, choose 1 to {blocks}."
        )
    _check_finite(config)
    if min(g.channels(g.plane_resolution), d.channel_base // g.img_resolution, d.channel_max) < 1:
        raise UserError("The networks have layers without channels: raise --cbase, --cmax, --d-cbase or --d-cmax.")
    least = 4 if g.rendering.importance_samples > 0 else 2
    if g.rendering.depth_samples < least or g.rendering.importance_samples < 0:
        raise UserError(f"--depth-samples must be at least {least} and --importance-samples not negative.")
    if not 4 <= g.rendering.resolution <= 512:
        raise UserError(f"--neural-rendering-resolution={g.rendering.resolution} is out of range; choose 4 to 512.")
    if not 0 < g.rendering.near < g.rendering.far:
        raise UserError(f"The rays' depths must satisfy 0 < near < far, not {g.rendering.near} and {g.rendering.far}.")
    if g.rendering.box_side <= 0:
        raise UserError(f"The side of the planes' cube must be above 0, not {g.rendering.box_side}.")
    if not (d.image or d.video):
        raise UserError(
            "--image-discriminator and --video-discriminator are both off: nothing is left to train against."
        )
    if min(loss.lambda_img, loss.lambda_vid, loss.lambda_reg, loss.gamma) < 0:
        raise UserError("Loss weights and --gamma must not be negative.")
    if t.batch < 1 or (t.batch_gpu is not None and t.batch_gpu < 1):
        raise UserError("--batch and --batch-gpu must be at least 1.")
    if t.window < 1:
        raise UserError("--window must be at least 1 frame.")
    if min(t.kimg, t.tick, t.eps) <= 0 or not all(0 <= beta < 1 for beta in t.betas):
        raise UserError("The length of training, --tick and eps must be above 0, and betas from 0 to below 1.")
    _check_ranges(config)
    samples = g.rendering.resolution**2 * (g.rendering.depth_samples + g.rendering.importance_samples)
    if samples > MAX_SAMPLES:
        raise UserError(
            f"A frame of {samples} samples along rays is too large: choose a lower --depth-samples, "
            "--importance-samples or --neural-rendering-resolution."
        )
    return config


def _check_ranges(config: Config) -> None:
    for key, (low, high) in RANGES.items():
        value = functools.reduce(getattr, key.split("."), config)
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and not low <= number <= high:
                raise UserError(f"{key} is {number}: choose {low} to {high}.")


def _check_finite(node, path: str = "") -> None:
    for f in dataclasses.fields(node):
        value = getattr(node, f.name)
        if dataclasses.is_dataclass(value):
            _check_finite(value, f"{path}{f.name}.")
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise UserError(f"{path}{f.name} is {number}: give a finite number.")


def split_batch(config: Config, processes: int) -> tuple[int, int]:
    """(clips per process and iteration, clips per forward pass); UserError when `batch` does not divide."""
    t = config.training
    if t.batch % processes:
        raise UserError(
            f"--batch={t.batch} is not divisible by the {processes} processes; "
            f"try --batch={math.ceil(t.batch / processes) * processes}."
        )
    per_process = t.batch // processes
    per_pass = t.batch_gpu or per_process
    if per_process % per_pass:
        raise UserError(
            f"--batch-gpu={per_pass} does not divide the {per_process} clips of each process; "
            f"choose a divisor of {per_process}."
        )
    group = config.discriminator.mbstd_group
    if any(n % min(group, n) for n in (per_pass, per_pass * FRAMES_PER_CLIP)):
        raise UserError(
            f"{per_pass} clips per forward pass do not split into the discriminators' groups of {group}; "
            f"choose --batch and --batch-gpu so that each pass has 1, 2 or a multiple of {group} clips."
        )
    return per_process, per_pass


def _choose(flag: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{flag}={shown(value)} is not one of {', '.join(choices)}.")


def _power_of_two(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high or value & (value - 1):
        raise UserError(f"The {what} {value} must be a power of two from {low} to {high}.")
