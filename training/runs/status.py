"""How training stands, on standard error: a bar on a terminal, else one plain line a tick; both in sixty columns."""

from tqdm import tqdm

from dnnlib.progress import duration, print_line, terminal_bar, watched
from training.runs.hooks import Status
from training.runs.progress import Progress

COLUMNS = 60  # that a line may take
LABELS = {"G": "loss/g", "D": "loss/d"}  # label -> statistic; a tick may lack one


class StatusLine:
    """Shows how far training is, and each tick's statistics. A context.

    On a terminal it is a bar over all clips; what earlier starts did does not count into its speed.
    """

    def __init__(self, total: float, progress: Progress):
        self.total = total
        self.fields = ""  # the last tick's, as the bar shows them
        self.bar: tqdm | None = None
        if watched():
            self.bar = terminal_bar(
                total=total,
                initial=min(progress.kimg, total),
                smoothing=0.05,
                bar_format="{n:.4g}/{total:g} kimg <{remaining} {desc}|{bar}|",
            )

    def __enter__(self) -> "StatusLine":
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.set_description_str(self.fields, refresh=False)
            self.bar.close()

    def iteration(self, progress: Progress) -> None:
        """Move to where training is; the last batch may go beyond the total, which tqdm does not allow."""
        if self.bar is not None:
            self.bar.set_description_str(self.fields, refresh=False)
            self.bar.update(min(progress.kimg, self.total) - self.bar.n)

    def status(self, status: Status) -> None:
        """Show the statistics of a tick, and print warnings in lines of their own."""
        for warning in status.warnings:
            self.warn(warning)
        stats = status.stats
        speed = stats["time/sec_per_kimg"]
        losses = [f"{label} {_short(stats[name])}" for label, name in LABELS.items() if name in stats]
        gigabytes = stats.get("memory/gpu", stats["memory/cpu"])
        memory = f"{gigabytes:.{1 if gigabytes < 9.95 else 0}f}G"
        if self.bar is not None:
            self.fields = f"{_short(speed)} s/kimg {' '.join([*losses, memory])} "
            self.bar.set_description_str(self.fields)
            return
        kimg = status.progress.kimg
        fields = [
            f"kimg {kimg:.{3 if kimg < 100 else 1}f}/{self.total:g}",
            f"s/kimg {_short(speed)}",
            f"ETA {duration(speed * max(self.total - kimg, 0))}",
            *losses,
            f"mem {memory}",
        ]
        print_line(_joined(fields))

    def warn(self, line: str) -> None:
        """Print a warning in a line of its own."""
        print_line(f"Warning: {line}")

    def saving(self, what: str) -> None:
        """Say that files are being written, until training goes on."""
        text = f"saving {what} ..."
        if self.bar is not None:
            self.bar.set_description_str(f"{text} ")
        else:
            print_line(text)


def _short(value: float) -> str:
    """Return a number with three digits, or all in front of the point."""
    decimals = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{decimals}f}"


def _joined(fields: list[str]) -> str:
    """Return as many fields, from the first, as fit into a line."""
    line = fields[0]
    for field in fields[1:]:
        if len(line) + 1 + len(field) > COLUMNS:
            break
        line += f" {field}"
    return line
