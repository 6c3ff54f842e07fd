"""Train PV3D: clips with cameras in, a temporal tri-plane generator out."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import torch
from tqdm import tqdm

from dnnlib import cli
from dnnlib.cache import cache_root
from dnnlib.errors import UserError
from dnnlib.video import require_ffmpeg
from metrics.in_training import SnapshotScores
from metrics.protocols import Request, parse_requests
from metrics.setting import Setting
from torch_utils import custom_ops, distributed, runtime
from training import config as options
from training.checkpoints.opener import open_snapshot
from training.data.dataset import ClipDataset
from training.data.loader import worker_failure
from training.runs.folder import RunFolder, RunOptions
from training.runs.pictures import SnapshotPictures
from training.runs.progress import Progress, Status
from training.runs.resume import open_run
from training.training_loop import Hooks, Trainer

COUNT, AMOUNT = click.IntRange(1), click.FloatRange(min=0, min_open=True)

# Flags that set one configuration value each: (flag, key, type, help).
OVERRIDES = [
    ("--batch", "training.batch", COUNT, "Clips per iteration over all processes."),
    ("--batch-gpu", "training.batch_gpu", COUNT, "Clips per forward pass; smaller values accumulate gradients."),
    ("--kimg", "training.kimg", AMOUNT, "Train for this many thousand clips."),
    ("--tick", "training.tick", AMOUNT, "Thousand clips between status lines."),
    ("--snap", "training.snap", click.IntRange(0), "Ticks between snapshots; 0: only at the end."),
    ("--keep", "training.keep", COUNT, "Training states to keep in the run's folder."),
    ("--seed", "training.seed", click.IntRange(0), "Seed of weights, data order and noise."),
    ("--workers", "training.workers", click.IntRange(0), "Processes that load data; 0 loads in the main process."),
    ("--window", "training.window", COUNT, "Frames of a clip from which a pair is drawn."),
    ("--mirror", "training.mirror", bool, "Mirror clips at random."),
    (
        "--precision",
        "training.precision",
        click.Choice(options.PRECISIONS),
        "Of the super-resolution and the discriminators' highest resolutions.",
    ),
    ("--glr", "training.glr", AMOUNT, "Learning rate of the generator."),
    ("--dlr", "training.dlr", AMOUNT, "Learning rate of the discriminators."),
    ("--gamma", "loss.gamma", float, "R1 weight."),
    ("--lambda-img", "loss.lambda_img", float, "Weight of the image discriminator."),
    ("--lambda-vid", "loss.lambda_vid", float, "Weight of the video discriminator."),
    ("--lambda-reg", "loss.lambda_reg", float, "Weight of the density regularisation."),
    ("--blur-sigma", "loss.blur_sigma", click.FloatRange(0), "Initial blur of the discriminators' inputs, in pixels."),
]
MODEL = [
    ("--img-resolution", "generator.img_resolution", int, "Side of the generated frames; the dataset is shrunk to it."),
    ("--plane-resolution", "generator.plane_resolution", int, "Side of the feature planes."),
    ("--cbase", "generator.channel_base", COUNT, "Channels of the generator: min(cbase / resolution, cmax)."),
    ("--cmax", "generator.channel_max", COUNT, "Most channels of the generator."),
    ("--d-cbase", "discriminator.channel_base", COUNT, "Like --cbase, of the discriminators."),
    ("--d-cmax", "discriminator.channel_max", COUNT, "Like --cmax, of the discriminators."),
    ("--depth-samples", "generator.rendering.depth_samples", int, "Stratified samples per ray."),
    ("--importance-samples", "generator.rendering.importance_samples", int, "Importance samples per ray."),
    ("--near", "generator.rendering.near", float, "Least depth along rays."),
    ("--far", "generator.rendering.far", float, "Greatest depth along rays."),
]
ABLATIONS = [
    ("--motion-blocks", "generator.motion_blocks", int, "K, fused blocks from 4 x 4 up: early 2, middle 4, late 7."),
    (
        "--motion-generator",
        "generator.motion_generator",
        click.Choice(options.MOTION_GENERATORS),
        "How motion enters: a modulated convolution, a vector that is added, or codes fed to the mapping network.",
    ),
    ("--motion-code", "generator.motion_code", click.Choice(options.MOTION_CODES), "The code that drives motion."),
    ("--motion-weight", "generator.motion_weight", bool, "A learned scalar weight per motion layer."),
    (
        "--camera-mode",
        "generator.camera_mode",
        click.Choice(options.CAMERA_MODES),
        "Which camera mapping and rendering see.",
    ),
    ("--camera-conditioning", "generator.camera_conditioning", bool, "Condition the generator on cameras."),
    ("--neural-rendering-resolution", "generator.rendering.resolution", int, "Side of the ray grid."),
    (
        "--plane-axes",
        "generator.rendering.plane_axes",
        click.Choice(options.PLANE_AXES),
        "What the planes see: the reference's x-y x-z z-x, or x-y x-z y-z.",
    ),
    ("--image-discriminator", "discriminator.image", bool, "Train against the image discriminator."),
    ("--video-discriminator", "discriminator.video", bool, "Train against the video discriminator."),
    ("--video-cameras", "discriminator.video_cameras", bool, "Condition the video discriminator on cameras."),
    ("--video-dt", "discriminator.video_dt", bool, "Show the video discriminator the time between frames."),
]
# How gloo and NCCL say that another process is gone.
PEER_GONE = re.compile("closed by peer|reset by peer|Broken pipe|remote process exited")
FLAGS = {key: flag for flag, key, _, _ in OVERRIDES + MODEL + ABLATIONS}


def config_flags(function):
    """Adds one click option for each configuration value that has a flag; unset flags are None."""
    for flag, key, kind, text in reversed(OVERRIDES + MODEL + ABLATIONS):
        name = _parameter(key)
        spelled = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
        function = click.option(
            spelled, name, type=None if kind is bool else kind, default=None, help=text + " [default: of the preset]"
        )(function)
    return function


def _parameter(key: str) -> str:
    return key.replace(".", "__")


def resolve(cfg: str, flags: dict[str, Any]) -> options.Config:
    """The preset with the given flags on top, validated."""
    changes = {key: flags[_parameter(key)] for _, key, _, _ in OVERRIDES + MODEL + ABLATIONS}
    config = options.override(options.preset(cfg), {key: value for key, value in changes.items() if value is not None})
    return options.validate(config)


@cli.command()
@click.option("--outdir", type=click.Path(path_type=Path), required=True, help="Where runs are kept.")
@click.option("--cfg", required=True, metavar="|".join(options.PRESETS), help="Preset.")
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="Dataset: a folder or an uncompressed zip."
)
@click.option(
    "--resume",
    metavar="auto|latest|none|FOLDER|FILE",
    default="auto",
    help="auto: go on with the newest run in --outdir with the same name and options, else start a new one; "
    "latest: go on with the newest run in --outdir, and refuse if there is none or its options differ; "
    "none: start a new one; a run's folder: go on with that one; a training-state-*.pt in a run's "
    "folder: go on from there, in a new run if that one has later states, which stay.",
)
@click.option("--init-from", type=click.Path(path_type=Path), help="Start a new run from the weights of a snapshot.")
@click.option("--desc", default="", help="Added to the run's name.")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:<number>.")
@click.option("--ops", type=click.Choice(["auto", "native", "cuda"]), default="auto", help="Custom CUDA operations.")
@click.option("--metrics", default="", help="Scores at every snapshot, such as fvd512_16f,cd100 (docs/metrics.md).")
@click.option(
    "--detector",
    type=click.Choice(["public", "random"]),
    default="public",
    help="--metrics: networks of the papers, or seeded random ones for smoke tests.",
)
@click.option("--detectors", type=click.Path(path_type=Path), help="--metrics: folder with the public networks' files.")
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    help="Save and stop after so many minutes, for slots of a queue; the same command continues.",
)
@click.option("--dry-run", is_flag=True, help="Print the resolved options and stop.")
@config_flags
def main(
    outdir: Path,
    cfg: str,
    data: Path,
    resume: str,
    init_from: Path | None,
    desc: str,
    device: str,
    ops: str,
    metrics: str,
    detector: str,
    detectors: Path | None,
    time_limit: float | None,
    dry_run: bool,
    **flags,
):
    """Train PV3D on a dataset of clips with cameras.

    The same command again continues its run; --kimg, --tick, --snap, --keep, --batch-gpu and --workers may change. On
    several GPUs: torchrun --nproc-per-node=N train.py ...

    \b
    python train.py --outdir=runs --cfg=demo --data=heads.zip
    torchrun --nproc-per-node=8 train.py --outdir=runs --cfg=voxceleb --data=voxceleb.zip
    """
    cli.outlive_readers()
    config = resolve(cfg, flags)
    requests = parse_requests(metrics) if metrics else []
    runtime.tune_cpu_allocator()
    runtime.set_threads()
    custom_ops.set_ops_mode(ops)
    own_device = distributed.init(runtime.select_device(device))
    try:
        runtime.disable_tf32()
        with distributed.fail_together():
            require_ffmpeg()
            dataset = open_dataset(data, config)
            options.split_batch(config, distributed.world_size())
        with distributed.fail_together():
            if len(set(distributed.gather(dataset.fingerprint()))) > 1:
                raise UserError(f"The processes see different datasets as {data}: give a path that all machines share.")
        if dry_run:
            return _print_options(config, dataset)
        asked = RunOptions(
            config=config,
            data=str(data),
            fingerprint=dataset.fingerprint(),
            init_from=str(init_from) if init_from else None,
        )
        name = run_name(cfg, data, config, desc)
        run = open_run(outdir, name=name, options=asked, resume=resume, flags=FLAGS, warn=_warn)
        with run if distributed.is_main() else contextlib.nullcontext():
            scoring = Setting(
                dataset, weights=detector, detectors=detectors, device=own_device, cache=cache_root() / "metrics"
            )
            train(config, dataset, run, own_device, init_from, requests, scoring, time_limit)
    finally:
        distributed.shutdown()


def open_dataset(path: Path, config: options.Config) -> ClipDataset:
    """The dataset at the configured resolution."""
    return ClipDataset(path, resolution=config.generator.img_resolution)


def run_name(cfg: str, data: Path, config: options.Config, desc: str) -> str:
    """What a run's folder is called, behind its number."""
    parts = [cfg, data.stem or "data", f"batch{config.training.batch}", f"gamma{config.loss.gamma:g}"]
    return re.sub(r"[^\w.\-]+", "_", "-".join(parts + ([desc] if desc else [])))


