"""Whether the discriminators heed the cameras that they are told (PV3D Fig. 8).

The video discriminator is shown pairs of frames with their cameras (c_i, c_j) and with these swapped, (c_j, c_i). One
that heeds them embeds the two orders differently, and scores the right one higher; one that ignores them has cosine 1
and margin 0. The image discriminator is shown the first frame with its own camera c_i and with c_j.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cosine_similarity

from applications import charts
from dnnlib.errors import UserError
from dnnlib.progress import Counter
from training.checkpoints.opener import Discriminators
from training.config import FRAMES_PER_CLIP
from training.judged import Frames
from training.networks.discriminators import ImageDiscriminator, VideoDiscriminator


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """How one discriminator takes N right and N wrong conditions; float32 [N] each, on the CPU."""

    cosine: torch.Tensor  # of the embeddings of the right and of the wrong condition
    margin: torch.Tensor  # logit with the right condition minus logit with the wrong one

    def summary(self) -> dict[str, float]:
        """Return means, standard deviations over the pairs, and the share of pairs with a positive margin."""
        cosine = self.cosine.double()
        margin = self.margin.double()
        return {
            "cosine_mean": cosine.mean().item(),
            "cosine_std": cosine.std(correction=0).item(),
            "margin_mean": margin.mean().item(),
            "margin_std": margin.std(correction=0).item(),
            "right_share": (margin > 0).double().mean().item(),
        }

    def histograms(self, title: str) -> str:
        """Draw both as SVG."""
        return charts.histograms(
            title,
            [
                charts.Histogram(
                    title="Embeddings of right and wrong cameras",
                    values=self.cosine.numpy(),
                    unit="cosine similarity, 1: alike",
                    counted="pairs of frames",
                ),
                charts.Histogram(
                    title="Score of right minus wrong cameras",
                    values=self.margin.numpy(),
                    unit="difference of logits, above 0: right order preferred",
                    counted="pairs of frames",
                ),
            ],
        )


@dataclass(frozen=True, kw_only=True)
class CameraAlignment:
    """How the discriminators take the cameras of the same N pairs of frames; the image discriminator may be missing."""

    video: Alignment
    image: Alignment | None

    def summary(self) -> dict[str, Any]:
        """Return plain values: the number of pairs, and the numbers of each discriminator."""
        return {
            "pairs": len(self.video.cosine),
            "video": self.video.summary(),
            "image": None if self.image is None else self.image.summary(),
        }

    def charts(self) -> dict[str, str]:
        """Return an SVG of histograms for each discriminator, by its name."""
        drawn = {"video": self.video.histograms("Video discriminator: cameras (c_i, c_j) against (c_j, c_i)")}
        if self.image is not None:
            drawn["image"] = self.image.histograms("Image discriminator: camera c_i against c_j of frame I_i")
        return drawn


def camera_alignment(discriminators: Discriminators, pairs: Iterable[Frames], counter: Counter) -> CameraAlignment:
    """Measure how the discriminators take the cameras of pairs of frames.

    Minibatch standard deviation couples the samples that are judged together. So these are groups of fixed size, in the
    order of the pairs, and it does not matter in which batches they come. The last group is filled up with pairs that
    were judged before.

    Args:
        pairs: batches of any size, on any device, of one pair at least (`applications.frame_pairs`).
        counter: counts pairs.

    Raises:
        UserError: there is no video discriminator that is told cameras, or there are no pairs.
    """
    D_vid = _told_of_cameras(discriminators.D_vid)
    D_img = discriminators.D_img
    rows = []
    for group, new in _groups(pairs, D_vid.b4.mbstd_group):
        judged = _video_rows(D_vid, group)
        if D_img is not None:
            judged = judged + _image_rows(D_img, group)
        rows.append([values[-new:].cpu() for values in judged])
        counter.update(new)
    if not rows:
        raise UserError("There are no pairs of frames to judge: ask for at least one.")
    columns = [torch.cat(values) for values in zip(*rows, strict=True)]
    return CameraAlignment(
        video=Alignment(cosine=columns[0], margin=columns[1]),
        image=None if D_img is None else Alignment(cosine=columns[2], margin=columns[3]),
    )


def _told_of_cameras(D_vid: VideoDiscriminator | None) -> VideoDiscriminator:
    """Return the video discriminator. UserError if there is none, or it is not told any cameras."""
    if D_vid is None:
        raise UserError(
            "The snapshot holds no video discriminator, whose cameras this is about: "
            "give one of a run without --no-video-discriminator, or choose other analyses by --what."
        )
    if D_vid.mapping is None:
        raise UserError(
            "The snapshot's video discriminator is not told any cameras: "
            "give one of a run without --no-video-cameras, or choose other analyses by --what."
        )
    return D_vid


# --- Judging ----------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def _video_rows(D: VideoDiscriminator, frames: Frames) -> list[torch.Tensor]:
    """Return cosine and margin [n] of n pairs."""
    device = D.b4.conv.weight.device
    x = D.assemble(frames.image.to(device), frames.times.to(device))
    right = frames.cameras.to(device).unflatten(0, (-1, FRAMES_PER_CLIP))
    wrong = right.flip(1)
    assert D.mapping is not None
    return [
        _cosine(D.mapping, right.flatten(1), wrong.flatten(1)),
        (D(x, right.flatten(0, 1)) - D(x, wrong.flatten(0, 1))).squeeze(1),
    ]


@torch.inference_mode()
def _image_rows(D: ImageDiscriminator, frames: Frames) -> list[torch.Tensor]:
    """Return cosine and margin [n] of the first frames of n pairs."""
    device = D.b4.conv.weight.device
    image = frames.image[::FRAMES_PER_CLIP].to(device)
    image_raw = frames.image_raw[::FRAMES_PER_CLIP].to(device)
    right, wrong = frames.cameras.to(device).unflatten(0, (-1, FRAMES_PER_CLIP)).unbind(dim=1)
    assert D.mapping is not None
    return [
        _cosine(D.mapping, right, wrong),
        (D(image, image_raw, right) - D(image, image_raw, wrong)).squeeze(1),
    ]


def _cosine(mapping: Callable[[torch.Tensor], torch.Tensor], right: torch.Tensor, wrong: torch.Tensor) -> torch.Tensor:
    """Return the cosine similarity [n] of the embeddings of conditions [n, camera_dim]."""
    return cosine_similarity(mapping(right).double(), mapping(wrong).double(), dim=1).float()


# --- Groups of fixed size ---------------------------------------------------------------------------------------------


def _groups(batches: Iterable[Frames], size: int) -> Iterator[tuple[Frames, int]]:
    """Yield groups of `size` pairs, each with the number of its last ones that are new.

    There is one smaller group where there are fewer pairs in all.
    """
    waiting: Frames | None = None
    last: Frames | None = None
    for batch in batches:
        waiting = batch if waiting is None else _join(waiting, batch)
        while len(waiting.times) >= size:
            last, waiting = _part(waiting, 0, size), _part(waiting, size, None)
            yield last, size
    new = 0 if waiting is None else len(waiting.times)
    if waiting is not None and new:
        whole = waiting if last is None else _join(last, waiting)
        yield _part(whole, max(len(whole.times) - size, 0), None), new


def _part(frames: Frames, start: int, stop: int | None) -> Frames:
    """Return some of the pairs."""
    folded = slice(start * FRAMES_PER_CLIP, None if stop is None else stop * FRAMES_PER_CLIP)
    return Frames(
        image=frames.image[folded],
        image_raw=frames.image_raw[folded],
        times=frames.times[start:stop],
        cameras=frames.cameras[folded],
    )


def _join(first: Frames, second: Frames) -> Frames:
    """Return the pairs of both."""
    return Frames(
        image=torch.cat([first.image, second.image]),
        image_raw=torch.cat([first.image_raw, second.image_raw]),
        times=torch.cat([first.times, second.times]),
        cameras=torch.cat([first.cameras, second.cameras]),
    )
