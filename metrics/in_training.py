"""Metrics at every snapshot of a training run, and the best snapshot kept."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from dnnlib.files import atomic_path
from metrics.evaluation import evaluate, ready
from metrics.protocols import Request
from metrics.results import HIGHER_IS_BETTER, NO_BEST, append_json
from metrics.setting import Setting, Subject
from torch_utils import distributed
from training.snapshots import Snapshot

LINES, BEST = "metrics.jsonl", "best-snapshot.pkl"


class SnapshotScores:
    """Called with each snapshot, on every process: appends results to `metrics.jsonl` of the run's folder, and copies
    the snapshot that is best by the first metric that knows better from worse to `best-snapshot.pkl`.

    The numbers are those of `calc_metrics.py` on the snapshot's file with the same data and seed.

    Raises:
        UserError: what a metric needs is missing; told before training starts.
    """

    def __init__(self, requests: Sequence[Request], setting: Setting, folder: Path, first: Snapshot):
        self.requests, self.setting, self.folder = requests, setting, folder
        self.leading = next((request for request in requests if request.kind not in NO_BEST), None)
        ready(requests, Subject(first), setting)

    def __call__(self, snapshot: Snapshot, path: Path) -> None:
        """The snapshot that was written to `path`."""
        results = list(evaluate(self.requests, Subject(snapshot), self.setting))
        with distributed.fail_together():
            if distributed.is_main():
                append_json(self.folder / LINES, results, file=path.name, kimg=snapshot.progress["kimg"])
                if self.leading and self._best() in {r.value for r in results if r.metric == self.leading.metric}:
                    self._keep(path)

    def _best(self) -> float | None:
        """The best value of the leading metric so far."""
        lines = [json.loads(line) for line in (self.folder / LINES).read_text(encoding="utf-8").splitlines()]
        values = [line["value"] for line in lines
                  if line["metric"] == self.leading.metric and line["value"] is not None]
        best = max if self.leading.kind in HIGHER_IS_BETTER else min
        return best(values, default=None)

    def _keep(self, path: Path) -> None:
        with atomic_path(self.folder / BEST) as temporary:
            shutil.copyfile(path, temporary)
