"""Bias, activation, gain and clamp in one operation, differentiable to any order.

y = clamp(gain * act(x + b), -clamp, clamp). Derivatives need one saved tensor, the reference r: the output y where the
slope can be had from it (it is then usually kept anyway, as the next layer's input), the input x for 'swish'. The first
derivative is a function of (dy, r) in its own right; its derivative with respect to r is the second order. From there
automatic differentiation carries on.
"""

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from torch_utils import custom_ops

_SQRT2 = math.sqrt(2)
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017
_SOFTPLUS_LIMIT = 20  # softplus is the identity above it, as in torch


@dataclass(frozen=True)
class Activation:
    """One activation and its derivatives.

    `func(z, alpha)` acts on z = x + b. `slope(r, alpha)` is its derivative as a function of the reference, r = func(z)
    or, if `from_input`, r = z; `curve(r)` is the derivative of `slope` with respect to r, None where that is zero.
    `alpha` and `gain` apply when the caller names none; `code` is the number of the activation in the CUDA kernel.
    """

    code: int
    func: Callable[[torch.Tensor, float], torch.Tensor]
    slope: Callable[[torch.Tensor, float], torch.Tensor]
    curve: Callable[[torch.Tensor], torch.Tensor] | None = None
    alpha: float = 0.0
    gain: float = 1.0
    from_input: bool = False


def _step(r, below):
    """1 above zero, else `below`."""
    return torch.where(r > 0, torch.ones_like(r), below)


def _swish_slope(z, alpha):
    s = torch.sigmoid(z)
    return s * (1 + z * (1 - s))


def _swish_curve(z):
    s = torch.sigmoid(z)
    return s * (1 - s) * (2 + z * (1 - 2 * s))


_selu_floor = _SELU_SCALE * _SELU_ALPHA
activation_funcs: dict[str, Activation] = {
    "linear": Activation(0, lambda z, a: z, lambda r, a: torch.ones_like(r)),
    "relu": Activation(1, lambda z, a: F.relu(z), lambda r, a: _step(r, 0 * r), gain=_SQRT2),
    "lrelu": Activation(2, F.leaky_relu, lambda r, a: _step(r, torch.full_like(r, a)), alpha=0.2, gain=_SQRT2),
    "tanh": Activation(3, lambda z, a: torch.tanh(z), lambda r, a: 1 - r * r, lambda r: -2 * r),
    "sigmoid": Activation(4, lambda z, a: torch.sigmoid(z), lambda r, a: r * (1 - r), lambda r: 1 - 2 * r),
    "elu": Activation(5, lambda z, a: F.elu(z), lambda r, a: _step(r, r + 1), lambda r: (r <= 0).to(r.dtype)),
    "selu": Activation(
        6,
        lambda z, a: F.selu(z),
        lambda r, a: torch.where(r > 0, torch.full_like(r, _SELU_SCALE), r + _selu_floor),
        lambda r: (r <= 0).to(r.dtype),
    ),
    "softplus": Activation(
        7,
        lambda z, a: F.softplus(z),
        lambda r, a: torch.where(r > _SOFTPLUS_LIMIT, torch.ones_like(r), -torch.expm1(-r)),
        lambda r: torch.exp(-r) * (r <= _SOFTPLUS_LIMIT),
    ),
    "swish": Activation(8, lambda z, a: z * torch.sigmoid(z), _swish_slope, _swish_curve, gain=_SQRT2, from_input=True),
}