def train(
    config: options.Config,
    dataset: ClipDataset,
    run: RunFolder,
    device: torch.device,
    init_from: Path | None,
    requests: list[Request],
    scoring: Setting,
    time_limit: float | None,
) -> None:
    """Runs the training loop under a progress bar; Ctrl-C, SIGTERM and the end of `time_limit` save and stop."""
    dtype, reason = runtime.compute_dtype(config.training.precision, device)
    if reason and distributed.is_main():
        click.echo(reason, err=True)
    stop = StopFlag(time_limit)
    hooks = Hooks(stop=stop, pictures=SnapshotPictures.for_machine(config.generator.img_resolution, device))
    trainer = Trainer(config, dataset, run, device, dtype=dtype, hooks=hooks)
    resumed = trainer.restore(_warn)
    with distributed.fail_together():
        if init_from and not resumed:
            source = open_snapshot(init_from)
            if distributed.is_main():
                for note in source.notes:
                    click.echo(note, err=True)
            trainer.init_from(source)
    if requests:
        hooks.evaluate = SnapshotScores(requests, scoring, run.path, trainer.snapshot())
    with stop, contextlib.ExitStack() as stack:
        if distributed.is_main():
            click.echo(f"{'Continuing' if resumed else 'Starting'} {run.path} at {trainer.progress.kimg:.3f} kimg.")
            bar = stack.enter_context(Bar(config.training.kimg, trainer.progress))
            hooks.status, hooks.iteration = bar.status, bar.iteration
        with _telling_what_is_kept(run), _dead_loaders_told():
            progress = trainer.train()
        stopped = any(distributed.gather(stop.asked))
    if distributed.is_main():
        end = "Stopped; the same command continues." if stopped else "Done."
        click.echo(f"{end} {progress.kimg:.3f} kimg in {run.path}")
    if stopped:
        raise SystemExit(cli.INTERRUPTED_STATUS)


