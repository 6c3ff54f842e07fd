"""Time and FLOPs of the metrics' networks, against this machine's matrix-multiply peak, measured in the same run.

python benchmarks/detectors.py --batches 1,2,4
"""

import sys
from functools import partial
from pathlib import Path

import click
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.timing import print_row  # noqa: E402
from detectors import load_arcface, load_i3d_videogpt  # noqa: E402
from dnnlib import cli  # noqa: E402
from torch_utils.machine_options import machine_options  # noqa: E402
from torch_utils.startup import prepared_machine  # noqa: E402

CLIP_FRAMES = 16  # of a clip of FVD
FACES = 4  # views of a video for ID


@cli.command()
@cli.option("--batches", type=cli.IntList(), default="1,2,4", help="Clips at a time through I3D.")
@cli.option("--resolution", type=click.IntRange(1), default=224, help="Side of the frames that come in.")
@cli.option("--repeats", type=click.IntRange(1), default=3, help="Timed runs; the best counts.")
@machine_options("device", "threads")
def main(batches: list[int], resolution: int, repeats: int, device: str, threads: int | None) -> None:
    """Measure I3D (per clip of 16 frames) and ArcFace (per four frames), preprocessing included."""
    random = torch.Generator().manual_seed(0)
    with prepared_machine(device=device, threads=threads) as machine:
        click.echo(f"{machine.device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
        i3d = load_i3d_videogpt(kind="random", folder=None, device=machine.device)
        for batch in batches:
            size = [batch, CLIP_FRAMES, 3, resolution, resolution]
            clips = torch.randint(0, 256, size, dtype=torch.uint8, generator=random).to(machine.device)
            print_row(f"i3d x{batch}", partial(i3d, clips), batch, machine.device, repeats)
        arcface = load_arcface(kind="random", folder=None, device=machine.device)
        size = [FACES, 3, resolution, resolution]
        faces = torch.randint(0, 256, size, dtype=torch.uint8, generator=random).to(machine.device)
        print_row("arcface", partial(arcface, faces), 1, machine.device, repeats)


if __name__ == "__main__":
    main()
