"""`train.py`: open the dataset, start a run or go on with one, train, and show how it stands."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
import contextlib
import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from dnnlib import cli, printing
from dnnlib.cache import cache_root
from dnnlib.errors import UserError
from dnnlib.options import flags_given, flags_of, given, lines_of, override
from dnnlib.video import require_ffmpeg
from metrics.in_training import SnapshotScores
from metrics.options import EvaluationOptions
from metrics.protocols import Request, parse_requests
from torch_utils import distributed
from torch_utils.machine_options import AUTO
from torch_utils.startup import Machine, prepared_machine
from training import config as options
from training import division
from training.checkpoints import sources
from training.config import Config
from training.data.check import camera_warning
from training.data.dataset import ClipDataset
from training.data.pairs import clips_with, moving_clips
from training.image_config import ImagesConfig
from training.latent_components import set_components
from training.methods import METHODS, Method
from training.runs.folder import RunFolder
from training.runs.hooks import Hooks
from training.runs.options import RunOptions, configuration
from training.runs.origin import Origin, schedules_line
from training.runs.pictures import SnapshotPictures
from training.runs.resume import open_run
from training.runs.status import StatusLine
from training.runs.stopping import StopFlag, explained_end
from training.runs.wandb_log import require_project
from training.training_loop import Trainer


def run(
    *,
    outdir: Path,
    cfg: str,
    resume: str,
    init_from: str | None,
    generator: str | None,
    init_kimg: float | None,
    fresh_motion: bool,
    wandb: str | None,
    desc: str,
    dry_run: bool,
    data: Path,
    image_data: Path | None,
    time_limit: float | None,
    metrics: str,
    detector: str,
    detectors: Path | None,
    device: str,
    ops: str,
    processes: int | None,
    **flags: Any,
) -> None:
    """Do what the options of `train.py` ask for; `flags` are those of `training.config`."""
    printing.ignore_broken_pipes()
    require_project(wandb)
    cfg, config = resolve(cfg, flags)
    require_images(image_data, config)
    origin = origin_of(METHODS[config.method], init_from, generator, init_kimg, fresh_motion)
    config = origin.moving(config, outdir, run_name(cfg, None, config, desc), resume)
    requests = parse_requests(metrics) if metrics else []
    with prepared_machine(
        device=device,
        ops=ops,
        join=True,
        processes=1 if dry_run else processes,
        that_pay=partial(division.processes_that_pay, config),
        fixed_shapes=True,
    ) as machine:
        dataset, images = open_datasets(data, image_data, config)
        asked = run_options(config, dataset, images, origin, machine)
        if dry_run:
            print_options(asked.settled().config, dataset, images)
            return
        run = open_run(
            outdir,
            name=run_name(cfg, [path for path in (data, image_data) if path], config, desc),
            alike=run_name(cfg, None, config, desc),
            options=asked,
            resume=resume,
            flags=flags_of(Config) | origin.flag,
            warn=warn,
        )
        with run if distributed.is_main() else contextlib.nullcontext():
            config = distributed.from_main(lambda: RunOptions.load(run.path).config)
            precision = config.training.precision
            if asked.precision == AUTO and not run.states():
                print_notes([f"Computing in {precision}, which --precision=auto is here; the run keeps to it."])
            train(
                config=config,
                dataset=dataset,
                images=images,
                run=run,
                machine=machine.computing_in(precision),
                origin=origin,
                requests=requests,
                scoring=scoring_of(dataset, detector, detectors, machine),
                time_limit=time_limit,
                wandb=wandb,
            )


def resolve(cfg: str, flags: dict[str, Any]) -> tuple[str, Config]:
    """Return the preset's name, and its or the run's values with the given flags on top, validated."""
    METHODS[flags["method"]].refuse(flags_given(Config))
    name, config = configuration(cfg, flags["method"])
    return name, options.validate(override(config, given(Config, flags)))


def origin_of(
    method: Method, init_from: str | None, generator: str | None, kimg: float | None, fresh_motion: bool
) -> Origin:
    """Return where the weights of a run come from. UserError unless that is possible with its method."""
    weights, moved = (None if source is None else sources.lasting(source) for source in (init_from, generator))
    origin = Origin(init_from=weights, generator=moved, kimg=kimg, fresh_motion=fresh_motion)
    origin.check(method)
    return origin


def require_images(path: Path | None, config: Config) -> None:
    """UserError unless there is a dataset of images exactly where some of what is judged is to be of it."""
    why_not = METHODS[config.method].refused.get("--image-share")
    if path is not None and why_not:
        raise UserError(f"--image-data is not possible with --method={config.method}, for {why_not}: leave it out.")
    if path is not None and not config.discriminator.image:
        raise UserError("--image-data is for the image discriminator: leave out --no-image-discriminator.")
    if path is not None and not config.images.wanted:
        raise UserError(
            "--image-data needs --image-share, the part of the image discriminator's frames that are images: give "
            "--image-share=0.5, say."
        )
    if path is None and config.images.wanted:
        raise UserError("--image-share needs images: give a dataset of them as --image-data, or --image-share=0.")


def share_line(images: ClipDataset, share: ImagesConfig) -> str:
    """Return how much of what the image discriminator judges is images."""
    line = f"Images of {images.path} are {share.share:g} of the frames that the image discriminator judges"
    if share.share_end is None:
        return f"{line}."
    return f"{line}, {share.share_end:g} from {share.share_fade_kimg:g} kimg of the run on."


def open_datasets(data: Path, image_data: Path | None, config: Config) -> tuple[ClipDataset, ClipDataset | None]:
    """Open the clips, and the images beside them if there are any; say what is to be said of them."""
    dataset = open_dataset(data, config)
    images = open_images(image_data, config) if image_data else None
    for found in filter(None, (dataset, images)):
        print_doubts(found, config)
    print_notes([share_line(images, config.images)] if images else [])
    return dataset, images


def open_images(path: Path, config: Config) -> ClipDataset:
    """Return the dataset of images at the configured resolution. UserError unless every process has the same one."""
    with distributed.fail_together():
        images = ClipDataset(path, resolution=config.generator.img_resolution)
    images.share_fingerprint()
    return images


def open_dataset(path: Path, config: Config) -> ClipDataset:
    """Return the dataset at the configured resolution. UserError unless every process can train on the same one."""
    with distributed.fail_together():
        require_ffmpeg()
        dataset = ClipDataset(path, resolution=config.generator.img_resolution)
        division.split_batch(config, distributed.world_size())
        frames = config.training.frames
        if not clips_with(frames, dataset.lengths):
            raise UserError(f"No clip of {path} has the {frames} frames that --method={config.method} trains on.")
        if not (config.discriminator.image or moving_clips(dataset.lengths, config.training.window)):
            raise UserError(
                f"No clip of {path} gives two different frames for the video discriminator to judge: leave out "
                "--no-image-discriminator."
            )
    dataset.share_fingerprint()
    return dataset


def run_name(cfg: str, data: Sequence[Path] | None, config: Config, desc: str) -> str:
    """Return what a run's folder is called, behind its number; without `data`, the pattern of that for any data."""
    dataset = None if data is None else "-".join(path.stem or "data" for path in data)
    method = [config.method] if config.method != Config.method else []
    parts = [cfg, *method, dataset, f"batch{config.training.batch}", f"gamma{config.loss.gamma:g}"]
    if desc:
        parts.append(desc)
    return "-".join("*" if part is None else re.sub(r"[^\w.\-]+", "_", part) for part in parts)


