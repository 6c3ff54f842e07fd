"""How a motion code moves a generator: layers in its backbone (PV3D Eq. 1 and 2; T. 2), or a vector in its decoder."""

import torch
from torch import nn
from torch.nn.functional import leaky_relu

from torch_utils.random_numbers import Random
from training.networks.layers import FullyConnectedLayer, SynthesisLayer

SLOPE = 0.2  # of leaky ReLUs below zero


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


class PointMotion(nn.Module):
    """The motion network of 3DVidGen: one vector for all points of a frame, MLP(lrelu(affine(z_m) t)).

    At t = 0 it is that of the MLP's biases, whatever the code.

    Args:
        motion_dim: of the code.
        hidden: width of all layers.
        out_dim: of the vector.
    """

    def __init__(self, motion_dim: int, hidden: int, out_dim: int):
        super().__init__()
        self.affine = FullyConnectedLayer(motion_dim, hidden)
        self.mlp = nn.Sequential(
            FullyConnectedLayer(hidden, hidden, activation="lrelu"), FullyConnectedLayer(hidden, out_dim)
        )

    def forward(self, z_motion: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Map z_motion [N, motion_dim] and t [N, 1] in [0, 1] to vectors [N, out_dim]."""
        dtype = self.affine.weight.dtype
        velocity = self.affine(z_motion.to(dtype))
        return self.mlp(leaky_relu(velocity * t.to(dtype), SLOPE))
