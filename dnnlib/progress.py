"""How far a long piece of work is, on standard error: a bar where people watch, else a plain line now and then."""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

# Seconds between two lines: a twentieth of the time gone by, within these.
SHORTEST_WAIT = 30.0
LONGEST_WAIT = 600.0
WAIT_SHARE = 1 / 20
LONG_UNITS = ((60, "m"), (3600, "h"), (86400, "d"))  # in seconds

Item = TypeVar("Item")


class Counter:
    """Counts what is done of something: a bar on a terminal, else plain lines (a log file, a pipe). A context.

    Args:
        total: how much there is to do; None: unknown.
        title: what it is.
        unit: of what is counted, such as frame.
        scaled: whether counts are shown as k, M and G, such as bytes.
        leave: whether the last state stays to be seen.
        silent: whether to show nothing.
    """

    def __init__(
        self,
        total: float | None,
        *,
        unit: str,
        title: str = "",
        scaled: bool = False,
        leave: bool = True,
        silent: bool = False,
    ):
        self.total = total
        self.n = 0
        self.unit = unit
        self.title = title
        self.scaled = scaled
        self.leave = leave
        self.silent = silent
        self._bar: tqdm | None = None

    def __enter__(self) -> "Counter":
        self._started = self._printed = time.monotonic()
        if not self.silent and watched():
            self._bar = terminal_bar(
                total=self.total,
                desc=self.title or None,
                unit=self.unit,
                unit_scale=self.scaled,
                leave=self.leave,
            )
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self.leave:
            self._print_state(time.monotonic())

    def update(self, more: int = 1) -> None:
        """Count `more` as done."""
        self.n += more
        if self._bar is not None:
            self._bar.update(more)
            return
        now = time.monotonic()
        wait = (now - self._started) * WAIT_SHARE
        if now - self._printed >= min(max(wait, SHORTEST_WAIT), LONGEST_WAIT):
            self._print_state(now)

    def _print_state(self, now: float) -> None:
        """Print a line such as `fvd, real videos: 120/512 videos, 1.2m, 4.0m left`."""
        self._printed = now
        if self.silent:
            return
        seconds = now - self._started
        count = tqdm.format_sizeof(self.n) if self.scaled else str(self.n)
        if self.total is not None:
            count += f"/{tqdm.format_sizeof(self.total) if self.scaled else self.total}"
        text = f"{count} {self.unit}{'' if self.scaled else 's'}, {duration(seconds)}"
        if self.total is not None and 0 < self.n < self.total:
            text += f", {duration(seconds / self.n * (self.total - self.n))} left"
        print_line(f"{self.title}: {text}" if self.title else text)


def counted(items: Iterable[Item], counter: Counter) -> Iterator[Item]:
    """Yield the same items, each counted when the next one is asked for."""
    for item in items:
        yield item
        counter.update()


def print_line(line: str) -> None:
    """Print a line, above the bar if there is one; nothing where standard error is closed (`2>&-`)."""
    if sys.stderr is not None:
        tqdm.write(line, file=sys.stderr)


def terminal_bar(**options: Any) -> tqdm:
    """Return a bar as wide as the terminal, or as COLUMNS says where the user has set it."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 1:
        return tqdm(ncols=int(columns) - 1, **options)
    return tqdm(dynamic_ncols=True, **options)


def watched() -> bool:
    """Return whether standard error is a terminal where a bar can move; those of containers may be of size 0."""
    if sys.stderr is None or not sys.stderr.isatty():
        return False
    with contextlib.suppress(OSError):  # no descriptor, so no size to ask for
        return 0 not in os.get_terminal_size(sys.stderr.fileno())
    return True


def duration(seconds: float) -> str:
    """Return a time in at most five characters, up to 9999 days: 45s, 1.5m, 12m, 3.2h, 13d."""
    if round(seconds) < 60:
        return f"{seconds:.0f}s"
    length, unit = max((length, unit) for length, unit in LONG_UNITS if round(seconds) >= length)
    number = seconds / length
    return f"{number:.{1 if number < 9.95 else 0}f}{unit}"