def run_options(
    config: Config,
    dataset: ClipDataset,
    images: ClipDataset | None,
    origin: Origin,
    machine: Machine,
) -> RunOptions:
    """Return what the run is asked to be."""
    return RunOptions(
        config=config,
        data=str(dataset.path.absolute()),
        fingerprint=dataset.fingerprint(),
        image_data=str(images.path.absolute()) if images else None,
        image_fingerprint=images.fingerprint() if images else None,
        init_from=str(origin.path.absolute()) if origin.path else None,
        init_kimg=origin.kimg,
        fresh_motion=origin.fresh_motion,
        best_precision=machine.best_precision,
        on_gpu=machine.device.type == "cuda",
        names_and_sizes=dataset.names_and_sizes,
        is_reordered=dataset.is_reordered,
    )


def scoring_of(dataset: ClipDataset, detector: str, detectors: Path | None, machine: Machine) -> EvaluationOptions:
    """Return how snapshots are scored: by a kind of detectors, from a folder."""
    return EvaluationOptions(
        dataset=dataset,
        detector_weights=detector,
        detector_folder=detectors,
        device=machine.device,
        cache_folder=cache_root() / "metrics",
    )


def train(
    *,
    config: Config,
    dataset: ClipDataset,
    images: ClipDataset | None,
    run: RunFolder,
    machine: Machine,
    origin: Origin,
    requests: Sequence[Request],
    scoring: EvaluationOptions,
    time_limit: float | None,
    wandb: str | None,
) -> None:
    """Run the training loop and show how it stands; Ctrl-C, SIGTERM and the end of `time_limit` save and stop."""
    print_notes(machine.notes)

    # --- Set up, go on or begin ---
    stop = StopFlag(time_limit)
    hooks = Hooks(stop=stop, pictures=SnapshotPictures.for_machine(config.generator.img_resolution, machine.device))
    trainer = Trainer(config, dataset, run, machine.device, dtype=machine.dtype, hooks=hooks, images=images)
    print_notes(trainer.notes)
    resumed = trainer.restore(warn)
    checksum = None
    with distributed.fail_together():
        if origin.path and not resumed:
            source, checksum = origin.open()
            trainer.init_from(source, origin.fresh_motion)
            begin = [] if origin.generator else [schedules_line(source, config, trainer.progress)]
            print_notes([*source.notes, *begin])
    distributed.require_same(
        checksum, f"The processes see different snapshots as {origin.path}: give a path that all machines share."
    )
    if origin.generator and not resumed:
        networks = (trainer.networks.G, trainer.networks.G_ema)
        set_components(networks, trainer.fakes.cameras, config.training.component_latents, config.training.seed)
    if requests:
        hooks.evaluate = SnapshotScores(
            requests,
            scoring,
            run.path,
            trainer.snapshot(),
            report=lambda scores: run.pass_on(trainer.progress, scores),
        )

    # --- Train ---
    with stop, contextlib.ExitStack() as stack:
        if distributed.is_main():
            start = "Continuing" if resumed else "Starting"
            click.echo(f"{start} {run.path} at {trainer.progress.kimg:.3f} kimg.")
            line = stack.enter_context(StatusLine(config.training.kimg, trainer.progress))
            hooks.iteration = line.iteration
            hooks.status = line.status
            hooks.saving = line.saving
            url = run.open_writers(trainer.progress, line.warn, wandb)
            print_notes([f"The run is shown at {url}"] if url else [])
        with explained_end(run, partial(click.echo, err=True)):  # each process says what ends it
            progress = trainer.train()
        stopped = any(distributed.gather(stop.asked))

    # --- End ---
    if distributed.is_main():
        end = "Stopped; the same command continues." if stopped else "Done."
        click.echo(f"{end} {progress.kimg:.3f} kimg in {run.path}")
    if stopped:
        raise SystemExit(cli.INTERRUPTED_STATUS)


def print_doubts(dataset: ClipDataset, config: Config) -> None:
    """Print what looks wrong with a dataset: its names, its cameras. Training goes on."""
    print_notes(dataset.notes)
    if distributed.is_main():  # judging millions of cameras takes seconds
        looks_wrong = camera_warning(dataset, config.generator.rendering)
        if looks_wrong:
            warn(looks_wrong)


def print_notes(notes: Iterable[str]) -> None:
    """Print what the user should know, once for all processes."""
    if distributed.is_main():
        cli.print_notes(notes)


def warn(line: str) -> None:
    """Print a warning, once for all processes."""
    if distributed.is_main():
        click.echo(f"Warning: {line}", err=True)


def print_options(config: Config, dataset: ClipDataset, images: ClipDataset | None) -> None:
    """Print every option by section, and the sizes of the datasets, once."""
    if not distributed.is_main():
        return
    for line in lines_of(config):
        click.echo(line)
    click.echo(f"dataset: {dataset.num_clips} clips, {dataset.num_frames} frames")
    if images:
        click.echo(f"images: {images.num_frames} frames of {images.num_clips} clips")
