"""The status line: what it shows at a tick, as a bar and as plain lines, within sixty columns."""

import io
import re

import pytest

from training.runs.hooks import Status
from training.runs.progress import Progress
from training.runs.status import COLUMNS, StatusLine

STATS = {"time/sec_per_kimg": 12.34, "loss/g": 0.5, "loss/d": 1.386, "memory/cpu": 3.0, "memory/gpu": 7.06}


class Stream(io.StringIO):
    def __init__(self, monkeypatch, *, terminal: bool):
        """Be standard error; within a test, for pytest has its own at each stage."""
        super().__init__()
        self.isatty = lambda: terminal
        monkeypatch.setattr("sys.stderr", self)
        monkeypatch.setenv("COLUMNS", str(COLUMNS))


def status(clips: int, stats: dict[str, float] = STATS, **more) -> Status:
    return Status(progress=Progress(clips=clips), stats=stats, **more)


def test_a_log_gets_one_plain_line_a_tick(monkeypatch):
    stderr = Stream(monkeypatch, terminal=False)
    with StatusLine(200, Progress()) as line:
        for clips in range(0, 401, 4):
            line.iteration(Progress(clips=clips))
        line.status(status(400, warnings=["Clips stand still."]))
        line.saving("training state")
        line.status(status(800, {"time/sec_per_kimg": 240, "memory/cpu": 3.0}))
    assert stderr.getvalue().splitlines() == [
        "Warning: Clips stand still.",
        "kimg 0.400/200 s/kimg 12.3 ETA 41m G 0.50 D 1.39 mem 7.1G",
        "saving training state ...",
        "kimg 0.800/200 s/kimg 240 ETA 13h mem 3.0G",
    ]


@pytest.mark.parametrize("speed, memory, last", [(2.51, 71.23, "mem 71G"), (43210.0, 6.6, "D 1.39")])
def test_a_line_of_a_long_run_fits(monkeypatch, speed, memory, last):
    stderr = Stream(monkeypatch, terminal=False)
    stats = STATS | {"time/sec_per_kimg": speed, "memory/gpu": memory}
    with StatusLine(4800, Progress()) as line:
        line.status(status(1_234_560, stats))
    (text,) = stderr.getvalue().splitlines()
    assert text.startswith("kimg 1234.6/4800 s/kimg ") and text.endswith(last) and len(text) <= COLUMNS


def test_a_bar_shows_all_of_it_within_its_columns(monkeypatch):
    stderr = Stream(monkeypatch, terminal=True)
    with StatusLine(4800, Progress(clips=1_234_000)) as line:
        line.iteration(Progress(clips=1_234_560))
        line.status(status(1_234_560, warnings=["Clips stand still."]))
        assert str(line.bar).startswith("1235/4800 kimg <")
        assert "12.3 s/kimg G 0.50 D 1.39 7.1G |" in str(line.bar)
        line.saving("pictures and snapshot")
        assert "saving pictures and snapshot ..." in str(line.bar)
        line.iteration(Progress(clips=1_234_576))
        assert "12.3 s/kimg" in str(line.bar), "it goes on"
    steps = re.split(r"[\r\n]", stderr.getvalue())
    assert "Warning: Clips stand still." in steps
    assert max(map(len, steps)) <= COLUMNS
    assert "12.3 s/kimg" in steps[-2], "what stays"


def test_more_clips_than_planned_end_at_the_total(monkeypatch):
    Stream(monkeypatch, terminal=True)
    progress = Progress(clips=5000)
    with StatusLine(4.0, progress) as line:
        progress.clips += 5000
        line.iteration(progress)
        assert line.bar.n == line.bar.total == 4.0 and str(line.bar).startswith("4/4 kimg")
