"""training.data.loader: workers that die or hang are one sentence, and end with the block that waits for them."""

import contextlib
import multiprocessing
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from training.data.loader import killed_after, worker_failure


@pytest.mark.parametrize(
    "message",
    [
        "DataLoader worker (pid(s) 5, 6) exited unexpectedly",
        "DataLoader worker (pid 5) is killed by signal: Killed. ",
        "DataLoader worker (pid 5) is killed by signal: Bus error. It is possible that dataloader's\nworkers are out.",
    ],
)
def test_a_dead_loader_is_one_sentence(message):
    failure = worker_failure(RuntimeError(message))
    assert str(failure).startswith(f"A process that loads data died ({message.split('.')[0]}), probably")
    assert "\n" not in str(failure) and worker_failure(RuntimeError("The phase went wrong.")) is None


def test_a_loader_that_delivers_nothing_is_one_sentence():
    failure = worker_failure(RuntimeError("DataLoader timed out after 600.0 seconds"))
    assert str(failure).startswith("The processes that load data deliver nothing (DataLoader timed out after 600.0 s")
    assert "\n" not in str(failure)


def ignore_everything(pipe) -> None:
    """A process that only SIGKILL ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe.send("ready")
    while True:
        signal.pause()


@pytest.fixture
def stubborn_process():
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    process = fork.Process(target=ignore_everything, args=[there], daemon=True)
    process.start()
    assert here.recv() == "ready"
    yield process
    process.kill()
    process.join()


@pytest.mark.parametrize("raised", [None, KeyboardInterrupt])
def test_processes_end_with_the_block(stubborn_process, raised):
    with contextlib.suppress(KeyboardInterrupt), killed_after(3600, [stubborn_process]):
        if raised:
            raise raised
    assert stubborn_process.exitcode == -signal.SIGKILL


def test_processes_are_killed_after_the_grace_without_an_error(stubborn_process):
    message = []
    before = signal.signal(signal.SIGCHLD, lambda number, frame: message.append(number))
    try:
        with killed_after(0.1, [stubborn_process]):
            stubborn_process.join(60)
            assert stubborn_process.exitcode == -signal.SIGKILL
        assert message == []
        signal.raise_signal(signal.SIGCHLD)
        assert message == [signal.SIGCHLD], "the handler is back"
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_processes_are_killed_from_other_threads_too(stubborn_process):
    def block() -> None:
        with killed_after(3600, [stubborn_process]):
            pass

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert stubborn_process.exitcode == -signal.SIGKILL


SCRIPT = """
import sys
from training.data.dataset import ClipDataset
from training.data.pairs import training_batches
batches = training_batches(ClipDataset(sys.argv[1]), 1, seed=0, workers=int(sys.argv[2]), window=16, mirror=False)
print(next(batches)["times"].shape)
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_a_script_may_leave_the_batches_as_they_are(heads, workers):
    """Its end neither waits for them for ever nor says anything."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(heads), str(workers)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "torch.Size([1, 2])\n", "")
