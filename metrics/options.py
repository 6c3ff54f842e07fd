"""What an evaluation is given: what is scored, and the options that all metrics share."""

from dataclasses import dataclass
from pathlib import Path

import torch

from metrics.names import BATCH, PUBLIC, SEED
from training.checkpoints.snapshots import Snapshot
from training.data.dataset import ClipDataset


@dataclass(frozen=True, kw_only=True)
class EvaluationSubject:
    """What is scored: a snapshot, or files made elsewhere.

    Args:
        snapshot: the generator.
        checksum: of the snapshot's file. A snapshot that is no file has none, and nothing about it is kept on disk.
        video_folder: videos, for FVD and KVD.
        multiview_folder: renders from several views, for ID, CD and WE.
    """

    snapshot: Snapshot | None = None
    checksum: str = ""
    video_folder: Path | None = None
    multiview_folder: Path | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """How it is scored.

    Args:
        dataset: the real videos, at the resolution of the scored ones.
        real_stats: file of statistics of real videos, in place of the dataset.
        save_real_stats: file to write the real videos' statistics to.
        detector_weights: "public" (those that papers use), or "random" (fixed ones, for smoke tests).
        detector_folder: where the public weights' files are looked for first.
        seed: of codes, cameras and times.
        device: of the detectors.
        cache_folder: where finished work is kept; None: nothing is kept.
        batch: videos at a time through a detector.
    """

    dataset: ClipDataset | None = None
    real_stats: Path | None = None
    save_real_stats: Path | None = None
    detector_weights: str = PUBLIC
    detector_folder: Path | None = None
    seed: int = SEED
    device: torch.device = torch.device("cpu")
    cache_folder: Path | None = None
    batch: int = BATCH

    def cache_folder_for(self, subject: EvaluationSubject) -> Path | None:
        """Return the folder for finished work on the subject, None where nothing is to be kept."""
        if subject.snapshot and not subject.checksum:
            return None
        return self.cache_folder
