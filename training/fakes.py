"""What fake clips are made from: codes, times, cameras of training clips, random numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from torch_utils.random_numbers import Streams, normal
from training.config import Config
from training.data.pairs import CameraSampler


@dataclass(kw_only=True)
class Fakes:
    """The codes, times, cameras and random streams that fake clips are made from."""

    z: torch.Tensor  # [B, z_dim]
    z_motion: torch.Tensor  # [B, z_motion_dim]
    times: torch.Tensor  # [B, 2] in [0, 1]
    cameras: torch.Tensor  # [B, 2, 25]
    others: torch.Tensor  # [B, 2, 25], cameras of other clips: what the mapping network may see instead
    random: Streams  # B: drives noise, ray jitter, camera swaps and regularisation points

    def rows(self, rows: slice) -> "Fakes":
        """Return the fakes of some of the clips."""
        return Fakes(**{name: value[rows] for name, value in vars(self).items()})


class FakeSource:
    """A source of fakes, the same however they are divided among processes.

    Args:
        sequences: cameras of the training clips, float32 [F, 25] each.
        device: of the fakes and of their random numbers.
    """

    def __init__(self, sequences: Sequence[np.ndarray], config: Config, device: torch.device):
        self.config = config
        self.device = device
        self.cameras = CameraSampler(sequences, window=config.training.window, mirror=config.training.mirror)

    def draw(self, key: tuple[int, ...], own: slice) -> Fakes:
        """Return those of the clips `own` of a batch that `key` names (seed, iteration, index of the phase)."""
        batch = self.config.training.batch
        random = Streams.seeded(key, range(batch)[own], self.device)
        times, cameras = self.cameras.sample(key, batch)
        _, others = self.cameras.sample((*key, batch), batch)
        return Fakes(
            z=normal([len(random), self.config.generator.z_dim], random, self.device),
            z_motion=normal([len(random), self.config.generator.z_motion_dim], random, self.device),
            times=times[own].to(self.device),
            cameras=cameras[own].to(self.device),
            others=others[own].to(self.device),
            random=random,
        )
