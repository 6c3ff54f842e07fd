"""Start train.py in forked processes of one that has imported everything: a start takes a second, not ten.

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
from pv3d.actions.train import SnapshotPictures
from tests.helpers import fault_injection
from tests.helpers.forks import Start

# --- The forked processes ---------------------------------------------------------------------------------------------


def run_rank(rank: int, port: int, start: Start, pulse: int) -> None:
    """Be the process of a rank; this does not return.

    Args:
        pulse: a byte is written here before every iteration.
    """
    output = os.open(start.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    if start.ranks > 1:
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(start.ranks),
            "LOCAL_WORLD_SIZE": str(start.ranks),
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(port),
        }
    prepare(rank, start, pulse)
    status = 1
    try:
        train.main(start.arguments, prog_name="train.py")
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def prepare(rank: int, start: Start, pulse: int) -> None:
    """Change the code of this process as the start asks for."""
    fault_injection.before_iterations(lambda trainer: os.write(pulse, b"."))
    if start.record:
        fault_injection.record(Path(f"{start.record}.{rank}"))
    if start.fault and start.fault_rank == rank:
        name, *arguments = start.fault
        inject = getattr(fault_injection, name)
        inject(*arguments)
    if not start.pictures:
        SnapshotPictures.__call__ = lambda self, networks, folder, clips: None


# --- The process that forks -------------------------------------------------------------------------------------------


def kill_later(child: int, pulse: int, iteration: int, share: float, number: int) -> None:
    """Send a signal in the given iteration of this start, after this share of the time between the two before.

    In iteration 0, after this share of a second from the start.
    """
    length = 1.0
    last = time.monotonic()
    for _ in range(iteration):
        os.read(pulse, 1)
        now = time.monotonic()
        length = now - last
        last = now
    time.sleep(length * share)
    os.kill(child, number)  # without effect if it has ended


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def run(start: Start) -> list[int]:
    """Run train.py in as many processes as are asked for; return their exit statuses."""
    port = free_port()
    pulse, beating = os.pipe()
    children = []
    for rank in range(start.ranks):
        child = os.fork()
        if child == 0:
            os.close(pulse)
            run_rank(rank, port, start, beating)
        children.append(child)
    os.close(beating)
    if start.kill_at:
        iteration, share, number = start.kill_at
        kill_later(children[0], pulse, iteration, share, number)
    statuses = []
    for child in children:
        _, status = os.waitpid(child, 0)
        statuses.append(os.waitstatus_to_exitcode(status))
    os.close(pulse)
    return statuses


def main() -> None:
    """Answer until the input ends."""
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])  # imports much of torch
    for line in sys.stdin:
        start = Start(**json.loads(line))
        print(json.dumps(run(start)), flush=True)


if __name__ == "__main__":
    main()
