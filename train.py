"""Train PV3D: clips with cameras in, a temporal tri-plane generator out."""

import re
import signal
from pathlib import Path
from typing import Any

import click
import torch
from tqdm import tqdm

from dnnlib import cli
from dnnlib.errors import UserError
from torch_utils import custom_ops, distributed, runtime
from training import config as options
from training.dataset import ClipDataset
from training.run_folder import RunFolder
from training.snapshot_pictures import SnapshotPictures
from training.training_loop import Hooks, Progress, Status, Trainer

# Flags that set one configuration value each: (flag, key, type, help).
OVERRIDES = [
    ("--batch", "training.batch", int, "Clips per iteration over all processes."),
    ("--batch-gpu", "training.batch_gpu", int, "Clips per forward pass; smaller values accumulate gradients."),
    ("--kimg", "training.kimg", float, "Train for this many thousand clips."),
    ("--tick", "training.tick", float, "Thousand clips between status lines."),
    ("--snap", "training.snap", int, "Ticks between snapshots; 0: only at the end."),
    ("--keep", "training.keep", int, "Training states to keep in the run's folder."),
    ("--seed", "training.seed", int, "Seed of weights, data order and noise."),
    ("--workers", "training.workers", int, "Processes that load data; 0 loads in the main process."),
    ("--window", "training.window", int, "Frames of a clip from which a pair is drawn."),
    ("--mirror", "training.mirror", bool, "Mirror clips at random."),
    ("--precision", "training.precision", click.Choice(options.PRECISIONS),
     "Of the super-resolution and the discriminators' highest resolutions."),
    ("--glr", "training.glr", float, "Learning rate of the generator."),
    ("--dlr", "training.dlr", float, "Learning rate of the discriminators."),
    ("--gamma", "loss.gamma", float, "R1 weight."),
    ("--lambda-img", "loss.lambda_img", float, "Weight of the image discriminator."),
    ("--lambda-vid", "loss.lambda_vid", float, "Weight of the video discriminator."),
    ("--lambda-reg", "loss.lambda_reg", float, "Weight of the density regularisation."),
    ("--blur-sigma", "loss.blur_sigma", float, "Initial blur of the discriminators' inputs, in pixels."),
]
MODEL = [
    ("--img-resolution", "generator.img_resolution", int, "Side of the generated frames; the dataset is shrunk to it."),
    ("--plane-resolution", "generator.plane_resolution", int, "Side of the feature planes."),
    ("--cbase", "generator.channel_base", int, "Channels of the generator: min(cbase / resolution, cmax)."),
    ("--cmax", "generator.channel_max", int, "Most channels of the generator."),
    ("--d-cbase", "discriminator.channel_base", int, "Like --cbase, of the discriminators."),
    ("--d-cmax", "discriminator.channel_max", int, "Like --cmax, of the discriminators."),
    ("--depth-samples", "generator.rendering.depth_samples", int, "Stratified samples per ray."),
    ("--importance-samples", "generator.rendering.importance_samples", int, "Importance samples per ray."),
    ("--near", "generator.rendering.near", float, "Least depth along rays."),
    ("--far", "generator.rendering.far", float, "Greatest depth along rays."),
]
ABLATIONS = [
    ("--motion-blocks", "generator.motion_blocks", int, "K, fused blocks from 4 x 4 up: early 2, middle 4, late 7."),
    ("--motion-generator", "generator.motion_generator", click.Choice(options.MOTION_GENERATORS),
     "How motion enters: a modulated convolution, a vector that is added, or codes fed to the mapping network."),
    ("--motion-code", "generator.motion_code", click.Choice(options.MOTION_CODES), "The code that drives motion."),
    ("--motion-weight", "generator.motion_weight", bool, "A learned scalar weight per motion layer."),
    ("--camera-mode", "generator.camera_mode", click.Choice(options.CAMERA_MODES),
     "Which camera mapping and rendering see."),
    ("--camera-conditioning", "generator.camera_conditioning", bool, "Condition the generator on cameras."),
    ("--neural-rendering-resolution", "generator.rendering.resolution", int, "Side of the ray grid."),
    ("--plane-axes", "generator.rendering.plane_axes", click.Choice(options.PLANE_AXES),
     "What the planes see: the reference's x-y x-z z-x, or x-y x-z y-z."),
    ("--image-discriminator", "discriminator.image", bool, "Train against the image discriminator."),
    ("--video-discriminator", "discriminator.video", bool, "Train against the video discriminator."),
    ("--video-cameras", "discriminator.video_cameras", bool, "Condition the video discriminator on cameras."),
    ("--video-dt", "discriminator.video_dt", bool, "Show the video discriminator the time between frames."),
]


def config_flags(function):
    """Adds one click option for each configuration value that has a flag; unset flags are None."""
    for flag, key, kind, text in reversed(OVERRIDES + MODEL + ABLATIONS):
        name = _parameter(key)
        spelled = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
        function = click.option(spelled, name, type=None if kind is bool else kind, default=None,
                                help=text + " [default: of the preset]")(function)
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
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Dataset: a folder or an uncompressed zip.")
@click.option("--resume", metavar="auto|FOLDER", default="auto",
              help="Run to go on with; auto: the newest in --outdir with the same options, else a new one; none: a new one.")
