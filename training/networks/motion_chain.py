"""The motion generator of MoCoGAN-HD (Tian et al., ICLR 2021): a chain of steps in the latents of a static generator.

An LSTM is started by the latent w of a clip's first frame. Each step takes noise and moves the latent along principal
components of w: w + 0.2 sum_k a_k s_k V_k with a = tanh(W h + b), of unit rows V_k and standard deviations s_k.
"""

import math

import torch
from torch import nn

STEP = 0.2  # greatest part of a component's standard deviation that one step goes
STEP_INIT = 0.02  # standard deviation of W's first values
WHOLE = 1e-4  # steps: a time so near to one is that one

State = tuple[torch.Tensor, torch.Tensor]  # of the LSTM: hidden and cell, [N, hidden] each


class MotionChain(nn.Module):
    """Offsets of a clip's latents from its first one, over time.

    The motion code is the noise of the first `steps` steps, one after the other. Further steps take it again, each time
    shifted by one more number. Time 1 is `steps` steps away.

    Args:
        w_dim: of latents, and of the noise of a step.
        hidden: width of the LSTM, and how many principal components are moved along.
        steps: of a trained clip, one less than it has frames.
    """

    components: torch.Tensor  # [w_dim, w_dim], rows are unit vectors, greatest deviation first
    deviations: torch.Tensor  # [w_dim]

    def __init__(self, w_dim: int, hidden: int, steps: int):
        super().__init__()
        self.steps = steps
        self.encoder = nn.LSTMCell(w_dim, hidden)
        self.cell = nn.LSTMCell(w_dim, hidden)
        self.step = nn.Linear(hidden, hidden)
        # Guesses the noise of a step: so motions must differ where noise does.
        self.guess = nn.Sequential(nn.Linear(2 * hidden, w_dim), nn.ReLU(), nn.Linear(w_dim, w_dim))
        # Until they are set, nothing moves.
        self.register_buffer("components", torch.zeros(w_dim, w_dim))
        self.register_buffer("deviations", torch.zeros(w_dim))
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        for cell in (self.encoder, self.cell):
            cell.weight_ih.copy_(_orthogonal(*cell.weight_ih.shape))
            cell.weight_hh.copy_(_orthogonal(*cell.weight_hh.shape))
            cell.bias_ih.zero_()
            cell.bias_hh.zero_()
        for layer in self.guess:
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(_orthogonal(*layer.weight.shape))
                layer.bias.zero_()
        self.step.weight.copy_(torch.randn(*self.step.weight.shape).mul(STEP_INIT))
        self.step.bias.zero_()

    def noise(self, z_motion: torch.Tensor, step: int) -> torch.Tensor:
        """Return the noise [N, w_dim] of a step, of motion codes z_motion [N, steps * w_dim]."""
        rounds, place = divmod(step, self.steps)
        return z_motion.unflatten(1, (self.steps, -1))[:, place].roll(rounds, dims=1)

    def advance(self, noise: torch.Tensor, state: State) -> tuple[State, torch.Tensor]:
        """Return the next state, and the step in w, [N, w_dim]."""
        state = self.cell(noise, state)
        amounts = torch.tanh(self.step(state[0]))
        moved = amounts.shape[1]
        return state, (amounts * (STEP * self.deviations[:moved])) @ self.components[:moved]

    def forward(self, w: torch.Tensor, z_motion: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return offsets [N, steps + 1, w_dim] of the frames of clips that begin at w [N, w_dim], and guessed noise.

        Returns:
            The offsets, the first of which are 0, and guesses [N, steps, w_dim] of what z_motion [N, steps * w_dim] is.
        """
        state = self.encoder(w)
        offsets = [torch.zeros_like(w)]
        guesses = []
        for step in range(self.steps):
            state, change = self.advance(self.noise(z_motion, step), state)
            offsets.append(offsets[-1] + change)
            guesses.append(self.guess(torch.cat(state, dim=1)))
        return torch.stack(offsets, dim=1), torch.stack(guesses, dim=1)

    def at(self, w: torch.Tensor, z_motion: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return the offsets [N, w_dim] at times t [N, 1] >= 0; between two steps they change evenly.

        Args:
            w, z_motion: of the clips, [N, w_dim] and [N, steps * w_dim].
        """
        dtype = self.step.weight.dtype
        place = t.to(torch.float64) * self.steps
        place = torch.where((place - place.round()).abs() < WHOLE, place.round(), place)
        state = self.encoder(w.to(dtype))
        codes = z_motion.to(dtype)
        offset = torch.zeros_like(w, dtype=dtype)
        for step in range(math.ceil(float(place.max()))):
            state, change = self.advance(self.noise(codes, step), state)
            offset = offset + (place - step).clamp(0, 1).to(dtype) * change
        return offset


def _orthogonal(rows: int, columns: int) -> torch.Tensor:
    """Draw a matrix [rows, columns] whose rows are orthonormal, or else its columns."""
    drawn = torch.randn(max(rows, columns), min(rows, columns))
    if drawn.is_meta:  # where shapes alone are asked for
        return drawn.reshape(rows, columns)
    found, triangle = torch.linalg.qr(drawn)
    found = found * triangle.diagonal().sign()  # so that all rotations are as likely
    return found if rows >= columns else found.mT
