"""Train PV3D: clips with cameras in, a temporal tri-plane generator out."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
from typing import Any

import click
from click.shell_completion import CompletionItem

from dnnlib import cli
from dnnlib.cli import PATH, SOURCE
from dnnlib.lazy import lazy_module
from dnnlib.options import add_flags, parameters_of
from metrics.names import DETECTOR_WEIGHTS, PUBLIC
from torch_utils.machine_options import machine_options
from training import config as options
from training.checkpoints.sources import SHIPPED
from training.config import MAX_KIMG, Config
from training.image_config import IMAGES
from training.methods import METHODS
from training.runs.options import configuration
from training.runs.wandb_log import PROJECT

action = lazy_module("pv3d.actions.train")
SCORES = "Scores"
INIT_FROM = f"Start a new run from the weights of a snapshot's file, or a shipped model: {', '.join(SHIPPED)}."
MOVED = ", ".join(f"--method={name}" for name, method in METHODS.items() if method.moves_a_generator)
HEADINGS = (
    options.RUN,
    options.DATA,
    IMAGES,
    options.LENGTH,
    options.MACHINE,
    options.LOSSES,
    options.MODEL,
    options.ABLATIONS,
    SCORES,
)


def use_preset(context: click.Context, parameter: click.Parameter, name: str) -> str:
    """Make the values of a preset, or of a run, the defaults of all flags, also in `--help`; those of a method, too."""
    if context.resilient_parsing:  # of a shell that completes what is typed
        return name
    chosen = context.meta.setdefault(__name__, {})
    chosen[parameter.name] = name
    if "cfg" in chosen:
        context.default_map = parameters_of(configuration(**chosen)[1])
    return name


def complete_preset(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Return the presets that begin so, for a shell that completes what is typed; if there are none, files."""
    presets = [CompletionItem(name) for name in options.PRESETS if name.startswith(typed)]
    return presets or [CompletionItem(typed, type="file")]


@cli.command(headings=HEADINGS)
@cli.option("--outdir", group=options.RUN, type=PATH, required=True, help="Where runs are kept.")
@cli.option(
    "--cfg",
    "--config",
    group=options.RUN,
    required=True,
    metavar="PRESET|FILE",
    is_eager=True,
    callback=use_preset,
    shell_complete=complete_preset,
    help=f"Defaults of the model and its training: {', '.join(options.PRESETS)}; or a run's training_options.json.",
)
@cli.option(
    "--resume",
    group=options.RUN,
    metavar="auto|latest|none|FOLDER|FILE",
    default="auto",
    help="auto: go on with the newest run in --outdir with the same name and options, else start a new one; "
    "latest: go on with the newest run in --outdir, and refuse if there is none or its options differ; "
    "none: start a new one; a run's folder: go on with that one; a training-state-*.pt in a run's "
    "folder: go on from there, in a new run if that one has later states, which stay.",
)
@cli.option("--init-from", group=options.RUN, type=SOURCE, help=INIT_FROM)
@cli.option(
    "--generator",
    group=options.RUN,
    type=SOURCE,
    help=f"{MOVED}: the trained static generator that it moves: a snapshot's file, of --method=eg3d or EG3D's own.",
)
@cli.option(
    "--init-kimg",
    group=options.RUN,
    type=click.FloatRange(min=0, max=MAX_KIMG),
    help="--init-from: thousand clips behind the weights, from which blur, camera swaps and averaging go on. "
    "[default: what its file says]",
)
@cli.option(
    "--fresh-motion",
    group=options.RUN,
    is_flag=True,
    help="--init-from: motion begins anew, so that motion codes differ where they had become alike (docs/training.md).",
)
@cli.option(
    "--wandb",
    group=options.RUN,
    is_flag=False,
    flag_value=PROJECT,
    metavar="[PROJECT]",
    help=f"Show the run in Weights & Biases, too, as part of PROJECT ({PROJECT}) or ENTITY/PROJECT.",
)
@cli.option("--desc", group=options.RUN, default="", show_default=False, help="Added to the run's name.")
@cli.option("--data", group=options.DATA, type=PATH, required=True, help="Dataset: a folder or an uncompressed zip.")
@cli.option(
    "--image-data",
    group=IMAGES,
    type=PATH,
    help="Dataset of images with cameras beside --data: any frame of it is one, for the image discriminator alone.",
)
@machine_options("device", "ops", "processes")
@add_flags(Config(), first={"method": use_preset})
@cli.option("--dry-run", group=options.RUN, is_flag=True, help="Print the resolved options and stop.")
@cli.option(
    "--time-limit",
    group=options.LENGTH,
    type=click.FloatRange(min=0, min_open=True),
    help="Save and stop after so many minutes, for slots of a queue; the same command continues.",
)
@cli.option(
    "--metrics",
    group=SCORES,
    default="",
    show_default=False,
    help="Scores at every snapshot, such as fvd512_16f,cd100 (docs/metrics.md).",
)
@cli.option(
    "--detector",
    group=SCORES,
    type=click.Choice(DETECTOR_WEIGHTS),
    default=PUBLIC,
    help="--metrics: networks of the papers, or seeded random ones for smoke tests.",
)
@cli.option("--detectors", group=SCORES, type=PATH, help="--metrics: folder with the public networks' files.")
def main(**chosen: Any) -> None:
    """Train PV3D on a dataset of clips with cameras.

    The same command again continues its run; --kimg, --tick, --snap, --keep, --batch-gpu, --workers and --processes may
    change. On several GPUs: torchrun --nproc-per-node=N train.py ...

    \b
    python train.py --outdir=runs --cfg=demo --data=heads.zip
    torchrun --nproc-per-node=8 train.py --outdir=runs --cfg=voxceleb --data=voxceleb.zip

    Defaults are the paper's; with a preset, as in python train.py --cfg=demo --help, they are its own.
    """
    action.run(**chosen)


if __name__ == "__main__":
    main()
