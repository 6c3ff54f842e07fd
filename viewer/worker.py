"""The one thread that computes: of each page the newest wish counts, and a video is made between pictures."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any

import torch

from dnnlib.errors import UserError
from viewer.drawing import Superseded

MAX_WAITING = 32  # wishes: of so many pages, or models of them
PAUSE = 0.02  # seconds, while a video waits for its encoder

Work = Callable[[Callable[[], bool]], Any]  # is given a function that tells whether it is still wanted
Step = Callable[[], bool]  # makes the next part of something long; returns whether there was something to do


class Busy(UserError):
    """Too many wait already."""


class Worker:
    """A thread with a mailbox. A wish takes the place of an older one of the same key, which is Superseded."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.waiting: OrderedDict[Hashable, tuple[Work, Future]] = OrderedDict()
        self.step: Step | None = None
        self.is_stopped = False
        self.threads = torch.get_num_threads()
        self.thread = threading.Thread(target=self._run, name="viewer-worker", daemon=True)
        self.thread.start()

    def ask(self, key: Hashable, work: Work) -> Future:
        """Return the future result of `work`. Busy if too many wait; the result is Superseded if a newer one comes."""
        future: Future = Future()
        with self.condition:
            if key not in self.waiting and len(self.waiting) >= MAX_WAITING:
                raise Busy("The viewer is busy: close other windows of it.")
            older = self.waiting.pop(key, None)
            self.waiting[key] = (work, future)
            self.condition.notify()
        if older is not None:
            older[1].set_exception(Superseded())
        return future

    def between(self, step: Step | None) -> None:
        """Call a function again and again between wishes; None: no longer."""
        with self.condition:
            self.step = step
            self.condition.notify()

    def stop(self) -> None:
        """End the thread, once it is through with what it does; nobody is left waiting."""
        with self.condition:
            self.is_stopped = True
            self.step = None
            left = list(self.waiting.values())
            self.waiting.clear()
            self.condition.notify()
        for _, future in left:
            future.set_exception(Superseded())
        self.thread.join()

    def _run(self) -> None:
        torch.set_num_threads(self.threads)  # which OpenMP keeps for each thread of a program by itself
        is_idle = False
        while True:
            with self.condition:
                if not self.waiting and (self.step is None or is_idle) and not self.is_stopped:
                    self.condition.wait(None if self.step is None else PAUSE)
                if self.is_stopped:
                    return
                key, (work, future) = self.waiting.popitem(last=False) if self.waiting else (None, (None, None))
                step = self.step
            if work is not None and future is not None:
                self._do(key, work, future)
            is_idle = step is None or not step()

    def _do(self, key: Hashable, work: Work, future: Future) -> None:
        try:
            future.set_result(work(lambda: key in self.waiting))
        except Exception as error:  # it is whoever asked that must know
            future.set_exception(error)
