"""Opens hostile datasets or sources with every command, in a process of its own.

Prints a line of JSON for each case and command: how it ended, what it said, what it left, how long it took and how much
memory; the test judges.
"""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
import contextlib
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner

import calc_metrics
import dataset_tool
import train
from dnnlib.errors import UserError
from metrics.video_sources import FolderVideos, Window
from tests.hostile import hostile_data, hostile_sources
from training.data.dataset import ClipDataset

SECONDS = 15
MOST_SAID = 3000  # characters of what was said that are handed on
ADDRESSES = 12 * 2**30  # what a runaway may take before it is stopped


class TookTooLong(BaseException):
    """No `except Exception` on the way shall catch it."""


def _alarm(number: int, frame: object) -> None:
    raise TookTooLong


def invoke(command: Callable, *args: object) -> tuple[int, str, str]:
    """Exit status, what was said, traceback."""
    result = CliRunner().invoke(command, [str(arg) for arg in args])
    trace = ""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        trace = "".join(traceback.format_exception(result.exception))
    return result.exit_code, result.output, trace


def check(path: Path, out: Path) -> tuple[int, str, str]:
    return invoke(dataset_tool.main, "check", path, "--workers", 1)


def dry_run(path: Path, out: Path) -> tuple[int, str, str]:
    return invoke(
        train.main,
        "--outdir",
        out / "runs",
        "--cfg",
        "demo",
        "--data",
        path,
        "--device",
        "cpu",
        "--img-resolution",
        hostile_data.SIDE,
        "--dry-run",
    )


def score(path: Path, out: Path) -> tuple[int, str, str]:
    """The dataset as the real videos; none are given to score, so it always ends with a sentence."""
    return invoke(
        calc_metrics.main, "--metrics", "fvd", "--data", path, "--no-cache", "--detector", "random", "--device", "cpu"
    )


def read(path: Path, out: Path) -> tuple[int, str, str]:
    """Every frame through the class that training reads by; the first sentence that comes."""
    said = ""
    try:
        dataset = ClipDataset(path)
        for index, clip in enumerate(dataset.clips):
            for number in range(min(len(clip.frames), 40)):
                with contextlib.ExitStack() as stack:
                    stack.enter_context(_collect := _Sentences())
                    dataset.read_frame(index, number)
                said += _collect.text
        dataset.fingerprint()
    except UserError as error:
        said += f"Error: {error}\n"
    except Exception:
        return 1, said, traceback.format_exc()
    return 2 if said else 0, said, ""


class _Sentences(contextlib.AbstractContextManager):
    """Keeps the UserError that ends its block."""

    text = ""

    def __exit__(self, kind, error, trace) -> bool:
        if isinstance(error, UserError):
            self.text = f"Error: {error}\n"
        return isinstance(error, UserError)


def convert(path: Path, out: Path) -> tuple[int, str, str]:
    return invoke(dataset_tool.main, "convert", "--source", path, "--dest", out / "made", "--workers", 1)


def watch(path: Path, out: Path) -> tuple[int, str, str]:
    """The source's videos as scored ones, decoded to the ninth frame."""
    try:
        source = FolderVideos(path / "recrop_faces", Window(hostile_sources.LENGTH))
        assert source.identity
        return 0, str([source.video(index).shape for index in range(source.count)]), ""
    except UserError as error:
        return 2, f"Error: {error}\n", ""
    except Exception:
        return 1, "", traceback.format_exc()


KINDS = {
    "datasets": ((check, dry_run, score, read), hostile_data.CASES),
    "sources": ((convert, watch), hostile_sources.CASES),
}


def forget_peak() -> None:
    """The process's peak of memory starts again from what it uses now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """Most memory that this process had since, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024


def listing(root: Path) -> dict[str, tuple]:
    """Everything below a folder, with sizes and times; links are not followed."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            about = os.lstat(os.path.join(folder, name))
            found[ascii(os.path.join(folder, name))] = about.st_size, about.st_mtime_ns, about.st_mode
    return found


def watched(limit: int, command: Callable, *args: object) -> dict:
    """How a command ends that has `limit` seconds, what it said, how long it took and by how much memory grew."""
    forget_peak()
    memory, started = peak(), time.perf_counter()
    signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(limit)
    try:
        status, said, trace = command(*args)
    except TookTooLong:
        status, said, trace = -1, "", f"took more than {limit} s\n{traceback.format_exc()}"
    finally:
        signal.alarm(0)
    return {
        "command": command.__name__,
        "status": status,
        "said": said[-MOST_SAID:],
        "trace": trace[-MOST_SAID:],
        "seconds": time.perf_counter() - started,
        "grown": peak() - memory,
    }


def judge(command: Callable, path: Path, root: Path) -> dict:
    """Opens a case, and says what happened."""
    out = root / "out"
    out.mkdir()
    before = listing(root / "given")
    result = {
        **watched(SECONDS, command, path, out),
        "ffmpeg": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        "changed": sorted(set(before.items()) ^ set(listing(root / "given").items())),
        "left": sorted(os.listdir(out)),
        "callers": hostile_sources.callers(),
    }
    shutil.rmtree(out)
    return result


def main(kind: str, root: Path, names: list[str]) -> None:
    """Every command on all cases (or those named)."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    os.chdir(root)
    commands, cases = KINDS[kind]
    for name, (_, build) in cases.items():
        if not names or name in names:
            (root / "given").mkdir()
            path = build(root / "given")
            for command in commands:
                print(json.dumps({"name": name, **judge(command, path, root)}), flush=True)
            shutil.rmtree(root / "given")


if __name__ == "__main__":
    warnings.simplefilter("default")  # a warning on the screen is no sentence
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
