"""What fake clips are made from: codes, times, cameras of training clips, random numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from torch_utils.random_numbers import Streams, normal
from torch_utils.transfers import to_device
from training.cameras import CAMERA_DIM
from training.config import Config
from training.data.pairs import CameraSampler, clips_with, moving_clips
from training.data.streams import Draws

NO_VIDEOS = (
    "No clip gives two different frames, so the video discriminator is left as it is, and the model learns no motion."
)
# About a run whose states do not say what the greatest time is.
OTHER_TIMES = (
    "The fakes of this run had times up to 1, whatever the length of their clips. From now on they have those of real "
    "frames: scores and motion may change for a while."
)


@dataclass(kw_only=True)
class Fakes:
    """The codes, times, cameras and random streams that B fake clips of F frames are made from."""

    z: torch.Tensor  # [B, z_dim]
    z_motion: torch.Tensor  # [B, z_motion_dim]
    times: torch.Tensor  # [B, F] in [0, 1]
    cameras: torch.Tensor  # [B, F, 25]
    others: torch.Tensor  # [B, F, 25], cameras of other clips: what the mapping network may see instead
    random: Streams  # B: drives noise, ray jitter, camera swaps and regularisation points
    # bool [B] on the host: which are stills (`training.data.pairs.is_still`), with no time but 0; None: none is.
    still: torch.Tensor | None = None
    # B others, all of clips of several frames: the video discriminator judges them in place of those of one frame.
    stand_ins: "Fakes | None" = None
    # Of the first clips, in whose place the image discriminator judges images: F times as many fakes of one frame.
    images: "Fakes | None" = None

    def rows(self, rows: slice | list[int]) -> "Fakes":
        """Return the fakes of some of the clips."""
        on_device = rows if isinstance(rows, slice) else to_device(torch.tensor(rows), self.z.device)
        parts: dict[str, Any] = {}
        for name in ("z", "z_motion", "times", "cameras", "others"):
            parts[name] = getattr(self, name)[on_device]
        parts["random"] = self.random[rows]
        parts["still"] = None if self.still is None else self.still[rows]
        return Fakes(**parts, stand_ins=self.stand_ins and self.stand_ins.rows(rows), images=self._images_of(rows))

    def _images_of(self, rows: slice | list[int]) -> "Fakes | None":
        """Return the images in the place of some of the clips; None if there are none."""
        if self.images is None:
            return None
        frames = self.times.shape[1]
        with_images = range(len(self.images.z) // frames)
        places = with_images[rows] if isinstance(rows, slice) else [row for row in rows if row in with_images]
        chosen = _numbers(places, frames)
        if not chosen:
            return None
        return self.images.rows(slice(None) if len(chosen) == len(self.images.z) else chosen)

    def with_image_cameras(self) -> "Fakes":
        """Return these clips, of which those with images in their place have the images' cameras."""
        if self.images is None:
            return self
        frames = self.times.shape[1]
        replaced: dict[str, Any] = {}
        for name in ("cameras", "others"):
            own, other = getattr(self, name), getattr(self.images, name)
            replaced[name] = torch.cat([other.view(-1, frames, CAMERA_DIM), own[len(other) // frames :]])
        return replace(self, **replaced)

    def stills(self) -> list[int]:
        """Return which clips are stills."""
        return [] if self.still is None else self.still.nonzero().flatten().tolist()


def _numbers(places: Iterable[int], frames: int) -> list[int]:
    """Return the numbers of the images in some places, as many in each as a clip has frames."""
    return [place * frames + frame for place in places for frame in range(frames)]


class FakeSource:
    """A source of fakes, the same however they are divided among processes.

    Args:
        sequences: cameras of the training clips, float32 [F, 25] each.
        device: of the fakes and of their random numbers.
        images: cameras of the clips whose frames are images beside them.
    """

    def __init__(
        self,
        sequences: Sequence[np.ndarray],
        config: Config,
        device: torch.device,
        images: Sequence[np.ndarray] | None = None,
    ):
        sequences = [sequences[index] for index in clips_with(config.training.frames, [len(one) for one in sequences])]
        window = config.training.window
        mirror = config.training.mirror
        self.config = config
        self.device = device
        self.cameras = CameraSampler(sequences, window=window, mirror=mirror, frames=config.training.frames)
        moving = moving_clips([len(sequence) for sequence in sequences], window)
        self.moving: CameraSampler | None = None  # where there are clips of one frame beside longer ones
        if 0 < len(moving) < len(sequences):
            self.moving = CameraSampler([sequences[index] for index in moving], window=window, mirror=mirror)
        self.images: CameraSampler | None = None
        if images is not None:
            self.images = CameraSampler(images, window=1, mirror=mirror, frames=1)

    def draw(self, key: tuple[int, ...], own: slice, places: int = 0) -> Fakes:
        """Return those of the clips `own` of a batch that `key` names (seed, iteration, index of the phase).

        Args:
            places: how many of the batch's clips, the first ones, have images in their place.
        """
        batch = self.config.training.batch
        clips = self.cameras.sample(key, batch)
        _, others = self.cameras.sample((*key, batch), batch)
        random = Streams.seeded((*key, Draws.CLIPS), batch)[own]
        fakes = self._fakes(random, *(values[own] for values in (*clips, others)))
        if self.moving is not None:
            clips = self.moving.sample((*key, batch + 1), batch)
            random = Streams.seeded((*key, Draws.STAND_INS), batch)[own]
            fakes.stand_ins = self._fakes(random, *(values[own] for values in (*clips, others)))
        if places:
            fakes.images = self._images(key, own, places)
        return fakes

    def _images(self, key: tuple[int, ...], own: slice, places: int) -> Fakes | None:
        """Return single frames, at times of clips' frames and under cameras of images; None if `own` has no place."""
        assert self.images is not None
        batch, frames = self.config.training.batch, self.config.training.frames
        chosen = _numbers(range(places)[own], frames)
        if not chosen:
            return None
        count = places * frames
        _, cameras = self.images.sample((*key, batch + 2), count)
        _, others = self.images.sample((*key, batch + 3), count)
        times, _ = self.cameras.sample((*key, batch + 4), places)
        rows = slice(None) if len(chosen) == count else chosen  # of a whole batch every draw is one launch
        random = Streams.seeded((*key, Draws.IMAGES), count)[rows]
        return self._fakes(random, times.reshape(-1, 1)[rows], cameras[rows], others[rows])

    def _fakes(self, random: Streams, times: torch.Tensor, cameras: torch.Tensor, others: torch.Tensor) -> Fakes:
        """Return fakes with codes of their own."""
        return Fakes(
            z=normal([len(random), self.config.generator.z_dim], random, self.device),
            z_motion=normal([len(random), self.config.generator.z_motion_dim], random, self.device),
            times=to_device(times, self.device),
            cameras=to_device(cameras, self.device),
            others=to_device(others, self.device),
            random=random,
            still=(times == 0).all(dim=1),
        )