def _warn(line: str) -> None:
    if distributed.is_main():
        click.echo(f"Warning: {line}", err=True)


@contextlib.contextmanager
def _telling_what_is_kept(run: RunFolder) -> Iterator[None]:
    """When a mistake, or another process's end, ends training: says where the same command will go on."""
    try:
        yield
    except UserError:
        if run.states():
            click.echo(
                f"\n{run.states()[-1]} is kept: the same command goes on there, when what follows is mended.", err=True
            )
        raise
    except RuntimeError as error:
        if distributed.world_size() == 1 or not PEER_GONE.search(str(error)):
            raise
        click.echo(
            f"\nProcess {distributed.rank()} ends, because another one failed or was killed: what that one "
            "said is the reason; the same command goes on from the last training state.",
            err=True,
        )
        raise SystemExit(1) from None


@contextlib.contextmanager
def _dead_loaders_told() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        mistake = worker_failure(error)
        if mistake is None:
            raise
        raise mistake from error


class StopFlag:
    """Remembers that Ctrl-C or SIGTERM asked to stop, or that time is up; a second Ctrl-C interrupts at once."""

    def __init__(self, minutes: float | None = None):
        self.asked = False
        self.deadline = None if minutes is None else time.monotonic() + minutes * 60

    def __call__(self) -> bool:
        if self.deadline is not None and not self.asked and time.monotonic() > self.deadline:
            self.asked = True
            _tell(b"\n--time-limit is over; saving.\n")
        return self.asked

    def __enter__(self) -> "StopFlag":
        self.old = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.old.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.asked:
            _tell(b"\nStopping after this iteration; saving.\n")
        self.asked = True


