"""Mapping networks: latent codes and cameras to intermediate latents (PV3D section 3.2, after StyleGAN2)."""

import torch
from torch import nn

from training.networks.layers import FullyConnectedLayer, normalize_2nd_moment

LR_MULTIPLIER = 0.01  # of the fully connected layers behind the embeddings


class MappingTrunk(nn.Module):
    """An embedded condition, concatenated to codes, behind it `layers` leaky-ReLU layers `fc0`, `fc1`, ..."""

    def __init__(self, code_dim: int, condition_dim: int, out_dim: int, layers: int):
        super().__init__()
        self.embed = FullyConnectedLayer(condition_dim, out_dim)
        self.layers = layers
        in_dim = code_dim + out_dim
        for i in range(layers):
            layer = FullyConnectedLayer(in_dim, out_dim, activation="lrelu", lr_multiplier=LR_MULTIPLIER)
            self.add_module(f"fc{i}", layer)
            in_dim = out_dim

    def trunk(self, *codes: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Map codes [N, ...] (normalised here) and condition [N, condition_dim] -> [N, out_dim]."""
        dtype = self.embed.weight.dtype
        parts = [code.to(dtype) for code in codes]
        parts.append(self.embed(condition.to(dtype)))
        x = torch.cat([normalize_2nd_moment(part) for part in parts], dim=1)
        for i in range(self.layers):
            x = getattr(self, f"fc{i}")(x)
        return x


class MappingNetwork(MappingTrunk):
    """(z, camera) -> w, repeated for every layer of the backbone. The mean of w is tracked for truncation.

    With `motion_dim` the motion code and the time are embedded as well (the naive motion generator of T. 2).
    """

    w_avg: torch.Tensor

    def __init__(
        self,
        *,
        z_dim: int,
        camera_dim: int,
        w_dim: int,
        num_ws: int,
        layers: int,
        motion_dim: int = 0,
    ):
        code_dim = z_dim + w_dim if motion_dim else z_dim
        super().__init__(code_dim, camera_dim, w_dim, layers)
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
        """Return intermediate latents [N, num_ws, w_dim].

        Args:
            z: [N, z_dim].
            camera: [N, 25].
            motion: [N, motion_dim + 1], naive motion only.
            truncation_psi: 1 leaves w, 0 gives the mean.
            truncation_cutoff: how many rows, from the first, are truncated; None: all.
        """
        codes = [z]
        if self.embed_motion is not None:
            codes.append(self.embed_motion(motion))
        ws = self.trunk(*codes, condition=camera).unsqueeze(1).repeat(1, self.num_ws, 1)
        return self.truncated(ws, truncation_psi, truncation_cutoff)

    def truncated(self, ws: torch.Tensor, psi: float, cutoff: int | None = None) -> torch.Tensor:
        """Return latents [..., num_ws, w_dim] moved towards the mean, as `forward` says; at psi = 1 the same tensor."""
        if psi == 1:
            return ws
        ws = ws.clone()
        rows = (..., slice(cutoff), slice(None))
        ws[rows] = self.w_avg.lerp(ws[rows], psi)
        return ws

    @torch.no_grad()
    def update_w_avg(self, ws: torch.Tensor, beta: float) -> None:
        """Set w_avg to beta w_avg + (1 - beta) times the mean of a batch of latents [N, num_ws, w_dim]."""
        mean = ws[:, 0].mean(dim=0)
        self.w_avg.copy_(mean.lerp(self.w_avg, beta))


class CameraMapping(MappingTrunk):
    """One or more camera labels -> projection vector of a discriminator."""

    def __init__(self, condition_dim: int, out_dim: int, layers: int):
        super().__init__(0, condition_dim, out_dim, layers)

    def forward(self, camera: torch.Tensor) -> torch.Tensor:
        """camera [N, condition_dim] -> [N, out_dim]."""
        return self.trunk(condition=camera)
