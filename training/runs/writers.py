"""Libraries that show a run elsewhere: each is given what the run writes, and none of them can end it."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any


class Writer:
    """A library that is given a run's statistics and pictures. Its first failure is a warning, and its last call.

    Subclasses open `_library` under `_failures_as_warning`, and say in `_add`, `_show` and `_close` what it is given.

    Args:
        lost: begins the sentence about a failure: what is missing where from now on.
        kept: ends it: where the same is.
        warn: called with that sentence.
    """

    def __init__(self, *, lost: str, kept: str, warn: Callable[[str], None]):
        self.lost = lost
        self.kept = kept
        self.warn = warn
        self._library: Any = None

    def add(self, stats: dict[str, float], clips: int) -> None:
        """Pass on values by name, after so many clips."""
        with self._failures_as_warning():
            if self._library is not None:
                self._add(stats, clips)

    def show(self, files: Sequence[Path], clips: int) -> None:
        """Pass on pictures and videos, after so many clips."""
        with self._failures_as_warning():
            if self._library is not None:
                self._show(files, clips)

    def close(self) -> None:
        """Pass on what waits."""
        with self._failures_as_warning():
            if self._library is not None:
                self._close()
        self._library = None

    def _add(self, stats: dict[str, float], clips: int) -> None:
        raise NotImplementedError

    def _show(self, files: Sequence[Path], clips: int) -> None:
        """Show nothing, unless the library is for it."""

    def _close(self) -> None:
        raise NotImplementedError

    @contextlib.contextmanager
    def _failures_as_warning(self) -> Iterator[None]:
        """Warn of an exception of any kind: other packages' versions that do not fit raise all of them, or exit."""
        try:
            yield
        except (Exception, SystemExit) as error:
            self._library = None
            reason = " ".join(str(error).split()) or "no reason given"
            self.warn(f"{self.lost} ({type(error).__name__}: {reason}); {self.kept}.")
