"""Time and memory of a zip by its number of clips: written, opened for the first time and again, read, checked.

    python benchmarks/large_datasets.py --folder /tmp/large --clips 200,1400,14000

VoxCeleb has 14000 clips of 150 frames after balancing. All frames are one small picture, so that what counts is their
number. Every step is a process of its own; its memory is what it takes beyond the imports, at its peak. The cache is a
new folder, so the first opening is that of a new machine.
"""

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from dnnlib import cli  # noqa: E402
from training.cameras import canonical_label  # noqa: E402
from training.config import TrainingConfig  # noqa: E402
from training.data.check import camera_warning, check_dataset, summary  # noqa: E402
from training.data.dataset import ClipDataset  # noqa: E402
from training.data.frames import encode_png  # noqa: E402
from training.data.pairs import camera_bank, training_batches  # noqa: E402
from training.data.writer import ClipRecord, write_dataset  # noqa: E402

FRAMES = 150  # of a clip
SIDE = 16  # pixels
BATCH = 8
MIB = 2**20


# --- Steps: each returns the part of its time that does not count, in seconds -----------------------------------------


def write(path: Path, clips: int, workers: int) -> float:
    """Write the dataset, as `dataset_tool.py convert` does with clips that are ready."""
    picture = encode_png(np.full([3, SIDE, SIDE], 100, np.uint8))
    frames = [(f"{number:05d}.png", picture) for number in range(FRAMES)]
    cameras = np.tile(canonical_label().numpy(), [FRAMES, 1])
    with write_dataset(path) as writer:
        for clip in range(clips):
            writer.add(ClipRecord(name=f"{clip:05d}", frames=frames, cameras=cameras, fps=25.0, side=SIDE))
    return 0


def open_it(path: Path, clips: int, workers: int) -> float:
    """Open the dataset."""
    assert ClipDataset(path).num_clips == clips
    return 0


def start(path: Path, clips: int, workers: int) -> float:
    """Open the dataset and learn all that training asks of it before the first batch."""
    dataset = ClipDataset(path)
    dataset.fingerprint(), dataset.names_and_sizes, dataset.is_reordered, dataset.notes
    camera_warning(dataset)
    camera_bank(dataset, seed=0)
    return 0


def first_batch(path: Path, clips: int, workers: int) -> float:
    """Draw the first batch of an open dataset."""
    options = TrainingConfig()
    started = time.perf_counter()
    dataset = ClipDataset(path)
    opened = time.perf_counter() - started
    batches = training_batches(dataset, BATCH, seed=0, workers=workers, window=options.window, mirror=options.mirror)
    next(batches)
    delivered = time.perf_counter()
    batches.close()  # workers take a while to end
    return opened + time.perf_counter() - delivered


def check(path: Path, clips: int, workers: int) -> float:
    """Check the dataset in one process, as `dataset_tool.py check` does."""
    assert not list(check_dataset(path, workers=1, progress=lambda items, total: items))
    summary(ClipDataset(path))
    return 0


STEPS: dict[str, tuple[Callable[[Path, int, int], float], bool]] = {  # with whether the data loader's workers run
    "write": (write, False),
    "open, first": (open_it, False),
    "open, again": (open_it, False),
    "what training asks": (start, False),
    "first batch": (first_batch, False),
    "first batch, workers": (first_batch, True),
    "check": (check, False),
}


# --- Measured in a process --------------------------------------------------------------------------------------------


def measured(step: Callable[[Path, int, int], float], path: Path, clips: int, workers: int) -> tuple[float, ...]:
    """Run a step in a process of its own; return its seconds, and MB of it and of its largest child."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(step, path, clips, workers, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise click.ClickException("A step failed, see above.") from None
    finally:
        process.join()


def _measure(step: Callable[[Path, int, int], float], path: Path, clips: int, workers: int, sender: Connection) -> None:
    before = _peak(resource.RUSAGE_SELF)
    started = time.perf_counter()
    earlier = step(path, clips, workers)
    seconds = time.perf_counter() - started - earlier
    sender.send((seconds, _peak(resource.RUSAGE_SELF) - before, max(_peak(resource.RUSAGE_CHILDREN) - before, 0)))


def _peak(who: int) -> float:
    """Return the most memory that this process, or the largest of its children that ended, ever had in MB (Linux)."""
    return resource.getrusage(who).ru_maxrss * 1024 / MIB


@cli.command()
@cli.option("--folder", type=cli.PATH, required=True, help="Where the datasets and their cache lie; kept.")
@cli.option("--clips", default="200,1400,14000", help="Numbers of clips.")
@cli.option("--workers", type=click.IntRange(1), default=2, help="Processes that load the first batch.")
def main(folder: Path, clips: str, workers: int) -> None:
    """Print seconds and MB of each step, for each number of clips."""
    for number in map(int, clips.split(",")):
        path = folder / f"{number}.zip"
        os.environ["PV3D_CACHE_DIR"] = str(folder / f"cache-{number}-{os.getpid()}")
        for name, (step, has_workers) in STEPS.items():
            if name == "write" and path.exists():
                continue
            seconds, memory, of_worker = measured(step, path, number, workers if has_workers else 0)
            line = f"{number:6d} clips  {name:20s} {seconds:8.2f} s {memory:8.0f} MB"
            click.echo(line + (f", a worker {of_worker:.0f} MB" if has_workers else ""))


if __name__ == "__main__":
    main()
