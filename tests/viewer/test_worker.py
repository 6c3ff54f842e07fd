"""The thread that computes: the newest wish counts, the number of those that wait is bounded, nobody waits in vain."""

import threading

import pytest

from viewer.drawing import Superseded
from viewer.worker import MAX_WAITING, Busy, Worker

SOON = 20.0  # seconds


@pytest.fixture
def worker():
    found = Worker()
    yield found
    found.stop()


class Held:
    """Work that begins, and ends when it may."""

    def __init__(self) -> None:
        self.began, self.may_end = threading.Event(), threading.Event()
        self.was_stale: bool | None = None

    def __call__(self, is_stale):
        self.began.set()
        assert self.may_end.wait(SOON)
        self.was_stale = is_stale()
        return "held"


def test_of_one_page_the_newest_wish_counts(worker):
    held = Held()
    first = worker.ask("page", held)
    assert held.began.wait(SOON)
    older = [worker.ask("page", lambda _: "older") for _ in range(3)]
    newest = worker.ask("page", lambda _: "newest")
    other = worker.ask("other page", lambda _: "other")
    held.may_end.set()
    assert first.result(SOON) == "held" and held.was_stale
    assert newest.result(SOON) == "newest" and other.result(SOON) == "other"
    for future in older:
        with pytest.raises(Superseded):
            future.result(SOON)


def test_what_fails_is_said_to_who_asked_and_ends_nothing(worker):
    def fail(_):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        worker.ask("page", fail).result(SOON)
    assert worker.ask("page", lambda _: 3).result(SOON) == 3


def test_only_so_many_wait(worker):
    held = Held()
    worker.ask("first", held)
    assert held.began.wait(SOON)
    waiting = [worker.ask(key, lambda _, key=key: key) for key in range(MAX_WAITING)]
    with pytest.raises(Busy):
        worker.ask("one more", lambda _: None)
    newer = worker.ask(0, lambda _: "in its place")
    held.may_end.set()
    assert newer.result(SOON) == "in its place"
    assert [future.result(SOON) for future in waiting[1:]] == list(range(1, MAX_WAITING))


def test_long_work_and_wishes_take_turns(worker):
    steps = []
    done = threading.Event()

    def step() -> bool:
        steps.append(len(answers))
        if len(answers) == 5:
            done.set()
        return True

    answers = []
    worker.between(step)
    for number in range(5):
        answers.append(worker.ask("page", lambda _, number=number: number).result(SOON))
    assert done.wait(SOON)
    worker.between(None)
    assert answers == list(range(5)) and {0, 1, 2, 3, 4, 5} <= set(steps) | {0}
    assert worker.ask("page", lambda _: len(steps)).result(SOON) == worker.ask("page", lambda _: len(steps)).result(
        SOON
    )


def test_nobody_waits_for_a_worker_that_is_stopped():
    worker = Worker()
    held = Held()
    worker.ask("first", held)
    assert held.began.wait(SOON)
    waiting = worker.ask("second", lambda _: None)
    threading.Timer(0.05, held.may_end.set).start()
    worker.stop()
    with pytest.raises(Superseded):
        waiting.result(SOON)
    assert not worker.thread.is_alive()
