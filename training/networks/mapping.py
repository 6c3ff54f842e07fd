"""Mapping networks: latent codes and cameras to intermediate latents (PV3D section 3.2, after StyleGAN2)."""

import torch
from torch import nn

from training.networks.layers import FullyConnectedLayer, normalize_2nd_moment

LR_MULTIPLIER = 0.01  # of the fully connected layers behind the embeddings


class MappingTrunk(nn.Module):
    """Embeds a condition, concatenates it to codes, and applies `layers` leaky-ReLU layers `fc0`, `fc1`, ..."""

    def __init__(self, code_dim: int, condition_dim: int, out_dim: int, layers: int):
        super().__init__()
        self.embed = FullyConnectedLayer(condition_dim, out_dim)
        self.layers = layers
        widths = [code_dim + out_dim] + [out_dim] * layers
        for i in range(layers):
            layer = FullyConnectedLayer(widths[i], widths[i + 1], activation="lrelu", lr_multiplier=LR_MULTIPLIER)
            self.add_module(f"fc{i}", layer)

    def trunk(self, *codes: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """codes [N, ...] (normalised here) and condition [N, condition_dim] -> [N, out_dim]."""
        dtype = self.embed.weight.dtype
        parts = [normalize_2nd_moment(code.to(dtype)) for code in codes]
        parts.append(normalize_2nd_moment(self.embed(condition.to(dtype))))
        x = torch.cat(parts, dim=1)
        for i in range(self.layers):
            x = getattr(self, f"fc{i}")(x)
        return x


class MappingNetwork(MappingTrunk):
    """(z, camera) -> w, repeated for every layer of the backbone; tracks the mean of w for truncation.

    With `motion_dim` the motion code and the time are embedded as well (the naive motion generator of T. 2).
    """

    def __init__(self, z_dim: int, camera_dim: int, w_dim: int, num_ws: int, layers: int, motion_dim: int = 0):
        super().__init__(z_dim + (w_dim if motion_dim else 0), camera_dim, w_dim, layers)
        self.num_ws = num_ws
        self.embed_motion = FullyConnectedLayer(motion_dim + 1, w_dim) if motion_dim else None
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(
        self,
        z: torch.Tensor,
        camera: torch.Tensor,
        motion: torch.Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> torch.Tensor:
        """Intermediate latents [N, num_ws, w_dim].

        Args:
            z: [N, z_dim]; camera: [N, 25]; motion: [N, motion_dim + 1], naive motion only.
            truncation_psi: 1 leaves w, 0 gives the mean; acts on the first `truncation_cutoff` rows (None: all).
        """
        codes = [z] if self.embed_motion is None else [z, self.embed_motion(motion)]
        ws = self.trunk(*codes, condition=camera).unsqueeze(1).repeat(1, self.num_ws, 1)
        if truncation_psi != 1:
            rows = slice(0, self.num_ws if truncation_cutoff is None else truncation_cutoff)
            ws[:, rows] = self.w_avg.lerp(ws[:, rows], truncation_psi)
        return ws

    @torch.no_grad()
    def update_w_avg(self, ws: torch.Tensor, beta: float) -> None:
        """w_avg <- beta w_avg + (1 - beta) times the mean of a batch of latents [N, num_ws, w_dim]."""
        self.w_avg.copy_(ws[:, 0].mean(dim=0).lerp(self.w_avg, beta))


class CameraMapping(MappingTrunk):
    """Camera label(s) -> projection vector of a discriminator."""

    def __init__(self, condition_dim: int, out_dim: int, layers: int):
        super().__init__(0, condition_dim, out_dim, layers)

    def forward(self, camera: torch.Tensor) -> torch.Tensor:
        """camera [N, condition_dim] -> [N, out_dim]."""
        return self.trunk(condition=camera)
