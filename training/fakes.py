"""What fake clips are made from: codes, times, cameras of training clips, random numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from torch_utils.random_numbers import Streams, normal
from torch_utils.transfers import to_device
from training.config import Config
from training.data.pairs import CameraSampler, moving_clips
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

    def rows(self, rows: slice | list[int]) -> "Fakes":
        """Return the fakes of some of the clips."""
        on_device = rows if isinstance(rows, slice) else to_device(torch.tensor(rows), self.z.device)
        parts: dict[str, Any] = {}
        for name in ("z", "z_motion", "times", "cameras", "others"):
            parts[name] = getattr(self, name)[on_device]
        parts["random"] = self.random[rows]
        parts["still"] = None if self.still is None else self.still[rows]
        return Fakes(**parts, stand_ins=self.stand_ins and self.stand_ins.rows(rows))

    def stills(self) -> list[int]:
        """Return which clips are stills."""
        return [] if self.still is None else self.still.nonzero().flatten().tolist()


class FakeSource:
    """A source of fakes, the same however they are divided among processes.

    Args:
        sequences: cameras of the training clips, float32 [F, 25] each.
        device: of the fakes and of their random numbers.
    """

    def __init__(self, sequences: Sequence[np.ndarray], config: Config, device: torch.device):
        window = config.training.window
        mirror = config.training.mirror
        self.config = config
        self.device = device
        self.cameras = CameraSampler(sequences, window=window, mirror=mirror, frames=config.training.frames)
        moving = moving_clips([len(sequence) for sequence in sequences], window)
        self.moving: CameraSampler | None = None  # where there are clips of one frame beside longer ones
        if 0 < len(moving) < len(sequences):
            self.moving = CameraSampler([sequences[index] for index in moving], window=window, mirror=mirror)

    def draw(self, key: tuple[int, ...], own: slice) -> Fakes:
        """Return those of the clips `own` of a batch that `key` names (seed, iteration, index of the phase)."""
        batch = self.config.training.batch
        clips = self.cameras.sample(key, batch)
        _, others = self.cameras.sample((*key, batch), batch)
        random = Streams.seeded((*key, Draws.CLIPS), batch)[own]
        fakes = self._fakes(random, *(values[own] for values in (*clips, others)))
        if self.moving is not None:
            clips = self.moving.sample((*key, batch + 1), batch)
            random = Streams.seeded((*key, Draws.STAND_INS), batch)[own]
            fakes.stand_ins = self._fakes(random, *(values[own] for values in (*clips, others)))
        return fakes

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
