"""TensorBoard's events of a run, where it is installed and works: whatever fails in it is a warning, never the end."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

EVENTS = "events.out.tfevents.*"


class EventLog:
    """Statistics as TensorBoard shows them. Without TensorBoard nothing is written, and nothing said.

    From here to `close` threading.excepthook is ours: TensorBoard writes in a thread of its own, whose errors would be
    printed as tracebacks, and which offers no other place to catch them.

    Args:
        folder: of the run.
        clips: how far the run is; what earlier starts wrote beyond it does not count any more.
        warn: called with a sentence for the first failure; nothing is written after it.
    """

    def __init__(self, folder: Path, clips: int, warn: Callable[[str], None]):
        self.folder = folder
        self.warn = warn
        self._writer: Any = None
        self._old_hook = threading.excepthook
        threading.excepthook = self._thread_failed
        with self._failures_as_warning():
            self._writer = _summary_writer(folder, clips + 1)

    def add(self, stats: dict[str, float], clips: int) -> None:
        """Write values by name."""
        with self._failures_as_warning():
            if self._writer is not None:
                for name, value in stats.items():
                    self._writer.add_scalar(name, value, clips)

    def close(self) -> None:
        """Write what waits."""
        with self._failures_as_warning():
            if self._writer is not None:
                self._writer.close()
        self._writer = None
        threading.excepthook = self._old_hook

    @contextlib.contextmanager
    def _failures_as_warning(self) -> Iterator[None]:
        """Warn of an exception of any kind: other packages' versions that do not fit raise all of them, or exit."""
        try:
            yield
        except (Exception, SystemExit) as error:
            self._writer = None
            reason = " ".join(str(error).split()) or "no reason given"
            self.warn(
                f"TensorBoard's events are no longer written to {self.folder} ({type(error).__name__}: {reason}); "
                "stats.jsonl holds the same."
            )

    def _thread_failed(self, problem: threading.ExceptHookArgs) -> None:
        """Print no traceback of TensorBoard's own thread, whose error the next call here raises again."""
        if not type(problem.thread).__module__.startswith("tensorboard"):
            self._old_hook(problem)


def _summary_writer(folder: Path, purge_step: int) -> Any:
    """Return TensorBoard's writer, None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        if error.name == "tensorboard":
            return None
        raise
    return SummaryWriter(str(folder), purge_step=purge_step)
