"""Pictures at every snapshot: a grid of fixed seeds and a short video of them with side views, depth and normals."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from dnnlib.video import write_video
from training.cameras import frontal_label
from training.checkpoints.snapshots import Networks
from training.networks.generator import Generator
from training.runs.folder import PICTURES, stamp
from training.sampling import pictures
from training.sampling.clips import clip_spec, generate_views

SIDE_YAW = 0.4  # radians, of the side view


@dataclass(frozen=True, kw_only=True)
class SnapshotPictures:
    """A grid `fakes<kimg>.png` and a video `fakes<kimg>.mp4` of the averaged generator: called with a folder."""

    columns: int = 4  # of the picture's square grid of seeds
    video_seeds: int = 4
    video_frames: int = 16

    @classmethod
    def for_machine(cls, img_resolution: int, device: torch.device) -> "SnapshotPictures":
        """Return a choice with fewer pictures where a CPU needs seconds for a frame."""
        if device.type == "cpu" and img_resolution > 128:
            return cls(columns=2, video_seeds=1, video_frames=8)
        return cls()

    def __call__(self, networks: Networks, folder: Path, clips: int) -> None:
        """Write both for networks.G_ema after `clips` clips."""
        G = networks.G_ema

        # The grid: first frames, one seed a place.
        places = [next(clip_layers(G, seed, 1, ("rgb",))) for seed in range(self.columns**2)]
        pictures.save_png(
            folder / f"{PICTURES}{stamp(clips)}.png", pictures.image_grid(torch.stack(places), self.columns)
        )

        # The video: one seed a row, layers side by side.
        layers = ("rgb", "side", "depth", "normals")
        rows = [clip_layers(G, seed, self.video_frames, layers) for seed in range(self.video_seeds)]
        frames = (pictures.image_grid(torch.stack(frame), 1) for frame in zip(*rows, strict=True))
        write_video(folder / f"{PICTURES}{stamp(clips)}.mp4", frames, fps=8)


def clip_layers(G: Generator, seed: int, frames: int, layers: tuple[str, ...]) -> Iterator[torch.Tensor]:
    """Yield the frames of a seed, layers side by side.

    Args:
        layers: of "rgb", "side", "depth", "normals"; all but the side view are seen frontally.

    Yields:
        uint8 [3, R, R * len(layers)].
    """
    front = frontal_label().expand(frames, -1)
    views = [front]
    if "side" in layers:
        views.append(frontal_label(SIDE_YAW).expand(frames, -1))
    clip = clip_spec(G, seed, seed, front)
    shown = None
    for seen in generate_views(G, clip, views):
        frontal = seen[0]
        shown = shown or pictures.depth_range(frontal["image_depth"][:1])
        drawn = {
            "rgb": pictures.to_uint8(frontal["image"]),
            "side": pictures.to_uint8(seen[-1]["image"]),
            "depth": pictures.depth_layer(frontal, G.config, shown),
            "normals": pictures.normals_layer(frontal, G.config),
        }
        yield from torch.cat([drawn[layer].cpu() for layer in layers], dim=3)
