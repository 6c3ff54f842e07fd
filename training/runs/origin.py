"""Where the schedules of a run begin that starts from weights."""

import re

from training.checkpoints.snapshots import StoredSnapshot
from training.config import Config
from training.loss import schedule
from training.runs.progress import Progress

SNAPSHOT_NAME = re.compile(r"network-snapshot-(\d{1,9})\.")  # EG3D's, with its kimg


def schedules_line(source: StoredSnapshot, config: Config, progress: Progress) -> str:
    """Return where the schedules of a run begin that starts from weights, and why there."""
    now = schedule(config, progress.seen)
    named = SNAPSHOT_NAME.match(source.path.name)
    hint = f", but its name does: --init-kimg={int(named[1])} goes on there" if named else "; --init-kimg sets it"
    counter = source.counter or f"{source.path} does not say how far it is{hint}"
    return (
        f"Schedules begin at {progress.seen / 1000:.9g} kimg ({counter}): "
        f"blur {now.blur_sigma:.2f} pixels, swap probability {now.swap_probability:.2f}."
    )
