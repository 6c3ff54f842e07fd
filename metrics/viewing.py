"""A model's video seen from sides of a metric's choice, mapped with the cameras that its own videos are mapped with."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from training.networks.generator import Generator
from training.sampling.clips import ClipSpec, generate_views
from training.sampling.options import SamplingOptions


def maps_each_view(G: Generator) -> bool:
    """Return whether each frame's own camera is mapped (`--camera-mode=Non`), so that each view has its own latents."""
    return G.config.camera_mode == "Non"


def how_mapped(G: Generator) -> dict[str, Any]:
    """Return what tells scores of such a model from others that see one mapping, as part of a key."""
    return {"mapping": "each view's camera"} if maps_each_view(G) else {}


def seen_from(
    G: Generator,
    clip: ClipSpec,
    views: Sequence[torch.Tensor],
    options: SamplingOptions = SamplingOptions(),
    with_points: bool = False,
) -> Iterator[list[dict[str, torch.Tensor]]]:
    """Return batches of frames of a clip seen by camera paths [T, 25], as `generate_views` does.

    The mapping network sees the clip's cameras; where it sees each frame's own, that of each view.
    """
    if not maps_each_view(G):
        return generate_views(G, clip, views, options, with_points)
    alone = [generate_views(G, replace(clip, cameras=view), [view], options, with_points) for view in views]
    return ([seen for (seen,) in batches] for batches in zip(*alone, strict=True))
