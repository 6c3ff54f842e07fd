"""Requests to stop, and what is said when an error ends training."""

import os
import signal
from types import SimpleNamespace

import pytest

from dnnlib.errors import UserError
from torch_utils import distributed
from training.runs.stopping import StopFlag, explained_end

PEER = "Connection closed by peer [127.0.0.1]:1234"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_and_a_second_ctrl_c_interrupts(number, capfd):
    before = signal.getsignal(number)
    with StopFlag() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop() and "Stopping after this iteration" in capfd.readouterr().err
        os.kill(os.getpid(), signal.SIGTERM)  # once more asks nothing new
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(number) is before


def test_the_time_limit_asks_once(capfd):
    stop = StopFlag(minutes=0)
    assert stop() and stop()
    assert capfd.readouterr().err.count("--time-limit is over") == 1


def end_with(error: Exception, states: list[str], expected: type[BaseException]) -> list[str]:
    """Return what is said when an error ends a run with these states."""
    said: list[str] = []
    run = SimpleNamespace(path="runs/00000", states=lambda: states)
    with pytest.raises(expected), explained_end(run, said.append):
        raise error
    return said


def test_a_mistake_names_the_state_that_is_kept():
    (line,) = end_with(UserError("The disk is full."), ["old.pt", "new.pt"], UserError)
    assert line.startswith("\nnew.pt is kept: the same command goes on there")
    assert "with --resume=runs/00000, if files" in line
    assert end_with(UserError("The disk is full."), [], UserError) == []


def test_a_killed_loader_is_a_mistake_of_the_user():
    error = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")
    (line,) = end_with(error, ["new.pt"], UserError)
    assert "new.pt is kept" in line


def test_another_process_that_is_gone_ends_this_one_with_a_sentence(monkeypatch):
    assert end_with(RuntimeError(PEER), [], RuntimeError) == [], "there is no other process"
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    (line,) = end_with(RuntimeError(PEER), [], SystemExit)
    assert "because another one failed or was killed" in line
    assert end_with(RuntimeError("A fault of ours."), [], RuntimeError) == []
