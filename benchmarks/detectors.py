"""Time and FLOPs of the metrics' networks, against this machine's matrix-multiply peak, measured in the same run.

python benchmarks/detectors.py --batches 1,2,4
"""

import sys
from pathlib import Path

import click
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.phases import measure  # noqa: E402
from detectors import load_arcface, load_i3d_videogpt  # noqa: E402
from dnnlib import cli  # noqa: E402
from torch_utils import runtime  # noqa: E402

CLIP_FRAMES, FACES = 16, 4  # of a clip of FVD, and views of a video for ID


@cli.command()
@click.option("--batches", type=cli.IntList(), default="1,2,4", help="Clips at a time through I3D.")
@click.option("--resolution", type=click.IntRange(1), default=224, help="Side of the frames that come in.")
@click.option("--repeats", type=click.IntRange(1), default=3, help="Timed runs; the best counts.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:<number>.")
def main(batches: list[int], resolution: int, repeats: int, threads: int | None, device: str):
    """Measure I3D (per clip of 16 frames) and ArcFace (per four frames), preprocessing included."""
    runtime.tune_cpu_allocator()
    runtime.set_threads(threads)
    runtime.disable_tf32()
    place = runtime.select_device(device)
    click.echo(f"{place}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    random = torch.Generator().manual_seed(0)
    draw = lambda *size: torch.randint(0, 256, size, dtype=torch.uint8, generator=random).to(place)  # noqa: E731
    i3d = load_i3d_videogpt(kind="random", folder=None, device=place)
    work = {f"i3d x{batch}": (i3d, draw(batch, CLIP_FRAMES, 3, resolution, resolution), batch) for batch in batches}
    arcface = load_arcface(kind="random", folder=None, device=place)
    work["arcface"] = arcface, draw(FACES, 3, resolution, resolution), 1
    for name, (detector, pixels, items) in work.items():
        measured = measure(lambda detector=detector, pixels=pixels: detector(pixels), place, repeats)
        memory = runtime.peak_memory(place)
        click.echo(measured.row(name, items, memory.get("gpu", memory["cpu"])))


if __name__ == "__main__":
    main()
