"""Metrics at every snapshot of a training run, and the best snapshot kept."""

import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dnnlib import json_lines
from dnnlib.files import atomic_path
from metrics.evaluation import evaluate, ready
from metrics.protocols import Request
from metrics.results import HIGHER_IS_BETTER, NO_BEST, append_json
from metrics.setting import Setting, Subject
from torch_utils import distributed
from training.checkpoints.snapshots import Snapshot

LINES, BEST = "metrics.jsonl", "best-snapshot.pkl"


class SnapshotScores:
    """Called with each snapshot, on every process: appends results to `metrics.jsonl` of the run's folder, and copies
    the snapshot that is best by the first metric that knows better from worse to `best-snapshot.pkl`.

    The numbers are those of `calc_metrics.py` on the snapshot's file with the same data and seed.

    Args:
        first: the generator that training goes on with. Scores of later snapshots, which a run that was killed makes
            again, are dropped.

    Raises:
        UserError: what a metric needs is missing; told before training starts.
    """

    def __init__(self, requests: Sequence[Request], setting: Setting, folder: Path, first: Snapshot):
        self.requests, self.setting, self.folder = requests, setting, folder
        self.leading = next((request for request in requests if request.kind not in NO_BEST), None)
        ready(requests, Subject(first), setting)
        with distributed.fail_together():
            if distributed.is_main():
                self._drop_but(lambda line: json_lines.number(line, "kimg") <= first.progress["kimg"])

    def __call__(self, snapshot: Snapshot, path: Path) -> None:
        """The snapshot that was written to `path`."""
        results = list(evaluate(self.requests, Subject(snapshot), self.setting))
        with distributed.fail_together():
            if distributed.is_main():
                self._drop_but(lambda line: line.get("file") != path.name)  # deleted since, so it was made again
                append_json(self.folder / LINES, results, file=path.name, kimg=snapshot.progress["kimg"])
                if self._best_file() == path.name:
                    self._keep(path)

    def _drop_but(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Drops lines of earlier starts; if one of them was the best, the best of the others takes its place."""
        if json_lines.keep(self.folder / LINES, wanted):
            best = self._best_file()
            if best and (self.folder / best).is_file():
                self._keep(self.folder / best)

    def _best_file(self) -> str | None:
        """Name of the snapshot that is best so far by the leading metric."""
        if self.leading is None:
            return None
        sign = -1 if self.leading.kind in HIGHER_IS_BETTER else 1
        scores = [
            (sign * json_lines.number(line, "value"), Path(line["file"]).name)
            for line in json_lines.read(self.folder / LINES)
            if line.get("metric") == self.leading.metric and isinstance(line.get("file"), str)
        ]
        return min((score for score in scores if not math.isnan(score[0])), default=(None, None))[1]

    def _keep(self, path: Path) -> None:
        with atomic_path(self.folder / BEST) as temporary:
            shutil.copyfile(path, temporary)
