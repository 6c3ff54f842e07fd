"""Calls of commands on hostile files: how they end, what they say, how long they take and how much memory."""

import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner

from dnnlib.errors import UserError
from pv3d.actions import checkpoint, data, edit, metrics, train  # noqa: F401  (commands import them when they run)

MOST_SAID = 3000  # characters of what was said that are handed on

Ended = tuple[int, str, str]  # exit status, what was said, traceback


class TookTooLong(BaseException):
    """The end of a command that took too long; no `except Exception` on the way catches it."""


def invoke(command: Callable, *arguments: object) -> Ended:
    """Call a command of click."""
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    trace = ""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        trace = "".join(traceback.format_exception(result.exception))
    return result.exit_code, result.output, trace


def call(function: Callable[..., object], *arguments: object) -> Ended:
    """Call a function; it ends as a command would that calls it and prints what it returns."""
    try:
        returned = function(*arguments)
    except UserError as error:
        return 2, f"Error: {error}\n", ""
    except Exception:
        return 1, "", traceback.format_exc()
    return 0, "" if returned is None else str(returned), ""


def measure(limit: int, command: Callable, *arguments: object) -> dict:
    """Call a command that has `limit` seconds; return how it ended, its time and by how many MiB memory grew."""
    _forget_peak()
    memory = _peak()
    started = time.perf_counter()
    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(limit)
    try:
        status, said, trace = command(*arguments)
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
        "grown": _peak() - memory,
    }


def _stop(number: int, frame: object) -> None:
    raise TookTooLong


def _forget_peak() -> None:
    """Let the process's peak of memory start again from what it uses now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    """Return the most memory that this process had since then, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kibibytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kibibytes) / 1024
