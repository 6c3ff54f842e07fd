"""Metrics at every snapshot of a training run, and the best snapshot kept."""

import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dnnlib import json_lines
from dnnlib.files import atomic_path
from metrics.evaluation import evaluate, prepare
from metrics.options import EvaluationOptions, EvaluationSubject
from metrics.protocols import Request
from metrics.results import HIGHER_IS_BETTER, NO_BEST, append_json
from torch_utils import distributed
from torch_utils.runtime import without_search
from training.checkpoints.snapshots import Snapshot
from training.checkpoints.sources import BEST_FILE

SCORES_FILE = "metrics.jsonl"


class SnapshotScores:
    """Scores of a run's snapshots: called with each of them, on every process.

    Appends results to `metrics.jsonl` in the run's folder, and copies the snapshot that is best by the leading metric
    (the first one with a best value) to `best-snapshot.pkl`. The numbers are those of `calc_metrics.py` on the
    snapshot's file with the same data and seed.

    Args:
        first: the generator that training goes on with. Scores of later snapshots, which a run that was killed makes
            again, are dropped.
        report: called on the main process with the scores of each snapshot, by names such as metrics/fvd2048_16f.

    Raises:
        UserError: what a metric needs is missing; before training starts.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        options: EvaluationOptions,
        folder: Path,
        first: Snapshot,
        report: Callable[[dict[str, float]], None] = lambda scores: None,
    ):
        self.report = report
        self.requests = requests
        self.options = options
        self.folder = folder
        self.leading = next((request for request in requests if request.kind not in NO_BEST), None)
        prepare(requests, EvaluationSubject(snapshot=first), options)
        start = first.progress["kimg"]
        with distributed.fail_together():
            if distributed.is_main():
                self._keep_scores(lambda line: json_lines.number(line, "kimg") <= start)

    def __call__(self, snapshot: Snapshot, path: Path) -> None:
        """Score the snapshot that was written to `path`."""
        with without_search():  # as in calc_metrics.py
            results = list(evaluate(self.requests, EvaluationSubject(snapshot=snapshot), self.options))
        with distributed.fail_together():
            if distributed.is_main():
                # Scores of this file's name are those of a snapshot that was deleted since.
                self._keep_scores(lambda line: line.get("file") != path.name)
                append_json(self.folder / SCORES_FILE, results, file=path.name, kimg=snapshot.progress["kimg"])
                if self._best_snapshot() == path.name:
                    self._copy_as_best(path)
                self.report({f"metrics/{result.metric}": result.value for result in results})

    def _keep_scores(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Drop unwanted lines of earlier starts; if one was the best's, the best of the others takes its place."""
        dropped_some = json_lines.keep(self.folder / SCORES_FILE, wanted)
        best = self._best_snapshot() if dropped_some else None
        if best and (self.folder / best).is_file():
            self._copy_as_best(self.folder / best)

    def _best_snapshot(self) -> str | None:
        """Return the file name of the snapshot that is best so far by the leading metric."""
        if self.leading is None:
            return None
        sign = -1 if self.leading.kind in HIGHER_IS_BETTER else 1
        ranked = []
        for line in json_lines.read(self.folder / SCORES_FILE):
            file = line.get("file")
            score = sign * json_lines.number(line, "value")
            if line.get("metric") == self.leading.metric and isinstance(file, str) and not math.isnan(score):
                ranked.append((score, Path(file).name))
        return min(ranked)[1] if ranked else None

    def _copy_as_best(self, path: Path) -> None:
        with atomic_path(self.folder / BEST_FILE) as temporary:
            shutil.copyfile(path, temporary)
