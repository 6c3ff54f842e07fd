"""What is scored, and how: the options that all metrics share."""

from dataclasses import dataclass
from pathlib import Path

import torch

from training.checkpoints.snapshots import Snapshot
from training.data.dataset import ClipDataset


@dataclass(frozen=True)
class Subject:
    """What is scored: a snapshot and the checksum of its file, or folders of files made elsewhere.

    A snapshot that is no file has no checksum; then nothing about it is kept in the cache.
    """

    snapshot: Snapshot | None = None
    checksum: str = ""
    videos: Path | None = None
    multiview: Path | None = None


@dataclass(frozen=True)
class Setting:
    """How it is scored.

    Args:
        dataset: the real videos, at the resolution of the scored ones.
        real_stats: statistics of real videos in place of the dataset; `save_real_stats`: where to write them.
        weights: "public" (the detectors that papers use), or "random" (seeded ones, for smoke tests).
        detectors: folder with the public weights' files.
        cache: folder for finished pieces; None: nothing is kept.
        batch: videos at a time through a detector.
    """

    dataset: ClipDataset | None = None
    real_stats: Path | None = None
    save_real_stats: Path | None = None
    weights: str = "public"
    detectors: Path | None = None
    seed: int = 0
    device: torch.device = torch.device("cpu")
    cache: Path | None = None
    batch: int = 2

    def cache_for(self, subject: Subject) -> Path | None:
        """Where pieces about the subject are kept."""
        return None if subject.snapshot and not subject.checksum else self.cache
