"""Start train.py in forked processes (`forked_training.py`) from a test."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY = [
    "--cfg=demo",
    "--img-resolution=32",
    "--plane-resolution=16",
    "--motion-blocks=2",
    "--cbase=128",
    "--cmax=8",
    "--d-cbase=128",
    "--d-cmax=8",
    "--depth-samples=4",
    "--importance-samples=4",
    "--neural-rendering-resolution=8",
    "--batch=2",
    "--precision=fp32",
    "--gamma=1",
    "--tick=0.002",
    "--workers=0",
    "--device=cpu",
]
SECONDS = 120  # of a start; far below the 20 minutes that a process waits for another one
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@dataclass(kw_only=True)
class Start:
    """A start of train.py: what `forked_training.py` is asked for."""

    arguments: list[str]
    output: str  # file for standard output and error, of every process
    ranks: int = 1  # processes
    fault: list | None = None  # a function of `fault_injection`, and its arguments
    fault_rank: int = 0
    kill_at: list | None = None  # iteration of this start, share of an iteration, signal to the first process
    record: str | None = None  # file for `fault_injection.record`; the rank is added
    pictures: bool = False  # whether snapshots come with pictures


@dataclass(kw_only=True)
class Ended:
    """How a start ended: exit statuses in order of rank, and what all processes printed."""

    statuses: list[int]
    text: str


def ends(process: int, seconds: float = 20) -> bool:
    """Whether a process that is no child of this one ends within so many seconds."""
    stat = Path(f"/proc/{process}/stat")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = stat.read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False


class Forks:
    """The process that forks, with everything imported: a context manager, whose end kills all of them."""

    def __init__(self, folder: Path):
        self.output = folder / "output.txt"
        worker = Path(__file__).with_name("forked_training.py")
        self.process = subprocess.Popen(
            [sys.executable, str(worker)],
            env=ENVIRONMENT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def start(self, outdir: Path, data: Path, *more: str, **options) -> Ended:
        """Run train.py at a tiny size to its end; options are fields of `Start`.

        AssertionError if it takes more than SECONDS.
        """
        self.output.write_text("")
        arguments = [*TINY, f"--outdir={outdir}", f"--data={data}", *more]
        start = Start(arguments=arguments, output=str(self.output), **options)
        self.process.stdin.write(json.dumps(asdict(start)) + "\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], SECONDS)
        assert ready, f"still running after {SECONDS} s: {self.output.read_text()}"
        statuses = json.loads(self.process.stdout.readline())
        return Ended(statuses=statuses, text=self.output.read_text())

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *exception: object) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
