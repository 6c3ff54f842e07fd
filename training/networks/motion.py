"""Motion layers: how the motion code moves the appearance features (PV3D Eq. 1 and 2; T. 2)."""

import torch
from torch import nn

from torch_utils.random_numbers import Random
from training.networks.layers import FullyConnectedLayer, SynthesisLayer


class MotionLayer(nn.Module):
    """Fusion of the motion code at a time into a block's features: f + S(f, w_m) with w_m = MLP(H(z_m t)).

    Args:
        channels: of the features, in and out.
        generator: "modconv" (S is a full synthesis layer modulated by w_m), or "mlp" (w_m is broadcast and added).
        learned_weight: scale what is added by a learned scalar.
    """

    def __init__(
        self,
        *,
        motion_dim: int,
        w_dim: int,
        channels: int,
        resolution: int,
        generator: str = "modconv",
        learned_weight: bool = False,
    ):
        super().__init__()
        out_dim = w_dim if generator == "modconv" else channels
        self.affine = FullyConnectedLayer(motion_dim, w_dim, activation="lrelu")
        self.motion_mlp = nn.Sequential(
            FullyConnectedLayer(w_dim, w_dim, activation="lrelu"), FullyConnectedLayer(w_dim, out_dim)
        )
        self.conv = SynthesisLayer(channels, channels, w_dim, resolution) if generator == "modconv" else None
        self.weight = nn.Parameter(torch.ones([])) if learned_weight else None

    def style(self, z_motion: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Map z_motion [N, motion_dim] and t [N, 1] in [0, 1] to w_m [N, w_dim or channels] (Eq. 1)."""
        code = (z_motion * t).to(self.affine.weight.dtype)
        return self.motion_mlp(self.affine(code))

    def forward(
        self,
        x: torch.Tensor,
        z_motion: torch.Tensor,
        t: torch.Tensor,
        noise_mode: str = "const",
        random: Random | None = None,
    ) -> torch.Tensor:
        """x [N, channels, H, W] -> the same shape (Eq. 2)."""
        style = self.style(z_motion, t)
        if self.conv is not None:
            moved = self.conv(x, style, noise_mode, random)
        else:
            moved = style.to(x.dtype)[:, :, None, None]
        if self.weight is not None:
            moved = moved * self.weight.to(x.dtype)
        return x + moved
