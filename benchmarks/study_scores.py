"""Scores of a study's snapshots on people whom nobody trained on; what is scored already is not scored again."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnnlib import json_lines
from dnnlib.errors import UserError
from metrics.evaluation import evaluate
from metrics.options import EvaluationOptions
from metrics.protocols import parse_requests
from metrics.results import append_json
from pv3d.actions.metrics import open_dataset, open_subject
from torch_utils.startup import prepared_machine
from training.checkpoints.sources import Found

CODE_DIGITS = 16  # of a fingerprint in a folder's name


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A snapshot of a run: after how many kimg, its file, and the sha256 that it had when training ended."""

    kimg: float
    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Score:
    """A number, what real videos have where that is best, and the sha256 of the network that read it."""

    value: float
    target: float | None
    instrument: str | None


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How snapshots are scored.

    Args:
        data: the people to compare with.
        fingerprint: of that dataset.
        metrics: names, as `calc_metrics.py --metrics` takes them.
        detector: public or random.
        folder: of the public detectors' files.
        cache: folder of finished work, by code: what other code found of a video would make new scores of old numbers.
        code: fingerprint of what scores; with other code everything is scored anew.
        threads: of the CPU.
    """

    data: Path
    fingerprint: str
    metrics: tuple[str, ...]
    detector: str
    folder: Path | None
    cache: Path
    code: str
    threads: int

    def conditions(self, snapshot: Trained) -> dict[str, str]:
        """Return what stands beside every score of a snapshot, and must be the same for it to count."""
        return {
            "snapshot": snapshot.sha256,
            "data": self.fingerprint,
            "detector": self.detector,
            "code": self.code,
        }

    def scores(self, snapshot: Trained) -> dict[str, Score]:
        """Return what is known of a snapshot, by metric."""
        path = scores_file(snapshot)
        if not path.exists():
            return {}
        conditions = self.conditions(snapshot)
        found = {}
        for line in json_lines.read(path):
            if line.get("study") == conditions and line.get("metric") in self.metrics:
                found[line["metric"]] = _score(line)
        return found

    def missing(self, snapshot: Trained) -> list[str]:
        """Return the metrics that are not known of a snapshot."""
        known = self.scores(snapshot)
        return [metric for metric in self.metrics if metric not in known]


def scores_file(snapshot: Trained) -> Path:
    """Return where the scores of a snapshot are."""
    return snapshot.path.with_suffix(".scores.jsonl")


def score_missing(snapshot: Trained, scoring: Scoring) -> None:
    """Score a snapshot by the metrics that are not known of it.

    Networks that learn what they measure do so once a process, so one process should score many.

    Raises:
        UserError: the snapshot cannot be read or has changed, or a detector is missing.
    """
    metrics = scoring.missing(snapshot)
    if not metrics:
        return
    with prepared_machine(device="auto", threads=scoring.threads) as machine:
        subject = open_subject(Found(path=snapshot.path), None, None, machine)
        if subject.checksum.split()[0] != snapshot.sha256:
            raise UserError(f"{snapshot.path} has changed since it was trained: remove its run's folder.")
        options = EvaluationOptions(
            dataset=open_dataset(scoring.data, subject),
            detector_weights=scoring.detector,
            detector_folder=scoring.folder,
            device=machine.device,
            cache_folder=scoring.cache / scoring.code[:CODE_DIGITS],
        )
        for result in evaluate(parse_requests(",".join(metrics)), subject, options):
            append_json(scores_file(snapshot), [result], study=scoring.conditions(snapshot))


def _score(line: dict[str, Any]) -> Score:
    """Return the score of a line; what real videos have is the procedural heads' own value, or the floor."""
    details = line.get("details") or {}
    targets = [details[name] for name in ("procedural", "floor") if details.get(name) is not None]
    value = json_lines.number(line, "value")
    return Score(
        value=value if math.isfinite(value) else math.nan,
        target=targets[0] if targets else None,
        instrument=line.get("detector_checksum"),
    )
