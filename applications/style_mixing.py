"""Style mixing: some rows of one appearance's intermediate latents replaced by another's (PV3D Fig. 7)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dnnlib.errors import UserError
from training.data.streams import Stream
from training.networks.generator import Generator
from training.sampling import pictures
from training.sampling.clips import latent_code
from training.sampling.options import SamplingOptions

Layers = slice | Sequence[int]  # rows of ws, from 0


@dataclass(frozen=True, kw_only=True)
class Appearances:
    """N appearances at one moment, as a generator takes them."""

    ws: torch.Tensor  # [N, num_ws, w_dim]
    z_motion: torch.Tensor  # [N, D], the codes that drive the motion

    def __len__(self) -> int:
        return len(self.ws)


# --- Latents ----------------------------------------------------------------------------------------------------------


def appearance_codes(G: Generator, seeds: Sequence[int]) -> torch.Tensor:
    """Return the appearance codes [N, z_dim] of seeds: those of `gen_videos.py --seeds`."""
    codes = [latent_code(seed, G.config.z_dim, Stream.APPEARANCE) for seed in seeds]
    return torch.stack(codes)


@torch.inference_mode()
def appearances(
    G: Generator,
    z: torch.Tensor,
    *,
    camera: torch.Tensor,
    z_motion: torch.Tensor,
    t: float,
    options: SamplingOptions,
) -> Appearances:
    """Map codes z [N, z_dim], all with one motion code [z_motion_dim].

    Args:
        camera: label [25] that the mapping network sees.
        t: time in [0, 1], which the naive motion generator maps as well.
    """
    device = next(G.parameters()).device
    z = z.to(device)
    motion = G.motion_code(z, z_motion.to(device).expand(len(z), -1))
    ws = G.mapping(
        z,
        camera.to(device).expand(len(z), -1),
        motion,
        torch.full([len(z), 1], t, device=device),
        truncation_psi=options.psi,
        truncation_cutoff=options.cutoff,
    )
    return Appearances(ws=ws, z_motion=motion)


def motion_rows(G: Generator) -> slice:
    """Return the rows of ws that modulate the convolutions of the first K blocks, which carry the motion layers.

    The first block has one convolution, all others have two.
    """
    return slice(0, 2 * G.config.motion_blocks - 1)


def mix(ws_a: torch.Tensor, ws_b: torch.Tensor, layers: Layers) -> torch.Tensor:
    """Return ws_a [..., num_ws, w_dim] with its rows in `layers` taken from ws_b; the two may broadcast.

    Raises:
        UserError: there are no such rows.
    """
    num_ws = ws_a.shape[-2]
    rows = _rows(layers, num_ws)
    wrong = [row for row in rows if not 0 <= row < num_ws]
    if wrong:
        raise UserError(f"The latents have no row {wrong[0]}: choose layers from 0 to {num_ws - 1}.")
    taken = torch.zeros([num_ws, 1], dtype=torch.bool, device=ws_a.device)
    taken[rows] = True
    return torch.where(taken, ws_b, ws_a)


def _rows(layers: Layers, num_ws: int) -> list[int]:
    """Return the rows that are meant; unlike Python's slices, one that reaches too far is not cut short."""
    if not isinstance(layers, slice):
        return list(layers)
    stop = num_ws if layers.stop is None else layers.stop
    return list(range(layers.start or 0, stop, layers.step or 1))


# --- Pictures ---------------------------------------------------------------------------------------------------------


def mixing_grid(
    G: Generator,
    rows: Appearances,
    columns: Appearances,
    *,
    camera: torch.Tensor,
    t: float,
    layers: Layers | None = None,
    options: SamplingOptions,
) -> np.ndarray:
    """Draw how A appearances look with rows of w from B others.

    Args:
        rows, columns: the A and B appearances; a cell moves as its row does.
        camera: label [25] of all frames.
        t: their time in [0, 1].
        layers: which rows of w come from the column; None: `motion_rows`.

    Returns:
        uint8 [(A + 1) R, (B + 1) R, 3]: nothing, then the columns' own frames; in each further row of frames the row's
        own one, then its cells.

    Raises:
        UserError: as of `mix`.
    """
    mixed = mix(rows.ws[:, None], columns.ws[None], motion_rows(G) if layers is None else layers)
    a, b = mixed.shape[:2]
    cells = Appearances(
        ws=mixed.flatten(0, 1),
        z_motion=rows.z_motion.repeat_interleave(b, dim=0),
    )
    places = [torch.cat(list(_frames(G, shown, camera, t, options))) for shown in (columns, rows, cells)]
    tops, sides, inner = places
    grid = inner.new_zeros(a + 1, b + 1, *inner.shape[1:])
    grid[0, 1:] = tops
    grid[1:, 0] = sides
    grid[1:, 1:] = inner.unflatten(0, (a, b))
    return pictures.image_grid(grid.flatten(0, 1), b + 1)


@torch.inference_mode()
def _frames(
    G: Generator, shown: Appearances, camera: torch.Tensor, t: float, options: SamplingOptions
) -> Iterator[torch.Tensor]:
    """Yield batches of frames uint8 [n, 3, R, R] of appearances, seen by a camera [25]."""
    device = shown.ws.device
    for start in range(0, len(shown), options.frames_per_batch):
        part = slice(start, start + options.frames_per_batch)
        ws = shown.ws[part]
        out = G.synthesis(
            ws,
            camera.to(device).expand(len(ws), -1),
            shown.z_motion[part],
            torch.full([len(ws), 1], t, device=device),
            neural_rendering_resolution=options.neural_rendering_resolution,
        )
        yield pictures.to_uint8(out["image"])
