"""torch_utils.processes: blocks that run in several processes, how they end, and that nothing of them is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnnlib.errors import UserError
from tests.helpers.forks import ENVIRONMENT, ends
from torch_utils import processes
from torch_utils.processes import forked


def is_running(process: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{process}").exists()


def test_one_process_is_left_as_it_is():
    before = signal.getsignal(signal.SIGINT)
    with forked(1) as meeting:
        assert meeting is None
    assert signal.getsignal(signal.SIGINT) is before


def test_all_run_the_block_and_one_leaves_it(tmp_path):
    here = os.getpid()
    with forked(3) as meeting:
        (tmp_path / str(meeting.rank)).write_text(f"{meeting.world} {os.getpid()} {os.getppid()}")
    assert os.getpid() == here
    seen = {int(path.name): [int(word) for word in path.read_text().split()] for path in tmp_path.iterdir()}
    assert sorted(seen) == [0, 1, 2]
    assert {world for world, _, _ in seen.values()} == {3}
    assert seen[0][1] == here
    assert [parent for _, _, parent in (seen[1], seen[2])] == [here, here]
    assert not any(is_running(seen[rank][1]) for rank in (1, 2))


def test_children_take_no_signals_of_a_terminal_or_a_queue(tmp_path):
    with forked(2) as meeting:
        if meeting.rank:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            (tmp_path / "alive").touch()
    assert (tmp_path / "alive").exists()


def test_a_child_says_why_it_ends(capfd):
    with forked(3) as meeting:
        if meeting.rank == 1:
            raise UserError("The data is gone.")
        if meeting.rank == 2:
            raise ZeroDivisionError("ours")
    _, stderr = capfd.readouterr()
    assert stderr.count("Error: The data is gone.\n") == 1
    assert stderr.count("Traceback (most") == stderr.count("ZeroDivisionError: ours") == 1


@pytest.mark.parametrize("of_child, status", [(UserError("gone"), 2), (ZeroDivisionError(), 1)])
def test_the_command_has_the_status_of_a_user_s_mistake_in_a_child(of_child, status):
    with pytest.raises(SystemExit) as end, forked(2) as meeting:
        raise of_child if meeting.rank else SystemExit(processes.PEER_STATUS)
    assert end.value.code == status


@pytest.mark.parametrize("status", [0, 2, 130])
def test_other_ends_stay_as_they_are(status):
    with pytest.raises(SystemExit) as end, forked(2) as meeting:
        raise SystemExit(2 if meeting.rank else status)
    assert end.value.code == status


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, UserError])
def test_children_that_wait_do_not_outlive_an_error(monkeypatch, tmp_path, error):
    monkeypatch.setattr(processes, "GRACE", 0.1)
    with pytest.raises(error), forked(2) as meeting:
        if meeting.rank:
            (tmp_path / "unfinished").write_text(str(os.getpid()))
            (tmp_path / "unfinished").rename(tmp_path / "child")
            time.sleep(600)
        while not (tmp_path / "child").exists():
            time.sleep(0.01)
        raise error("ended")
    assert not is_running(int((tmp_path / "child").read_text()))


def test_no_room_for_more_processes(monkeypatch):
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    with pytest.raises(UserError, match="2 processes cannot be started .*fewer --processes"), forked(2):
        pass


KILLED = r"""
import os, time
from torch_utils.processes import forked
with forked(2) as meeting:
    os.write(1, b"%d\n" % os.getpid())
    time.sleep(600)
"""


def test_a_parent_that_is_killed_leaves_no_child():
    parent = subprocess.Popen([sys.executable, "-c", KILLED], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    both = {int(parent.stdout.readline()) for _ in range(2)}
    (child,) = both - {parent.pid}
    parent.kill()
    parent.wait()
    assert parent.stdout.read() == "", "read to the end: the child holds the pipe no more"
    assert ends(child)
