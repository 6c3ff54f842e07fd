"""Videos and pictures of latents: input, result, the view from the side and normals beside each other."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from applications.camera_offsets import beside
from applications.latents import Latents
from applications.options import GENERATED, USUAL_OUTPUT, Output
from training.networks.generator import Generator
from training.sampling import pictures
from training.sampling.clips import generate_views
from training.sampling.labels import Strips, below
from training.sampling.options import SamplingOptions
from training.sampling.records import SYNTHETIC

SIDE_YAW = np.deg2rad(20.0)  # of the view from the side, to the +x side


def shown_frames(
    G: Generator,
    latents: Latents,
    *,
    columns: tuple[str, ...] = GENERATED,
    target: torch.Tensor | None = None,
    sampling: SamplingOptions,
    output: Output = USUAL_OUTPUT,
) -> Iterator[torch.Tensor]:
    """Yield the frames of latents as pictures uint8 [3, R * scale, R * scale * columns], with labels above if asked.

    Args:
        columns: of COLUMNS, in their order.
        target: frames uint8 [T, 3, R, R] of the column "input".
        sampling: frames a batch and side of the ray grid; latents are not truncated.
        output: scale and labels.
    """
    side = G.config.img_resolution * output.scale
    strip = strips_of(columns, side, output.scale).draw(0) if output.labels else None
    own = latents.cameras
    views = [own, beside(own, SIDE_YAW)] if "side" in columns else [own]
    place = 0
    for frames in generate_views(G, latents.spec(), views, sampling):
        drawn = {"result": pictures.to_uint8(frames[0]["image"])}
        if "side" in columns:
            drawn["side"] = pictures.to_uint8(frames[1]["image"])
        if "normals" in columns:
            drawn["normals"] = pictures.normals_layer(frames[0], G.config)
        count = len(drawn["result"])
        if target is not None:
            drawn["input"] = target[place : place + count]
        place += count
        joined = torch.cat([pictures.enlarged(drawn[name], side).cpu() for name in columns], dim=3)
        yield from joined if strip is None else below(strip, joined)


def strips_of(columns: tuple[str, ...], side: int, scale: int) -> Strips:
    """Return the strip above columns of pictures of so many pixels a side. UserError if a name has no room."""
    strips = Strips([columns if len(columns) == 1 else ()], columns, side)
    strips.check(scale)
    return strips


def result_frames(G: Generator, latents: Latents, sampling: SamplingOptions) -> torch.Tensor:
    """Return the frames of latents, uint8 [T, 3, R, R]."""
    return torch.stack(list(shown_frames(G, latents, columns=("result",), sampling=sampling)))


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture uint8 [H, W, 3] as a PNG whose metadata say that it is synthetic."""
    pictures.save_png(path, picture, comment=SYNTHETIC)
