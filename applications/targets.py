"""What is inverted: the frames of a picture or a clip, and the cameras that see them."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from dnnlib.errors import UserError
from training.data.dataset import ClipDataset


@dataclass(frozen=True, kw_only=True)
class Target:
    """Frames to find latents for.

    Args:
        name: of the picture or clip.
        images: [T, 3, R, R] in [-1, 1].
        cameras: labels [T, 25].
        fps: frames a second.
    """

    name: str
    images: torch.Tensor
    cameras: torch.Tensor
    fps: float

    def __len__(self) -> int:
        return len(self.images)

    def digest(self) -> str:
        """Return hexadecimal digits that change with frames, cameras and rate."""
        digest = hashlib.sha256(self.images.cpu().numpy().tobytes())
        digest.update(self.cameras.cpu().numpy().tobytes())
        digest.update(str(self.fps).encode())
        return digest.hexdigest()


def read_target(dataset: ClipDataset, clip: int, frames: list[int] | None = None) -> Target:
    """Read the frames of these numbers, or all, of a clip of a dataset.

    Raises:
        UserError: the clip has no frame of such a number, or one is damaged.
    """
    chosen = dataset.clips[clip]
    numbers = list(range(len(chosen))) if frames is None else frames
    beyond = [number for number in numbers if number >= len(chosen)]
    if beyond:
        raise UserError(f"The clip {chosen.name} has frames 0 to {len(chosen) - 1}, and no frame {beyond[0]}.")
    pixels = np.stack([dataset.read_frame(clip, number) for number in numbers])
    return Target(
        name=chosen.name,
        images=torch.from_numpy(pixels).float() / 127.5 - 1,
        cameras=torch.from_numpy(np.array(chosen.cameras[numbers])),
        fps=chosen.fps,
    )


def find_clip(dataset: ClipDataset, wanted: str | None) -> int:
    """Return the number of the clip of a name or number; None: of the first.

    Raises:
        UserError: there is none.
    """
    if wanted is None:
        return 0
    for number, clip in enumerate(dataset.clips):
        if clip.name == wanted:
            return number
    if wanted.isdecimal() and int(wanted) < dataset.num_clips:
        return int(wanted)
    some = ", ".join(dataset.clips[number].name for number in range(min(dataset.num_clips, 3)))
    raise UserError(
        f"--clip={wanted} is no clip of {dataset.path}: give a name ({some}, ...) or a number below "
        f"{dataset.num_clips}."
    )
