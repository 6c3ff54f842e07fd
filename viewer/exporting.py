"""Videos of the page: frames that the worker makes between pictures go through a short queue to the encoder."""

import queue
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from dnnlib.video import write_video
from training.sampling import records
from viewer.drawing import Artist
from viewer.messages import VideoWish
from viewer.worker import Worker

MOST_QUEUED = 4  # frames that wait for the encoder
WAIT_SECONDS = 0.2  # between two looks at whether a video is still wanted

RUNNING, DONE, FAILED, STOPPED = "running", "done", "failed", "stopped"


class Stopped(Exception):
    """Nobody wants the video any more."""


class Export:
    """A video that is being made, or was.

    Args:
        path: where it is written.
        number: that no other video of this viewer has, so that a page does not take another's for its own.
    """

    def __init__(self, worker: Worker, artist: Artist, wish: VideoWish, path: Path, number: int):
        self.path = path
        self.number = number
        self.total = wish.frames
        self.made = 0
        self.state = RUNNING
        self.problem = ""
        self.wish = wish
        self._worker = worker
        self._artist = artist
        self._frames: Iterator[np.ndarray] | None = None
        self._queue: queue.Queue[np.ndarray | Exception | None] = queue.Queue(MOST_QUEUED)
        self._thread = threading.Thread(target=self._encode, name="viewer-export", daemon=True)
        self._thread.start()
        worker.between(self._step)

    def about(self) -> dict[str, Any]:
        """Return what the page says of it."""
        return {
            "number": self.number,
            "state": self.state,
            "made": self.made,
            "total": self.total,
            "problem": self.problem,
        }

    def stop(self) -> None:
        """Stop making it, and forget what was made."""
        if self.state == RUNNING:
            self.state = STOPPED
        self._worker.between(None)
        self._thread.join()
        self.path.unlink(missing_ok=True)

    def _step(self) -> bool:
        """Make the next frame, in the worker's thread; return whether there was room for one."""
        if self._queue.full() or self.state != RUNNING:
            return False
        made = self._next()
        if isinstance(made, np.ndarray):
            self.made += 1
        else:
            self._worker.between(None)
            self._frames = iter(())  # lets go of the planes
        self._queue.put(made)
        return True

    def _next(self) -> np.ndarray | Exception | None:
        """Return the next frame; None: there is none; or why there is none, for the encoder's thread to say."""
        try:
            if self._frames is None:
                self._frames = self._artist.frames(self.wish)
            return next(self._frames, None)
        except Exception as error:
            return error

    def _encode(self) -> None:
        try:
            write_video(self.path, self._queued(), self.wish.fps, comment=records.SYNTHETIC)
        except Stopped:
            return
        except UserError as error:
            self.problem = str(error)
        except Exception as error:
            traceback.print_exc()
            self.problem = f"The video could not be made ({type(error).__name__}): see the terminal."
        finally:
            self._worker.between(None)
        if self.state == RUNNING:
            self.state = FAILED if self.problem else DONE

    def _queued(self) -> Iterator[np.ndarray]:
        while True:
            try:
                frame = self._queue.get(timeout=WAIT_SECONDS)
            except queue.Empty:
                if self.state != RUNNING:
                    raise Stopped from None
                continue
            if frame is None:
                return
            if isinstance(frame, Exception):
                raise frame
            yield frame
