"""A snapshot as a folder to publish: safetensors, a model card, checksums, by choice a preview."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from dnnlib.errors import UserError
from dnnlib.files import atomic_folder, atomic_path, file_checksum, refuse_existing
from dnnlib.video import write_video
from pv3d.cameras import orbit
from pv3d.loading import load
from pv3d.model_card import GAP, About, Facts, model_card, scores_of
from training.checkpoints.opener import open_snapshot
from training.checkpoints.safetensors import export_snapshot
from training.checkpoints.snapshots import NAMES
from training.checkpoints.sources import PUBLISHED
from training.sampling.records import SYNTHETIC

CARD = "README.md"
CHECKSUMS = "SHA256SUMS"
PREVIEW = "preview.gif"
MAX_SEEDS = 8  # side by side in a preview
PREVIEW_FRAMES = 24
PREVIEW_FPS = 12.5  # what GIFs can show: whole hundredths of a second
PREVIEW_YAW = 25.0  # degrees either side


def publish(source: Path, folder: Path, about: About, *, scores: Path | None, preview: Sequence[int]) -> int:
    """Write a new folder with the snapshot's tensors to the bit, their options, a card, checksums.

    Args:
        source: a snapshot.
        scores: file of `calc_metrics.py` whose lines of this very snapshot come into the card.
        preview: seeds of a picture that moves; none: no picture.

    Returns:
        How many gaps the card has for the user to fill in.

    Raises:
        UserError: the folder is there and not empty; source is no snapshot of ours; no scores of it; no `safetensors`;
            no space, no permission.
    """
    about.check()
    refuse_existing(folder)
    if len(preview) > MAX_SEEDS:
        raise UserError(f"--preview has {len(preview)} seeds: give {MAX_SEEDS} at most.")
    checksum = file_checksum(source)
    chosen = [] if scores is None else scores_of(scores, source, checksum)
    with atomic_folder(folder) as unfinished:
        tensors = unfinished / PUBLISHED
        export_snapshot(source, tensors)
        if file_checksum(source) != checksum:
            raise UserError(f"{source} changed while it was read: give the same command again.")
        if preview:
            _draw_preview(tensors, unfinished / PREVIEW, preview)
        stored = open_snapshot(tensors)
        facts = Facts(
            snapshot=source.name,
            snapshot_sha256=checksum,
            sha256=file_checksum(tensors),
            config=stored.config,
            kimg=stored.progress["kimg"],
            max_time=stored.max_time,
            networks=[name for name in NAMES if name in stored.weights],
            clips=len(stored.camera_bank),
            scores=chosen,
            preview=PREVIEW if preview else None,
        )
        names = sorted(path.name for path in unfinished.iterdir())
        lines = [f"{file_checksum(unfinished / name)}  {name}\n" for name in names]
        _write_text(unfinished / CHECKSUMS, "".join(lines))
        card = model_card(about, facts)
        _write_text(unfinished / CARD, card)  # which the user goes on to write, so it has no checksum
    return card.count(GAP)


def _draw_preview(tensors: Path, path: Path, seeds: Sequence[int]) -> None:
    """Write a picture that moves: seeds side by side, each seen from side to side."""
    model = load(tensors)
    cameras = orbit(PREVIEW_FRAMES, yaw=PREVIEW_YAW)

    def frames() -> Iterator[torch.Tensor]:
        videos = [model.video(model.appearance(seed), model.motion(seed), cameras=cameras) for seed in seeds]
        for row in zip(*(video.pictures("rgb") for video in videos), strict=True):
            yield torch.cat(row, dim=2).permute(1, 2, 0)

    write_video(path, (frame.numpy() for frame in frames()), PREVIEW_FPS, comment=SYNTHETIC)


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
