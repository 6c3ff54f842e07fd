"""Open hostile datasets or sources with every command, in a process of its own.

A line of JSON is printed for each case and command: how it ended, what it said, what it left, how long it took and how
much memory. The test judges.
"""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
import json
import os
import resource
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import calc_metrics
import dataset_tool
import train
from dnnlib.errors import UserError
from metrics.video_sources import FolderVideos, Window
from tests.hostile import hostile_data, hostile_sources
from tests.hostile.hostile_indexes import SIDE
from tests.hostile.measured_calls import Ended, call, invoke, measure
from tests.hostile.source_makers import LENGTH, count_callers
from training.data.dataset import ClipDataset
from training.data.published import VIDEOS

SECONDS = 15  # that a command has
MOST_FRAMES = 40  # of a clip that are read
ADDRESSES = 12 * 2**30  # bytes of address space that a runaway may take before it is stopped


# --- The commands ----------------------------------------------------------------------------------------------------


def check(path: Path, out: Path) -> Ended:
    """Check a dataset."""
    return invoke(dataset_tool.main, "check", path, "--workers", 1)


def dry_run(path: Path, out: Path) -> Ended:
    """Do all that training does before its first step."""
    model = ["--cfg=demo", f"--img-resolution={SIDE}", "--device=cpu"]
    return invoke(train.main, f"--outdir={out / 'runs'}", f"--data={path}", *model, "--dry-run")


def score(path: Path, out: Path) -> Ended:
    """Take the dataset for the real videos; none are given to score, so that it always ends with a sentence."""
    return invoke(
        calc_metrics.main, "--metrics=fvd", f"--data={path}", "--no-cache", "--detector=random", "--device=cpu"
    )


def read(path: Path, out: Path) -> Ended:
    """Read every frame through the class that training reads by; say the sentence of every frame that is refused."""
    sentences = []

    def read_frames() -> None:
        dataset = ClipDataset(path)
        for index, clip in enumerate(dataset.clips):
            for number in range(min(len(clip.frames), MOST_FRAMES)):
                try:
                    dataset.read_frame(index, number)
                except UserError as error:
                    sentences.append(f"Error: {error}\n")
        dataset.fingerprint()

    status, last, trace = call(read_frames)
    if status == 0 and sentences:
        status = 2
    return status, "".join(sentences) + last, trace


def convert(path: Path, out: Path) -> Ended:
    """Make a dataset of a source."""
    return invoke(dataset_tool.main, "convert", "--source", path, "--dest", out / "made", "--workers", 1)


def decode(path: Path, out: Path) -> Ended:
    """Decode the source's videos to the ninth frame, as those that are scored."""

    def decode_videos() -> list[tuple[int, ...]]:
        source = FolderVideos(path / VIDEOS, Window(LENGTH))
        assert source.identity
        return [source.video(index).shape for index in range(source.count)]

    return call(decode_videos)


CORPORA = {
    "datasets": ((check, dry_run, score, read), hostile_data.CASES),
    "sources": ((convert, decode), hostile_sources.CASES),
}


# --- What came of them -----------------------------------------------------------------------------------------------


def listing(root: Path) -> dict[str, tuple]:
    """Return size, time and mode of everything below a folder, by name; links are not followed."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            about = os.lstat(os.path.join(folder, name))
            found[ascii(os.path.join(folder, name))] = about.st_size, about.st_mtime_ns, about.st_mode
    return found


def judge(command: Callable, path: Path, root: Path) -> dict:
    """Open a case with a command; return what happened."""
    out = root / "out"
    out.mkdir()
    before = listing(root / "given")
    ended = measure(SECONDS, command, path, out)
    after = listing(root / "given")
    result = ended | {
        "ffmpeg": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        "changed": sorted(before.items() ^ after.items()),
        "left": sorted(os.listdir(out)),
        "callers": count_callers(),
    }
    shutil.rmtree(out)
    return result


def main(kind: str, root: Path, wanted: list[str]) -> None:
    """Open all cases of a corpus, or those of the names `wanted`, with every command."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    os.chdir(root)
    commands, cases = CORPORA[kind]
    for case in cases:
        if wanted and case.name not in wanted:
            continue
        (root / "given").mkdir()
        path = case.make(root / "given")
        for command in commands:
            print(json.dumps({"name": case.name, **judge(command, path, root)}), flush=True)
        shutil.rmtree(root / "given")


if __name__ == "__main__":
    warnings.simplefilter("default")  # a warning on the screen is no sentence
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