def bias_act(
    x: torch.Tensor,
    b: torch.Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    overwrite: bool = False,
) -> torch.Tensor:
    """Add a bias, activate, multiply by `gain`, clamp.

    Args:
        x: any shape and float type; memory format is kept.
        b: bias [x.shape[dim]], or None.
        act: a key of `activation_funcs`.
        alpha: slope of 'lrelu' below zero, not negative (default 0.2); no other activation uses it.
        gain: positive factor after the activation; default sqrt(2) for relu, lrelu and swish, else 1.
        clamp: largest absolute value of the result, or None.
        overwrite: the caller needs x no more: its memory may hold the result where no gradient is recorded. On a CPU,
            memory that is new costs several times the arithmetic.

    Returns:
        Tensor like x (x itself where there is nothing to do).

    Raises:
        ValueError: unknown activation, bias of the wrong shape, or alpha, gain or clamp out of range.
    """
    if act not in activation_funcs:
        raise ValueError(f"unknown activation {act!r}; known are {', '.join(activation_funcs)}")
    if b is not None and (b.ndim != 1 or b.shape[0] != x.shape[dim]):
        raise ValueError(f"bias of shape {list(b.shape)} for axis {dim} of {list(x.shape)}")
    spec = activation_funcs[act]
    if clamp is not None:  # as the output can hold it: there the gradient ends
        clamp = torch.tensor(clamp, dtype=x.dtype).item()
    op = _Operation(
        act,
        dim % x.ndim,
        spec.alpha if alpha is None else float(alpha),
        spec.gain if gain is None else float(gain),
        clamp,
    )
    if op.gain <= 0 or op.alpha < 0 or (op.clamp is not None and op.clamp < 0):
        raise ValueError(f"bias_act needs gain > 0, alpha >= 0 and clamp >= 0, not {gain}, {alpha} and {clamp}")
    if b is None and op == _Operation("linear", op.dim, op.alpha, 1.0, None):
        return x
    b = None if b is None else b.to(x.dtype)
    if overwrite and not (torch.is_grad_enabled() and (x.requires_grad or (b is not None and b.requires_grad))):
        return op.value(x, b, out=x)
    return _BiasAct.apply(x, b, op)


@dataclass(frozen=True)
class _Operation:
    """The settings of one call, and its derivatives of order 0, 1 and 2 as plain PyTorch or as the CUDA kernel."""

    act: str
    dim: int
    alpha: float
    gain: float
    clamp: float | None

    @property
    def spec(self) -> Activation:
        return activation_funcs[self.act]

    def value(self, x, b, out=None):
        """Order 0: y, in `out` if given and possible."""
        library = custom_ops.library_for("bias_act", x)
        if library:
            return _launch(library, self, 0, x, bias=b)
        if self.act in ("linear", "relu", "lrelu"):  # they commute with the gain: one pass less
            if b is None:
                y = torch.mul(x, self.gain, out=out)
            else:
                y = torch.add(self._spread(b * self.gain, x), x, alpha=self.gain, out=out)
            if self.act != "linear":
                y = F.relu_(y) if self.act == "relu" else F.leaky_relu_(y, self.alpha)
        else:
            y = self.spec.func(x if b is None else x + self._spread(b, x), self.alpha)
            y = y if self.gain == 1 else y.mul_(self.gain)
        return y if self.clamp is None else y.clamp_(-self.clamp, self.clamp)

    def first(self, dy, ref, b):
        """Order 1: dx, where ref is what the forward pass saved."""
        if ref is None:
            return dy * self.gain
        library = custom_ops.library_for("bias_act", ref)
        if library:
            return _launch(library, self, 1, dy, ref=ref, bias=b)
        if self.act in ("relu", "lrelu"):
            dx = torch.ops.aten.leaky_relu_backward(dy, ref, self.alpha if self.act == "lrelu" else 0.0, True)
            dx = dx.mul_(self.gain)
        elif self.act == "linear":
            dx = dy * self.gain
        else:
            dx = self.spec.slope(self._argument(ref, b), self.alpha).mul_(dy).mul_(self.gain)
        if self.clamp is None:
            return dx
        if self.spec.from_input:
            return dx.mul_(self._inside(ref, b))
        return torch.ops.aten.hardtanh_backward(dx, ref, -self.clamp, self.clamp)  # one pass

    def second(self, dy, ddx, ref, b):
        """Order 2: the gradient of sum(dx ddx) for ref."""
        library = custom_ops.library_for("bias_act", ref)
        if library and not torch.is_grad_enabled():  # otherwise its derivative is wanted
            return _launch(library, self, 2, dy, ref=ref, bias=b, other=ddx)
        curve = self.spec.curve(self._argument(ref, b)) * dy * ddx
        curve = curve * self.gain if self.spec.from_input else curve  # r = y / gain otherwise: the gains cancel
        return curve if self.clamp is None else curve * self._inside(ref, b)

    def bias_gradient(self, dx):
        return dx.sum([i for i in range(dx.ndim) if i != self.dim])

    def _argument(self, ref, b):
        """r, the argument of slope and curve."""
        if not self.spec.from_input:
            return ref / self.gain
        return ref if b is None else ref + self._spread(b, ref)

    def _inside(self, ref, b):
        """1 where the clamp did not act, else 0."""
        y = self.spec.func(self._argument(ref, b), self.alpha) * self.gain if self.spec.from_input else ref
        return (y.abs() < self.clamp).to(ref.dtype)

    def _spread(self, b, x):
        return b.reshape([-1 if i == self.dim else 1 for i in range(x.ndim)])


