"""The weights that a run starts from, and where its schedules begin then."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from dnnlib.errors import UserError
from dnnlib.files import with_checksum
from training.checkpoints.opener import open_snapshot
from training.checkpoints.snapshots import StoredSnapshot
from training.config import Config
from training.loss import schedule
from training.runs.progress import Progress

SNAPSHOT_NAME = re.compile(r"network-snapshot-(\d{1,9})\.")  # EG3D's, with its kimg


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A snapshot that a run starts from, and what is taken otherwise than it says; None: a run starts at random."""

    path: Path | None  # --init-from
    kimg: float | None  # --init-kimg; None: what the file says
    fresh_motion: bool  # --fresh-motion

    def check(self) -> None:
        """Raise a UserError if something is said of a snapshot, and none is given."""
        said = {"--init-kimg": self.kimg is not None, "--fresh-motion": self.fresh_motion}
        for flag, is_given in said.items():
            if is_given and self.path is None:
                raise UserError(f"{flag} says how to take the weights of --init-from: give that, too, or neither.")

    def open(self) -> tuple[StoredSnapshot, str]:
        """Return the snapshot and its file's checksum."""
        assert self.path is not None
        source, checksum = with_checksum(self.path, open_snapshot)
        if self.kimg is not None:
            progress = {"kimg": self.kimg, "stream_kimg": source.stream_kimg}
            source = replace(source, progress=progress, counter="--init-kimg")
        return source, checksum


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
