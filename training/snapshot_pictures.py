"""Pictures at every snapshot: a grid of fixed seeds and a short video of them with side views, depth and normals."""

from pathlib import Path

import numpy as np
import PIL.Image
import torch

from dnnlib.files import atomic_path
from dnnlib.video import write_video
from training import pictures, videos
from training.cameras import frontal_label
from training.networks.generator import Generator
from training.run_folder import stamp
from training.snapshots import Networks

SIDE_YAW = 0.4           # radians, of the side view
GRID_SEEDS = 16          # in the picture
VIDEO_SEEDS = 4          # in the video
VIDEO_FRAMES = 16


class SnapshotPictures:
    """Writes `fakes<kimg>.png` and `fakes<kimg>.mp4` of the averaged generator into a folder."""

    def __call__(self, networks: Networks, folder: Path, clips: int) -> None:
        """networks.G_ema after `clips` clips."""
        G = networks.G_ema
        grid = [next(clip_layers(G, seed, 1, ("rgb",))) for seed in range(GRID_SEEDS)]
        save_png(folder / f"fakes{stamp(clips)}.png", pictures.image_grid(torch.stack(grid), 4))
        rows = [clip_layers(G, seed, VIDEO_FRAMES, ("rgb", "side", "depth", "normals")) for seed in range(VIDEO_SEEDS)]
        frames = (pictures.image_grid(torch.stack(frame), 1) for frame in zip(*rows, strict=True))
        write_video(folder / f"fakes{stamp(clips)}.mp4", frames, fps=8)


def clip_layers(G: Generator, seed: int, frames: int, layers: tuple[str, ...]):
    """Frames uint8 [3, R, R * len(layers)] of a seed seen frontally, layers side by side: rgb, side, depth, normals."""
    front = frontal_label().expand(frames, -1)
    spec = videos.clip_spec(G, seed, seed, front)
    side = videos.clip_spec(G, seed, seed, frontal_label(SIDE_YAW).expand(frames, -1))
    runs = [videos.generate(G, spec)]
    if "side" in layers:
        runs.append(videos.generate(G, side, mapping_cameras=front))
    for batches in zip(*runs, strict=True):
        drawn = {"rgb": pictures.to_uint8(batches[0]["image"]), "side": pictures.to_uint8(batches[-1]["image"]),
                 **pictures.depth_layers(batches[0], G.config)}
        yield from torch.cat([drawn[layer].cpu() for layer in layers], dim=3)


def save_png(path: Path, image: np.ndarray) -> None:
    """Writes an image uint8 [H, W, 3]."""
    with atomic_path(path) as temporary:
        PIL.Image.fromarray(image).save(temporary, format="PNG")
