"""The decoder: mean plane features at a point to density and colour features."""

import torch
from torch import nn

from training.networks.layers import FullyConnectedLayer

COLOUR_MARGIN = 0.001  # colours reach a little past [0, 1], so that the sigmoid need not saturate (mip-NeRF)


class Decoder(nn.Module):
    """An MLP: features -> hidden (softplus) -> 1 density + `colours` colour features."""

    def __init__(self, features: int, hidden: int, colours: int):
        super().__init__()
        self.net = nn.Sequential(
            FullyConnectedLayer(features, hidden),
            nn.Softplus(),
            FullyConnectedLayer(hidden, 1 + colours),
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x [..., features] -> raw density [...], colours [..., C] in (-0.001, 1.001)."""
        x = self.net(x)
        density = x[..., 0]
        colours = torch.sigmoid(x[..., 1:])
        return density, colours * (1 + 2 * COLOUR_MARGIN) - COLOUR_MARGIN
