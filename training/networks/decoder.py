"""The decoder: mean plane features at a point to density and colour features."""

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

from torch_utils.ops.half_products import HALF, half_product
from training.networks.layers import FullyConnectedLayer
from training.rendering.marching import widened

SOFTPLUS = (1.0, 20.0)  # beta, and from where on it is linear: torch's defaults
ALIGNED = 8  # columns of a matrix in half precision: a GPU's tensor cores want rows of a multiple of 16 bytes


class Decoder(nn.Module):
    """An MLP: features -> hidden (softplus) -> 1 density + `colours` colour features.

    What goes into the softplus may be shifted, which is how the motion of 3DVidGen enters.
    """

    def __init__(self, features: int, hidden: int, colours: int):
        super().__init__()
        self.net = nn.Sequential(
            FullyConnectedLayer(features, hidden),
            nn.Softplus(),
            FullyConnectedLayer(hidden, 1 + colours),
        )

    def forward(self, x: torch.Tensor, shift: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """x [..., features] -> raw density [...], colours [..., C] in (-0.001, 1.001).

        With a shift [N, hidden], one for all points of a frame, x is [N, M, features].

        Features in half precision are decoded in it, to a density in float32 and colours in half precision and in
        (0, 1): their sums are still to be `widened`. There are first derivatives alone then.
        """
        if x.dtype in HALF:
            return self._decode_half(x, shift)
        hidden, softplus_layer, last = self.net
        x = hidden(x)
        if shift is not None:
            x = x + shift.unsqueeze(1)
        x = last(softplus_layer(x))
        density = x[..., 0]
        colours = torch.sigmoid(x[..., 1:])
        return density, widened(colours)

    def _decode_half(self, x: torch.Tensor, shift: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        layers = [layer for layer in self.net if isinstance(layer, FullyConnectedLayer)]
        parameters = [tensor for layer in layers for tensor in layer.scaled(torch.float32)]
        density, colours = _HalfDecoder.apply(x.flatten(0, -2), shift, *parameters)
        return density.unflatten(0, x.shape[:-1]), colours.unflatten(0, x.shape[:-1])


class _HalfDecoder(torch.autograd.Function):
    """Features [M, F] in half precision; hidden and last layer in float32 -> density [M] in float32, colours [M, C].

    A shift [N, hidden] in float32 is added to what M / N neighbouring points each put into the softplus.

    Memory traffic is all that so small an MLP costs. So of the hidden layer only what goes into the softplus is kept,
    and all gradients of the last layer's outputs are written into one matrix.
    """

    @staticmethod
    def forward(ctx, x, shift, hidden_weight, hidden_bias, weight, bias):
        dtype = x.dtype
        hidden_weight = hidden_weight.to(dtype)
        weight = weight.to(dtype)
        if shift is None:
            hidden = torch.addmm(hidden_bias.to(dtype), x, hidden_weight.t())
        else:
            frames = x.unflatten(0, (len(shift), -1))
            biases = (hidden_bias + shift).to(dtype).unsqueeze(1)
            hidden = torch.baddbmm(biases, frames, hidden_weight.t().expand(len(shift), -1, -1)).flatten(0, 1)
        # Rounded outputs would turn the gradients noticeably.
        out = half_product(softplus(hidden, *SOFTPLUS), weight.t()).add_(bias)
        colours = torch.sigmoid(out[:, 1:], out=x.new_empty(len(x), len(bias) - 1))
        ctx.save_for_backward(x, hidden, colours, hidden_weight, weight)
        ctx.frames = None if shift is None else len(shift)
        ctx.set_materialize_grads(False)
        return out[:, 0].clone(), colours

    @staticmethod
    @once_differentiable
    def backward(ctx, ddensity, dcolours):
        x, hidden, colours, hidden_weight, weight = ctx.saved_tensors
        outputs = len(weight)
        dout = _output_gradient(ddensity, dcolours, colours)
        dhidden = dout @ _colours_first(weight)
        dhidden = torch.ops.aten.softplus_backward(dhidden, hidden, *SOFTPLUS)
        dx = dhidden @ hidden_weight if ctx.needs_input_grad[0] else None
        dshift = None
        if ctx.needs_input_grad[1]:
            dshift = dhidden.unflatten(0, (ctx.frames, -1)).sum(dim=1, dtype=torch.float32)
        if not any(ctx.needs_input_grad[2:]):
            return dx, dshift, None, None, None, None
        dweight = (dout.t() @ softplus(hidden, *SOFTPLUS))[:outputs].float().roll(1, dims=0)
        dbias = dout.sum(dim=0, dtype=torch.float32)[:outputs].roll(1)
        dhidden_weight = (dhidden.t() @ x).float()
        return dx, dshift, dhidden_weight, dhidden.sum(dim=0, dtype=torch.float32), dweight, dbias


def _output_gradient(
    ddensity: torch.Tensor | None, dcolours: torch.Tensor | None, colours: torch.Tensor
) -> torch.Tensor:
    """Return the gradient for the last layer's outputs, [M, C + 1 and some zeros], the colours' first."""
    points, channels = colours.shape
    dout = colours.new_empty(points, channels + ALIGNED)
    dout[:, channels:].zero_()
    if ddensity is not None:
        dout[:, channels] = ddensity
    if dcolours is None:
        dout[:, :channels].zero_()
    else:
        torch.ops.aten.sigmoid_backward.grad_input(dcolours, colours, grad_input=dout[:, :channels])
    return dout


def _colours_first(weight: torch.Tensor) -> torch.Tensor:
    """Return the last layer's weight as `_output_gradient` orders its outputs."""
    return nn.functional.pad(weight.roll(-1, dims=0), (0, 0, 0, ALIGNED - 1))