class _BiasAct(torch.autograd.Function):
    """(x, b) -> y."""

    @staticmethod
    def forward(ctx, x, b, op):
        y = op.value(x, b)
        ref = x if op.spec.from_input else y
        needless = op.act == "linear" and op.clamp is None
        ctx.save_for_backward(None if needless else ref, b if op.spec.from_input else None)
        ctx.op, ctx.has_bias = op, b is not None
        return y

    @staticmethod
    def backward(ctx, dy):
        plain = ctx.saved_tensors[0] is None and ctx.op.gain == 1
        dx = dy if plain else _Slope.apply(dy, *ctx.saved_tensors, ctx.op)
        db = ctx.op.bias_gradient(dx) if ctx.has_bias and ctx.needs_input_grad[1] else None
        return dx, db, None


class _Slope(torch.autograd.Function):
    """(dy, ref, b) -> dx. Linear in dy; b is there only if ref is the input."""

    @staticmethod
    def forward(ctx, dy, ref, b, op):
        ctx.save_for_backward(dy if op.spec.curve else None, ref, b)
        ctx.op = op
        return op.first(dy, ref, b)

    @staticmethod
    def backward(ctx, ddx):
        dy, ref, b = ctx.saved_tensors
        ddy = _Slope.apply(ddx, ref, b, ctx.op) if ctx.needs_input_grad[0] else None
        dref = db = None
        if ctx.op.spec.curve and (ctx.needs_input_grad[1] or ctx.needs_input_grad[2]):
            dref = ctx.op.second(dy, ddx, ref, b)
            db = ctx.op.bias_gradient(dref) if b is not None else None
        return ddy, dref, db, None


# --- CUDA kernel -----------------------------------------------------------------------------------------------------


class _Params(ctypes.Structure):
    """BiasActParams of bias_act.h."""

    _fields_ = (
        [(name, ctypes.c_void_p) for name in ("a", "bias", "ref", "other", "out")]
        + [(name, ctypes.c_int64) for name in ("total", "bias_stride", "bias_size")]
        + [(name, ctypes.c_int32) for name in ("order", "act")]
        + [(name, ctypes.c_double) for name in ("alpha", "gain", "clamp")]
    )


def _launch(library, op, order, a, ref=None, bias=None, other=None):
    """One order of the kernel. Every tensor is brought to the layout of ref, or of a."""
    layout = _dense(a if ref is None else ref)
    a, ref, other = (t if t is None else _like(t, layout) for t in (a, ref, other))
    bias = None if bias is None else bias.contiguous()
    out = torch.empty_like(layout)
    per_channel = bias is not None and len(bias) > 1  # else the axis may have any stride, even 0
    step, channels = (layout.stride(op.dim), len(bias)) if per_channel else (1, 1)
    params = _Params(
        *(None if t is None else t.data_ptr() for t in (a, bias, ref, other, out)),
        out.numel(),
        step,
        channels,
        order,
        op.spec.code,
        op.alpha,
        op.gain,
        -1.0 if op.clamp is None else op.clamp,
    )
    custom_ops.launch(library.pv3d_bias_act, params, out)
    return out


def _dense(x):
    """x without gaps or overlaps in memory: channels-last or contiguous."""
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x
    return x.contiguous()


def _like(x, layout):
    """x with the strides of `layout`."""
    return x if x.stride() == layout.stride() else torch.empty_like(layout).copy_(x)