def _tell(line: bytes) -> None:
    """From within a signal's handler: not through a Python stream, which may have been writing just then."""
    if distributed.is_main():
        with contextlib.suppress(OSError):  # a reader (`| tee log`) that the same Ctrl-C has ended
            os.write(2, line)


class Bar:
    """Progress bar: kimg, seconds per kimg, losses, memory, ETA. What earlier starts did counts not into the speed."""

    def __init__(self, total: float, progress: Progress):
        self.bar = tqdm(
            total=total,
            initial=min(progress.kimg, total),
            unit="kimg",
            dynamic_ncols=True,
            smoothing=0.05,
            bar_format="{l_bar}{bar}| {n:.2f}/{total:g} kimg [{elapsed}<{remaining}] {postfix}",
        )

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()

    def iteration(self, progress: Progress) -> None:
        """After every iteration; the last batch may go beyond the total, which tqdm does not bear."""
        self.bar.update(min(progress.kimg, self.bar.total) - self.bar.n)

    def status(self, status: Status) -> None:
        """At every tick."""
        stats = status.stats
        for warning in status.warnings:
            self.bar.write(f"Warning: {warning}", file=sys.stderr)
        fields = [f"s/kimg {stats['time/sec_per_kimg']:.1f}"]
        fields += [f"{label} {stats[name]:.3f}" for label, name in (("G", "loss/g"), ("D", "loss/d")) if name in stats]
        fields += [f"mem {stats.get('memory/gpu', stats['memory/cpu']):.1f}G"]
        self.bar.set_postfix_str(" ".join(fields))


def _print_options(config: options.Config, dataset: ClipDataset) -> None:
    if distributed.is_main():
        for section, values in options.to_dict(config).items():
            click.echo(f"{section}:")
            for key, value in values.items():
                click.echo(f"  {key}: {value}")
        click.echo(f"dataset: {dataset.num_clips} clips, {dataset.num_frames} frames")


if __name__ == "__main__":
    main()
