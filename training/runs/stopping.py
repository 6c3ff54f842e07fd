"""How training ends before its time: on request, which saves, and by an error, which says where the run will go on."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType

from dnnlib.errors import UserError
from torch_utils import distributed
from training.data.loader import worker_failure
from training.runs.folder import RunFolder, Warn


class StopFlag:
    """A request to stop: by Ctrl-C, SIGTERM or the end of a time limit; a second Ctrl-C interrupts at once.

    As a context it handles the signals.
    """

    def __init__(self, minutes: float | None = None):
        self.asked = False
        self.deadline = None if minutes is None else time.monotonic() + minutes * 60

    def __call__(self) -> bool:
        """Return whether to stop."""
        if not self.asked and self.deadline is not None and time.monotonic() > self.deadline:
            self.asked = True
            _print_in_handler(b"\n--time-limit is over; saving.\n")
        return self.asked

    def __enter__(self) -> "StopFlag":
        self.old_handlers = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.old_handlers.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.asked:
            _print_in_handler(b"\nStopping after this iteration; saving.\n")
        self.asked = True


def _print_in_handler(line: bytes) -> None:
    """Print from within a signal's handler: not through a Python stream, which may have been writing just then."""
    if distributed.is_main():
        with contextlib.suppress(OSError):  # a reader (`| tee log`) that the same Ctrl-C has ended
            os.write(2, line)


@contextlib.contextmanager
def explained_end(run: RunFolder, warn: Warn) -> Iterator[None]:
    """Call `warn` with where the same command will go on when an error ends training.

    Raises:
        UserError: the one that ended training; also for a process that loads data and was killed.
        SystemExit: another process of the run ended, with whatever reason it gave.
    """
    try:
        yield
    except UserError:
        _warn_what_is_kept(run, warn)
        raise
    except RuntimeError as error:
        failure = worker_failure(error)
        if failure is not None:
            _warn_what_is_kept(run, warn)
            raise failure from error
        if not distributed.is_about_peer(error):
            raise
        warn(
            f"\nProcess {distributed.rank()} ends, because another one failed or was killed: what that one "
            "said is the reason; the same command goes on from the last training state."
        )
        raise SystemExit(1) from None


def _warn_what_is_kept(run: RunFolder, warn: Warn) -> None:
    """Name the training state that the same command goes on from, if there is one."""
    states = run.states()
    if states:
        warn(
            f"\n{states[-1]} is kept: the same command goes on there, when what follows is solved "
            f"(with --resume={run.path}, if files of the dataset were mended)."
        )
