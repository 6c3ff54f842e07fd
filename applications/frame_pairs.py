"""Pairs of frames of one clip, generated or of a dataset, whose cameras differ: what discriminators are asked about.

Pair n is a function of the seed and n alone. The moments of its frames are drawn as in training (section 3.4), again
and again until their cameras differ: two equal cameras could not be told from each other.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from applications.options import PAIRS
from dnnlib.errors import UserError
from training.cameras import condition_cameras
from training.config import FRAMES_PER_CLIP, Config
from training.data.dataset import ClipDataset
from training.data.pairs import draw_frames
from training.data.streams import Stream
from training.judged import Frames
from training.networks.generator import Generator
from training.networks.superresolution import resize
from training.sampling.clips import latent_code
from training.sampling.options import SamplingOptions

# --- Generated --------------------------------------------------------------------------------------------------------


def generated_pairs(
    G: Generator,
    bank: torch.Tensor,
    *,
    count: int = PAIRS,
    seed: int,
    options: SamplingOptions,
) -> Iterator[Frames]:
    """Yield batches of `count` pairs in all, on the generator's device.

    Args:
        bank: camera paths [N, F, 25] of a snapshot, each over the whole time of a clip.
        seed: of pair 0; pair n has the codes of `gen_videos.py --seeds=<seed + n>`.
        options: of which a batch holds half as many pairs as frames.

    Raises:
        UserError: no path of the bank moves.
    """
    paths = bank.cpu().numpy()
    moving = _moving(paths, paths.shape[1])
    if not moving:
        raise UserError("The cameras that the snapshot holds stand still: give a dataset whose cameras move.")
    size = max(options.frames_per_batch // FRAMES_PER_CLIP, 1)
    for start in range(0, count, size):
        yield _generate(G, paths, moving, seed, range(start, min(start + size, count)), options)


@torch.inference_mode()
def _generate(
    G: Generator, paths: np.ndarray, moving: list[int], seed: int, numbers: range, options: SamplingOptions
) -> Frames:
    """Return the pairs of these numbers."""
    window = paths.shape[1]
    device = next(G.parameters()).device
    codes = []
    motions = []
    moments = []
    labels = []
    for number in numbers:
        path, places, offsets = _draw(paths, moving, window, seed, number)
        codes.append(latent_code(seed + number, G.config.z_dim, Stream.APPEARANCE))
        motions.append(latent_code(seed + number, G.config.z_motion_dim, Stream.MOTION))
        moments.append(torch.from_numpy(offsets / (window - 1)).float() * G.max_time)
        labels.append(torch.from_numpy(paths[path][places]))
    times = torch.stack(moments).to(device)
    cameras = torch.stack(labels).to(device)
    z = torch.stack(codes).to(device).repeat_interleave(FRAMES_PER_CLIP, dim=0)
    z_motion = torch.stack(motions).to(device).repeat_interleave(FRAMES_PER_CLIP, dim=0)
    z_motion = G.motion_code(z, z_motion)
    t = times.reshape(-1, 1)
    mapped, rendered = condition_cameras(cameras, G.config.camera_mode, training=False)
    ws = G.mapping(
        z,
        mapped.flatten(0, 1),
        z_motion,
        t,
        truncation_psi=options.psi,
        truncation_cutoff=options.cutoff,
    )
    out = G.synthesis(
        ws,
        rendered.flatten(0, 1),
        z_motion,
        t,
        neural_rendering_resolution=options.neural_rendering_resolution,
    )
    return Frames(
        image=out["image"].float(),
        image_raw=out["image_raw"].float(),
        times=times,
        cameras=rendered.flatten(0, 1),
    )


# --- Of a dataset -----------------------------------------------------------------------------------------------------


def dataset_pairs(dataset: ClipDataset, config: Config, *, count: int = PAIRS, seed: int) -> Iterator[Frames]:
    """Yield `count` pairs of a dataset's frames, one at a time, as training would show them without mirroring.

    Args:
        dataset: of the resolution of `config`.
        config: the snapshot's.

    Raises:
        UserError: no clip has two cameras, or a frame is missing or damaged.
    """
    window = config.training.window
    paths = dataset.camera_paths
    moving = _moving(paths, window)
    if not moving:
        raise UserError(
            f"No clip of {dataset.path} has two different cameras within {window} frames: give clips of turning heads."
        )
    for number in range(count):
        clip, places, offsets = _draw(paths, moving, window, seed, number)
        frames = np.stack([dataset.read_frame(clip, int(place)) for place in places])
        image = torch.from_numpy(frames).float() / 127.5 - 1
        times = torch.from_numpy(offsets / (window - 1)).float()
        yield Frames(
            image=image,
            image_raw=resize(image, config.generator.rendering.resolution),
            times=times.unsqueeze(0),
            cameras=torch.from_numpy(paths[clip][places]),
        )


# --- Which two frames -------------------------------------------------------------------------------------------------


def _moving(paths: Sequence[np.ndarray] | np.ndarray, window: int) -> list[int]:
    """Return the numbers of the camera paths [F, 25] that have two different cameras within a window."""
    if window < FRAMES_PER_CLIP:
        return []
    return [number for number, path in enumerate(paths) if (path != path[0]).any()]


def _draw(
    paths: Sequence[np.ndarray] | np.ndarray, moving: list[int], window: int, seed: int, number: int
) -> tuple[int, np.ndarray, np.ndarray]:
    """Draw a path and two of its frames: their places [2] in it, and in the window [2]."""
    rng = np.random.default_rng([seed, number, Stream.FRAME_PAIRS])
    chosen = moving[int(rng.integers(len(moving)))]
    path = paths[chosen]
    while True:
        start, offsets, _ = draw_frames(rng, len(path), window=window)
        first, second = path[start + offsets]
        if (first != second).any():
            return chosen, start + offsets, offsets
