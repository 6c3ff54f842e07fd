"""TensorBoard's events of a run, where it is installed and works: whatever fails in it is a warning, never the end."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.runs.writers import Writer

EVENTS = "events.out.tfevents.*"


class EventLog(Writer):
    """Statistics as TensorBoard shows them. Without TensorBoard nothing is written, and nothing said.

    From here to `close` threading.excepthook is ours: TensorBoard writes in a thread of its own, whose errors would be
    printed as tracebacks, and which offers no other place to catch them.

    Args:
        folder: of the run.
        clips: how far the run is; what earlier starts wrote beyond it does not count any more.
        warn: called with a sentence for the first failure; nothing is written after it.
    """

    def __init__(self, folder: Path, clips: int, warn: Callable[[str], None]):
        lost = f"TensorBoard's events are no longer written to {folder}"
        super().__init__(lost=lost, kept="stats.jsonl holds the same", warn=warn)
        self._old_hook = threading.excepthook
        threading.excepthook = self._thread_failed
        with self._failures_as_warning():
            self._library = _summary_writer(folder, clips + 1)

    def close(self) -> None:
        """Write what waits."""
        super().close()
        threading.excepthook = self._old_hook

    def _add(self, stats: dict[str, float], clips: int) -> None:
        for name, value in stats.items():
            self._library.add_scalar(name, value, clips)

    def _close(self) -> None:
        self._library.close()

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
