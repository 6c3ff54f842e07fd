"""Options that the commands of `edit_videos.py` share."""

import click

from applications.options import ANALYSES, GENERATED, PAIRS, VIDEO_FORMATS, InversionOptions, Output
from dnnlib import cli
from dnnlib.cli import PATH, SOURCE
from dnnlib.options import add_flags
from torch_utils.machine_options import MACHINE, machine_options
from training.checkpoints import sources
from training.sampling.options import MAX_SCALE, PAPER_FRAMES

# Headings of `--help`.
FILES = "Files"
INPUT = "Picture or clip"
CLIPS = "Videos"
ANALYSED = "What is looked into"


model_options = cli.together(
    cli.option("--network", group=FILES, type=SOURCE, required=True, help=sources.HELP),
    cli.option("--outdir", group=FILES, type=PATH, required=True, help="Where files are written."),
    cli.option("--detectors", group=FILES, type=PATH, help="Folder with weights of other networks (docs/metrics.md)."),
    cli.option(
        "--batch",
        group=MACHINE,
        type=click.IntRange(1),
        show_default="4 up to 128 pixels, else 1",
        help="Frames per pass.",
    ),
    cli.option(
        "--recompute/--no-recompute",
        group=MACHINE,
        default=False,
        help="Compute activations again instead of keeping them: less memory, more time.",
    ),
    machine_options("device", "ops", "precision"),
)
input_options = cli.together(
    cli.option("--input", "file", group=INPUT, type=PATH, help="Picture or video of one's own: its face is aligned."),
    cli.option("--data", group=INPUT, type=PATH, help="Dataset to take a clip of."),
    cli.option("--latents", group=INPUT, type=PATH, help="Latents that have been found before (latents.pt)."),
    cli.option("--clip", group=INPUT, show_default="the first", help="Name or number of the clip."),
    add_flags(InversionOptions()),
)
cameras_option = cli.option(
    "--cameras",
    group=CLIPS,
    default="own",
    metavar="PATH",
    help="Camera path: own (those of the input), orbit, frontal, dataset (a real one kept in the snapshot), or a file "
    "with a JSON list of labels.",
)
frames_option = cli.option(
    "--frames", group=CLIPS, type=click.IntRange(2), default=PAPER_FRAMES, help="Frames of each video."
)
video_options = cli.together(
    cli.option(
        "--columns",
        group=CLIPS,
        type=cli.NameList("column", GENERATED),
        default=",".join(GENERATED),
        help=f"Pictures side by side, of {','.join(GENERATED)}.",
    ),
    cli.option(
        "--format",
        group=CLIPS,
        type=click.Choice(VIDEO_FORMATS),
        default=Output.format,
        help="Of videos; png: a folder of frames.",
    ),
    cli.option(
        "--scale",
        group=CLIPS,
        type=click.IntRange(1, MAX_SCALE),
        default=Output.scale,
        help="How many times larger videos are shown than the model makes them.",
    ),
    cli.option("--labels", group=CLIPS, is_flag=True, help="A strip above each video that names its columns."),
)
motions_option = cli.option(
    "--motion-seeds", group=CLIPS, type=cli.IntList(), default="0-3", help="Motions, a video each."
)
clip_frames_option = cli.option(
    "--frames", group=INPUT, type=cli.IntList(), show_default="all", help="Numbers of the clip's frames, such as 0-31."
)
analysis_options = cli.together(
    cli.option(
        "--what",
        group=ANALYSED,
        type=cli.NameList("analysis", ANALYSES),
        default=",".join(ANALYSES),
        help="Style mixing (Fig. 7 of the paper), whether discriminators heed cameras (Fig. 8), motion over time.",
    ),
    cli.option("--seeds", group=ANALYSED, type=cli.IntList(), default="0-3", help="Appearances."),
    cli.option(
        "--style-seeds", group=ANALYSED, type=cli.IntList(), default="4-9", help="Appearances whose rows are mixed in."
    ),
    cli.option(
        "--layers",
        group=ANALYSED,
        type=cli.IntList(),
        show_default="those of blocks with motion layers",
        help="Rows of latents that are mixed in, such as 0-3.",
    ),
    cli.option("--t", group=ANALYSED, type=click.FloatRange(0, 1), default=0.5, help="Time of the mixed frames."),
    cli.option("--motion-seeds", group=ANALYSED, type=cli.IntList(), default="0-7", help="Motions of each appearance."),
    cli.option("--frames", group=ANALYSED, type=click.IntRange(2), default=PAPER_FRAMES, help="Times of each motion."),
    cli.option("--pairs", group=ANALYSED, type=click.IntRange(1), default=PAIRS, help="Pairs of frames to be judged."),
    cli.option("--data", group=ANALYSED, type=PATH, help="Dataset to take these of, in place of generated ones."),
)
