"""dnnlib.progress: a bar on a terminal, lines now and then elsewhere, short times."""

import contextlib
import fcntl
import io
import os
import re
import struct
import termios

import pytest

from dnnlib import progress
from dnnlib.progress import Counter, counted, duration, print_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def replaced(monkeypatch, stream: io.StringIO) -> io.StringIO:
    """Let a stream be standard error; within a test, for pytest has its own at each stage."""
    monkeypatch.setattr("sys.stderr", stream)
    return stream


def test_a_log_gets_whole_lines_and_few_of_them(clock, monkeypatch):
    """A thousand frames of ten seconds each: a bar's steps would be one endless line of them."""
    log = replaced(monkeypatch, io.StringIO())
    with Counter(1000, unit="frame", title="orbit") as counter:
        for _ in counted(range(1000), counter):
            clock[0] += 10
    text = log.getvalue()
    assert "\r" not in text and text.endswith("\n")
    lines = text.splitlines()
    assert lines[0] == "orbit: 3/1000 frames, 30s, 2.8h left"
    assert lines[1] == "orbit: 6/1000 frames, 1.0m, 2.8h left"
    assert lines[-1] == "orbit: 1000/1000 frames, 2.8h"
    assert 50 < len(lines) < 100, "each a twentieth of the time later"


def test_work_of_seconds_leaves_its_end_alone(clock, monkeypatch):
    log = replaced(monkeypatch, io.StringIO())
    with Counter(3, unit="clip") as counter:
        for _ in counted("abc", counter):
            clock[0] += 5
    with Counter(None, unit="B", title="file", scaled=True) as counter:
        counter.update(5_000_000)
    with Counter(3, unit="clip", leave=False) as short, Counter(3, unit="clip", silent=True):
        short.update(3)
    assert log.getvalue() == "3/3 clips, 15s\nfile: 5.00M B, 0s\n"


def test_a_counter_that_is_silent_stays_so(clock, monkeypatch):
    log = replaced(monkeypatch, io.StringIO())
    with Counter(10, unit="video", silent=True) as counter:
        for _ in counted(range(10), counter):
            clock[0] += 100
    assert log.getvalue() == "" and counter.n == 10


def test_what_was_done_when_an_error_came_is_said(clock, monkeypatch):
    log = replaced(monkeypatch, io.StringIO())
    with pytest.raises(KeyError), Counter(3, unit="clip") as counter:
        counter.update()
        raise KeyError
    assert log.getvalue() == "1/3 clips, 0s, 0s left\n"


def test_a_terminal_gets_a_bar_within_its_columns(monkeypatch):
    terminal = replaced(monkeypatch, Terminal())
    monkeypatch.setenv("COLUMNS", "60")
    with Counter(20, unit="video", title="fvd5k_16f, real videos") as counter:
        for _ in counted(range(20), counter):
            pass
        print_line("Left out: b.mp4")
    steps = re.split(r"[\r\n]", terminal.getvalue())
    assert any("20/20" in step for step in steps) and "Left out: b.mp4" in steps
    assert max(map(len, steps)) <= 60


def test_nothing_is_printed_where_standard_error_is_closed(monkeypatch, capfd):
    """As `2>&-` does; tqdm would print on standard output."""
    with monkeypatch.context() as closed:
        closed.setattr("sys.stderr", None)
        with Counter(3, unit="clip") as counter:
            counter.update(3)
            print_line("Left out: b.mp4")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("rows, columns, has_bar", [(24, 80, True), (0, 0, False), (0, 60, False)])
def test_a_terminal_without_a_size_gets_lines(monkeypatch, rows, columns, has_bar):
    """Containers and schedulers make such terminals, on which tqdm shows nothing at all."""
    theirs, ours = os.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    with open(ours, "w", encoding="utf-8") as terminal:
        replaced(monkeypatch, terminal)
        with Counter(3, unit="clip") as counter:
            counter.update(3)
    text = ""
    with contextlib.suppress(OSError):  # the end of what was written; a read may return a part
        while True:
            text += os.read(theirs, 10_000).decode()
    os.close(theirs)
    assert "3/3" in text and ("|" in text) == has_bar


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0s"),
        (59.4, "59s"),
        (59.6, "1.0m"),
        (90, "1.5m"),
        (12 * 60, "12m"),
        (3599.7, "1.0h"),
        (5 * 3600, "5.0h"),
        (86399.7, "1.0d"),
        (13.2 * 86400, "13d"),
    ],
)
def test_times_are_short(seconds, text):
    assert duration(seconds) == text