@click.option("--init-from", type=click.Path(path_type=Path), help="Start a new run from the weights of a snapshot.")
@click.option("--desc", default="", help="Added to the run's name.")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:<number>.")
@click.option("--ops", type=click.Choice(["auto", "native", "cuda"]), default="auto", help="Custom CUDA operations.")
@click.option("--dry-run", is_flag=True, help="Print the resolved options and stop.")
@config_flags
def main(outdir: Path, cfg: str, data: Path, resume: str, init_from: Path | None, desc: str, device: str, ops: str,
         dry_run: bool, **flags):
    """Train PV3D on a dataset of clips with cameras.

    The same command again continues its run. On several GPUs: torchrun --nproc-per-node=N train.py ...

    \b
    python train.py --outdir=runs --cfg=demo --data=heads.zip
    torchrun --nproc-per-node=8 train.py --outdir=runs --cfg=voxceleb --data=voxceleb.zip
    """
    config = resolve(cfg, flags)
    runtime.tune_cpu_allocator()
    runtime.set_threads()
    custom_ops.set_ops_mode(ops)
    own_device = distributed.init(runtime.select_device(device))
    try:
        runtime.disable_tf32()
        dataset = open_dataset(data, config)
        options.split_batch(config, distributed.world_size())
        if dry_run:
            return _print_options(config, dataset)
        run, resumed = open_run(outdir, run_name(cfg, data, config, desc), config, data, resume, init_from)
        train(config, dataset, run, own_device, init_from if not resumed else None)
    finally:
        distributed.shutdown()


def open_dataset(path: Path, config: options.Config) -> ClipDataset:
    """The dataset at the configured resolution."""
    return ClipDataset(path, resolution=config.generator.img_resolution)


def run_name(cfg: str, data: Path, config: options.Config, desc: str) -> str:
    """What a run's folder is called, behind its number."""
    parts = [cfg, data.stem or "data", f"batch{config.training.batch}", f"gamma{config.loss.gamma:g}"]
    return re.sub(r"[^\w.\-]+", "_", "-".join(parts + ([desc] if desc else [])))


def open_run(outdir: Path, name: str, config: options.Config, data: Path, resume: str,
             init_from: Path | None) -> tuple[RunFolder, bool]:
    """The run's folder, and whether it is an old one that goes on."""
    keep = config.training.keep
    found = None
    if resume not in ("auto", "none"):
        found = Path(resume)
        if not list(found.glob("training-state-*.pt")):
            raise UserError(f"--resume={resume} has no training-state-*.pt: give the folder of a run.")
    elif resume == "auto":
        found = RunFolder.find(outdir, name, config)
    paths: list[Path | None] = [found]
    if found is None and distributed.is_main():
        extra = {"data": str(data), "init_from": str(init_from) if init_from else None}
        paths = [RunFolder.create(outdir, name, config, extra).path]
    path = distributed.gather(str(paths[0]))[0]
    return RunFolder(Path(path), keep), found is not None


def train(config: options.Config, dataset: ClipDataset, run: RunFolder, device: torch.device,
          init_from: Path | None) -> None:
    """Runs the training loop under a progress bar; Ctrl-C and SIGTERM save and stop."""
    dtype, reason = runtime.compute_dtype(config.training.precision, device)
    if reason and distributed.is_main():
        click.echo(reason, err=True)
    stop = StopFlag()
    bar = Bar(config, run) if distributed.is_main() else None
    hooks = Hooks(stop=stop, pictures=SnapshotPictures())
    trainer = Trainer(config, dataset, run, device, dtype, hooks)
    if trainer.restore():
        if distributed.is_main():
            click.echo(f"Continuing {run.path} at {trainer.progress.kimg:.3f} kimg.")
    elif init_from:
        trainer.init_from(init_from)
    if bar:
        hooks.status, hooks.iteration = bar.status, bar.iteration
        bar.start(trainer.progress)
    with stop:
        progress = trainer.train()
    run.close()
    if bar:
        bar.close()
        end = "Stopped; the same command continues." if stop.asked else "Done."
        click.echo(f"{end} {progress.kimg:.3f} kimg in {run.path}")
    if stop.asked:
        raise SystemExit(130)


class StopFlag:
    """Remembers that Ctrl-C or SIGTERM asked to stop; a second Ctrl-C interrupts at once."""

    def __init__(self):
        self.asked = False

    def __call__(self) -> bool:
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
        self.asked = True
        click.echo("\nStopping after this iteration; saving.", err=True)


class Bar:
    """Progress bar: kimg, seconds per kimg, losses, memory, ETA."""

    def __init__(self, config: options.Config, run: RunFolder):
        self.config = config
        click.echo(f"Run folder: {run.path}")
        self.bar = tqdm(total=config.training.kimg, unit="kimg", dynamic_ncols=True, smoothing=0.05,
                        bar_format="{l_bar}{bar}| {n:.2f}/{total:g} kimg [{elapsed}<{remaining}] {postfix}")

    def start(self, progress: Progress) -> None:
        """Shows what earlier starts did without counting it into the speed."""
        self.bar.initial = self.bar.n = progress.kimg
        self.bar.refresh()

    def iteration(self, progress: Progress) -> None:
        """After every iteration."""
        self.bar.update(progress.kimg - self.bar.n)

    def status(self, status: Status) -> None:
        """At every tick."""
        stats = status.stats
        fields = [f"s/kimg {stats['time/sec_per_kimg']:.1f}"]
        fields += [f"{label} {stats[name]:.3f}" for label, name in (("G", "loss/g"), ("D", "loss/d")) if name in stats]
        fields += [f"mem {stats.get('memory/gpu', stats['memory/cpu']):.1f}G"]
        self.bar.set_postfix_str(" ".join(fields))

    def close(self) -> None:
        """Leaves the finished bar."""
        self.bar.close()


def _print_options(config: options.Config, dataset: ClipDataset) -> None:
    if distributed.is_main():
        for section, values in options.to_dict(config).items():
            click.echo(f"{section}:")
            for key, value in values.items():
                click.echo(f"  {key}: {value}")
        click.echo(f"dataset: {dataset.num_clips} clips, {dataset.num_frames} frames")


if __name__ == "__main__":
    main()
