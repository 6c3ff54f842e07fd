"""One command in several processes on a CPU: it forks the others itself, and none of them outlives it.

The process that the user started is the main one (rank 0). The others are its children: they print nothing but what
ends them, take no signals from a terminal or a queue, and are killed by the kernel when their parent is gone. So the
command starts, stops and fails as one process does.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence

import click

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.parallel import interrupts_held
from torch_utils import distributed

PR_SET_PDEATHSIG = 1  # of Linux's sys/prctl.h: the signal that a process gets when its parent ends
GRACE = 5.0  # seconds in which children end by themselves; they have nothing left to do but to end their loaders
LOOK = 0.01  # seconds between two looks whether they have
CAN_FORK = hasattr(os, "memfd_create")  # on Linux alone
PEER_STATUS = 1  # exit status of a process that another one's end has ended


@contextlib.contextmanager
def forked(count: int) -> Iterator[distributed.Meeting | None]:
    """Run the block in `count` processes, of which only this one leaves it; the others end where it ends.

    Call it before torch computes anything: its threads do not exist in a child.

    Yields:
        Where the processes meet, for `distributed.init`; None if there is but one.

    Raises:
        UserError: the system has no room for so many processes.
        SystemExit: a child ended; the status is its own if it was the user's mistake, which it has printed.
    """
    if count == 1:
        yield None
        return
    place = os.memfd_create("processes")  # a file without a name: nothing of it is left, however all this ends
    children: list[int] = []
    rank = _fork(count, children)
    meeting = distributed.Meeting(rank=rank, world=count, path=f"/proc/self/fd/{place}")
    if rank:
        status = 0
        try:
            yield meeting
        except BaseException as error:
            status = cli.ended_by(error)
        _end(status)
    try:
        yield meeting
    except BaseException as error:
        expected = isinstance(error, UserError | SystemExit)  # then they end by themselves, if they can
        about_child = distributed.is_about_peer(error)
        statuses = _wait(children, GRACE if expected or about_child else 0)
        if about_child:
            click.echo("A process of this command failed or was killed: what it said is the reason.", err=True)
        elif not (isinstance(error, SystemExit) and error.code == PEER_STATUS):
            raise
        raise SystemExit(cli.USAGE_STATUS if cli.USAGE_STATUS in statuses else PEER_STATUS) from None
    else:
        _wait(children, GRACE)
    finally:
        os.close(place)


# --- Start ------------------------------------------------------------------------------------------------------------


def _fork(count: int, children: list[int]) -> int:
    """Fork until there are `count` processes; return this one's rank, and add the children's numbers to `children`."""
    parent = os.getpid()
    _flush()  # what waits to be printed would be printed by every process
    try:
        with interrupts_held():
            for rank in range(1, count):
                child = os.fork()
                if child == 0:
                    _become_child(parent)
                    return rank
                children.append(child)
    except BaseException as error:
        _wait(children, 0)
        if isinstance(error, OSError):
            raise UserError(
                f"{count} processes cannot be started ({error.strerror}): use fewer --processes."
            ) from error
        raise
    return 0


def _become_child(parent: int) -> None:
    """Live as long as the parent, which alone answers signals: Ctrl-C reaches every process of a command."""
    # Inherited by every later thread, so it holds for the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before that
        os._exit(PEER_STATUS)


# --- End --------------------------------------------------------------------------------------------------------------


def _end(status: int) -> None:
    """End this child, and nothing of what belongs to the parent."""
    _flush()
    os._exit(status)


def _wait(children: Sequence[int], seconds: float) -> list[int]:
    """Wait until all children have ended, kill those that have not after so many seconds; return their statuses."""
    deadline = time.monotonic() + seconds
    statuses = []
    for child in children:
        ended, status = os.waitpid(child, os.WNOHANG)
        while not ended and time.monotonic() < deadline:
            time.sleep(LOOK)
            ended, status = os.waitpid(child, os.WNOHANG)
        if not ended:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        statuses.append(os.waitstatus_to_exitcode(status))
    return statuses


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
