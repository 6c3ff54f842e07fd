"""Make videos from a snapshot: frames, depth, normals and shapes of seeds, seen by any cameras."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
from typing import Any

import click

from dnnlib import cli
from dnnlib.cli import PATH, SOURCE
from dnnlib.lazy import lazy_module
from torch_utils.machine_options import MACHINE, machine_options
from training.checkpoints import sources
from training.sampling.clip_options import clip_options
from training.sampling.picture_options import picture_options
from training.sampling.shape_options import shape_options

action = lazy_module("pv3d.actions.videos")
FILES = "Files"  # heading in `--help`


@cli.command()
@cli.option("--network", group=FILES, type=SOURCE, required=True, help=sources.HELP)
@cli.option("--outdir", group=FILES, type=PATH, required=True, help="Where files are written.")
@clip_options
@picture_options
@shape_options
@cli.option("--batch", group=MACHINE, type=click.IntRange(1), default=1, help="Frames per forward pass.")
@machine_options("device", "ops", "precision")
def main(**chosen: Any) -> None:
    """Make videos of a trained generator.

    \b
    python gen_videos.py --network=models/heads.pkl --outdir=out --seeds=0-15 --grid=4x4 --cameras=orbit
    One appearance, several motions:  --seeds=3 --motion-seeds=0-3 --grid=4x1
    One motion, several appearances:  --seeds=0-3 --motion-seeds=7 --grid=4x1
    From appearance to appearance:    --seeds=0-3 --interpolate --frames=96
    On several GPUs, clips divided:   torchrun --nproc-per-node=8 gen_videos.py ...
    """
    action.run(**chosen)


if __name__ == "__main__":
    main()
