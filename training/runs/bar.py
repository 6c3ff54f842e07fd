"""The progress bar of training: kimg, seconds per kimg, losses, memory, time left."""

import sys

from tqdm import tqdm

from training.runs.hooks import Status
from training.runs.progress import Progress

LABELS = {"G": "loss/g", "D": "loss/d"}  # label -> statistic; a tick may lack one


class ProgressBar:
    """A bar over all clips; what earlier starts did does not count into the speed. A context that closes it."""

    def __init__(self, total: float, progress: Progress):
        self.bar = tqdm(
            total=total,
            initial=min(progress.kimg, total),
            unit="kimg",
            dynamic_ncols=True,
            smoothing=0.05,
            bar_format="{l_bar}{bar}| {n:.2f}/{total:g} kimg [{elapsed}<{remaining}] {postfix}",
        )

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def iteration(self, progress: Progress) -> None:
        """Move to where training is; the last batch may go beyond the total, which tqdm does not allow."""
        self.bar.update(min(progress.kimg, self.bar.total) - self.bar.n)

    def status(self, status: Status) -> None:
        """Show the statistics of a tick, and print warnings above the bar."""
        stats = status.stats
        for warning in status.warnings:
            self.bar.write(f"Warning: {warning}", file=sys.stderr)
        fields = [
            f"s/kimg {stats['time/sec_per_kimg']:.1f}",
            *(f"{label} {stats[name]:.3f}" for label, name in LABELS.items() if name in stats),
            f"mem {stats.get('memory/gpu', stats['memory/cpu']):.1f}G",
        ]
        self.bar.set_postfix_str(" ".join(fields))
