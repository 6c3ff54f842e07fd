"""The models of a viewer: files, or the newest snapshot of a run, loaded again when they change on the disk."""

import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dnnlib.errors import UserError
from dnnlib.files import state_of
from pv3d import Model
from training.checkpoints import sources
from viewer.drawing import Artist

LOOK_SECONDS = 1.0  # between two looks at the disk

LOADING, READY = "loading", "ready"
Load = Callable[[Path], Model]


@dataclass
class Panel:
    """A place on the page, with the model that it shows.

    Attributes:
        path: a snapshot, or the folder of a run.
        artist: of the model that was loaded last; None: none was yet.
        version: how many were.
        shown: the file that it came from.
        problem: what is wrong with the newest file, in a sentence; "" if nothing is. The model before it stays.
    """

    path: Path
    artist: Artist | None = None
    version: int = 0
    shown: Path | None = None
    problem: str = ""
    state: tuple[Path, str] | None = None  # the file and its state that were loaded, or could not be

    def look(self, load: Load) -> bool:
        """Load the newest file unless that was done; return whether a new model is there."""
        try:
            file = sources.found(self.path).path
        except UserError as error:
            return self._lacks(f"{error} What comes is shown as soon as it is there.")
        state = state_of(file)
        if state is None:
            return self._lacks(f"{file} is not there any more: it is shown again as soon as it is.")
        if (file, state) == self.state:
            return False
        try:
            artist = Artist(load(file))
        except UserError as error:
            self.problem = str(error)
        except Exception as error:  # whatever a file holds: the viewer shows what it had before
            traceback.print_exc()
            self.problem = f"{file} could not be loaded ({type(error).__name__}): see the terminal."
        else:
            if state_of(file) != state:  # of which half was read?
                return False
            self.artist, self.shown, self.problem = artist, file, ""
            self.version += 1
        self.state = (file, state)
        return self.problem == ""

    def _lacks(self, problem: str) -> bool:
        self.problem = problem
        self.state = None
        return False

    @property
    def name(self) -> str:
        """What the page calls it."""
        if self.shown is None or self.shown == self.path:
            return self.path.name
        return f"{self.path.name}/{self.shown.name}"


def located(name: str) -> Path:
    """Return the path of a model, as `sources.found` does, but a folder itself: its newest snapshot is followed.

    Raises:
        UserError: it is neither a shipped model nor a file or folder, or there is no best one of a run.
    """
    path = Path(name)
    if name not in sources.SHIPPED and path.is_dir():
        return path
    path = sources.found(name).path
    if not path.exists():
        raise UserError(f"{name} is neither a snapshot, nor the folder of a run, nor a shipped model: check the path.")
    return path


class Follower:
    """A thread that keeps panels at what is on the disk, as long as it is not stopped."""

    def __init__(self, panels: Sequence[Panel], load: Load, seconds: float = LOOK_SECONDS):
        self.panels = panels
        self.load = load
        self.seconds = seconds
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, name="viewer-follower", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """End the thread."""
        self.stopping.set()
        self.thread.join()

    def _run(self) -> None:
        while not self.stopping.is_set():
            for panel in self.panels:
                if not self.stopping.is_set():
                    panel.look(self.load)
            self.stopping.wait(self.seconds)
