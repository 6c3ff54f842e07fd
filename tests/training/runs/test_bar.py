"""The progress bar: what it shows at a tick, and that it ends at its total."""

from training.runs.bar import ProgressBar
from training.runs.hooks import Status
from training.runs.progress import Progress


def test_more_clips_than_planned_end_at_the_total():
    progress = Progress(clips=5000)
    with ProgressBar(4.0, progress) as bar:
        progress.clips += 5000
        bar.iteration(progress)
        assert bar.bar.n == bar.bar.total == 4.0 and "4.00/4 kimg" in str(bar.bar)


def test_a_tick_shows_speed_losses_and_memory_and_prints_warnings(capsys):
    stats = {"time/sec_per_kimg": 12.34, "loss/g": 0.5, "memory/cpu": 3.0, "memory/gpu": 7.06}
    with ProgressBar(4.0, Progress()) as bar:
        bar.status(Status(progress=Progress(), stats=stats, warnings=["Clips stand still."]))
        assert str(bar.bar).endswith("s/kimg 12.3 G 0.500 mem 7.1G"), "a tick may lack a loss"
    assert "\rWarning: Clips stand still.\n" in capsys.readouterr().err
