"""Starts train.py in forked processes of one that has imported everything: a start takes a second, not ten.

Each line of standard input asks for one start, as the JSON of `forks.Start`. Each line of standard output answers with
the exit statuses of its processes, in order of rank; -9 is SIGKILL.
"""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
import json
import os
import socket
import sys
import time
from pathlib import Path

import torch
from torch.utils import tensorboard  # noqa: F401  (imported now, not in every fork)

import train
from tests.helpers import fault_injection


def run_rank(rank: int, port: int, asked: dict, pulse: int) -> None:
    """What a forked process does; it does not return."""
    output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    world = asked["ranks"]
    if world > 1:
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world),
            "LOCAL_WORLD_SIZE": str(world),
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(port),
        }
    fault_injection.before_iterations(lambda trainer: os.write(pulse, b"."))
    if asked["record"]:
        fault_injection.record(Path(f"{asked['record']}.{rank}"))
    if asked["fault"] and asked["fault_rank"] == rank:
        getattr(fault_injection, asked["fault"][0])(*asked["fault"][1:])
    if not asked["pictures"]:
        train.SnapshotPictures.__call__ = lambda self, networks, folder, clips: None
    status = 1
    try:
        train.main(asked["arguments"], prog_name="train.py")
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def kill_later(child: int, pulse: int, iteration: int, share: float, number: int) -> None:
    """A signal in the given iteration of this start, after this share of the time between the two before; in iteration
    0, this share of a second after the start."""
    length, last = 1.0, time.monotonic()
    for _ in range(iteration):
        os.read(pulse, 1)
        length, last = time.monotonic() - last, time.monotonic()
    time.sleep(length * share)
    os.kill(child, number)  # without effect if it has ended


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def main() -> None:
    """Answers until its input ends."""
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])  # imports much of torch
    for line in sys.stdin:
        asked = json.loads(line)
        port, children = free_port(), []
        pulse, beating = os.pipe()
        for rank in range(asked["ranks"]):
            children.append(os.fork())
            if children[-1] == 0:
                os.close(pulse)
                run_rank(rank, port, asked, beating)
        os.close(beating)
        if asked["kill_at"]:
            kill_later(children[0], pulse, *asked["kill_at"])
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        os.close(pulse)
        print(json.dumps(statuses), flush=True)


if __name__ == "__main__":
    main()
