"""Bias, activation, gain and clamp in one operation, differentiable to any order.

y = clamp(gain * act(x + b), -clamp, clamp). Derivatives need one saved tensor, the reference r: the output y where the
slope can be had from it (it is then usually kept anyway, as the next layer's input), the input x for 'swish'. The first
derivative is a function of (dy, r) in its own right; its derivative with respect to r is the second order. From there
automatic differentiation carries on.
"""

from ctypes import Structure, c_double, c_int32, c_int64, c_void_p
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from torch_utils import custom_ops
from torch_utils.ops.activations import Activation, activation_funcs
from torch_utils.ops.bands import image_bands

_GAIN_COMMUTES = ("linear", "relu", "lrelu")  # gain * act(z) = act(gain * z)


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
        overwrite: the caller needs x no more: its memory may hold the result. On a CPU, memory that is new costs
            several times the arithmetic.

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
        act=act,
        dim=dim % x.ndim,
        alpha=spec.alpha if alpha is None else float(alpha),
        gain=spec.gain if gain is None else float(gain),
        clamp=clamp,
    )
    if op.gain <= 0 or op.alpha < 0 or (clamp is not None and clamp < 0):
        raise ValueError(f"bias_act needs gain > 0, alpha >= 0 and clamp >= 0, not {gain}, {alpha} and {clamp}")
    if b is not None:
        b = b.to(x.dtype)
    elif act == "linear" and op.gain == 1 and clamp is None:
        return x
    has_gradient = x.requires_grad or (b is not None and b.requires_grad)
    if overwrite and not (has_gradient and torch.is_grad_enabled()):
        return op.value(x, b, out=x)
    can_overwrite = act in _GAIN_COMMUTES and not custom_ops.library_for("bias_act", x)
    is_result = not (x.is_leaf or x._is_view())  # autograd lets nothing else be overwritten
    return _BiasAct.apply(x, b, op, overwrite and can_overwrite and is_result)


@dataclass(frozen=True, kw_only=True)
class _Operation:
    """The settings of one call, and its derivatives of order 0, 1 and 2 as plain PyTorch or as the CUDA kernel.

    The reference `ref` is what the forward pass saved; the bias b comes with it only if it is the input.
    """

    act: str
    dim: int
    alpha: float
    gain: float
    clamp: float | None

    @property
    def spec(self) -> Activation:
        return activation_funcs[self.act]

    def value(self, x, b, out=None):
        """Return y (order 0), in `out` if given and possible."""
        library = custom_ops.library_for("bias_act", x)
        if library:
            return _launch(library, self, order=0, a=x, bias=b)
        if self.act in _GAIN_COMMUTES and self.dim == 1:
            y = torch.empty_like(x) if out is None else out
            for part, result in image_bands(x, y):
                self._clamp(self._activate_scaled(part, b, result))
            return y
        if self.act in _GAIN_COMMUTES:
            return self._clamp(self._activate_scaled(x, b, out))
        z = x if b is None else x + self._spread(b, x)
        y = self.spec.func(z, self.alpha)
        if self.gain != 1:
            y.mul_(self.gain)
        return self._clamp(y)

    def _clamp(self, y):
        """Clamp y in place."""
        return y if self.clamp is None else y.clamp_(-self.clamp, self.clamp)

    def _activate_scaled(self, x, b, out):
        """Return act(gain * (x + b)), which equals gain * act(x + b) and takes one pass over memory less."""
        if b is None:
            y = torch.mul(x, self.gain, out=out)
        else:
            y = torch.add(self._spread(b * self.gain, x), x, alpha=self.gain, out=out)
        if self.act == "relu":
            return F.relu_(y)
        if self.act == "lrelu":
            return F.leaky_relu_(y, self.alpha)
        return y

    def first(self, dy, ref, b):
        """Return dx (order 1)."""
        if ref is None:
            return dy * self.gain
        library = custom_ops.library_for("bias_act", ref)
        if library:
            return _launch(library, self, order=1, a=dy, ref=ref, bias=b)
        if self.act in _GAIN_COMMUTES:
            dx = torch.empty_like(ref)
            dy = _like(dy, ref)
            for parts in image_bands(dy, ref, dx):
                self._first_from_output(*parts)
            return dx
        slope = self.spec.slope(self._argument(ref, b), self.alpha)
        dx = slope.mul_(dy).mul_(self.gain)
        if self.clamp is None:
            return dx
        if self.spec.from_input:
            return dx.mul_(self._inside(ref, b))
        return torch.ops.aten.hardtanh_backward(dx, ref, -self.clamp, self.clamp)  # one pass

    def _first_from_output(self, dy, ref, dx):
        """Write the first derivative of an activation that is linear on either side of 0 to dx."""
        if self.act == "linear":
            torch.mul(dy, self.gain, out=dx)
        else:
            below = self.alpha if self.act == "lrelu" else 0.0
            torch.ops.aten.leaky_relu_backward(dy, ref, below, True, grad_input=dx)
            dx.mul_(self.gain)
        if self.clamp is not None:
            torch.ops.aten.hardtanh_backward(dx, ref, -self.clamp, self.clamp, grad_input=dx)

    def second(self, dy, ddx, ref, b):
        """Return the gradient of sum(dx ddx) for ref (order 2)."""
        library = custom_ops.library_for("bias_act", ref)
        if library and not torch.is_grad_enabled():  # otherwise its derivative is wanted
            return _launch(library, self, order=2, a=dy, ref=ref, bias=b, other=ddx)
        curve = self.spec.curve
        assert curve is not None
        gradient = curve(self._argument(ref, b)) * dy * ddx
        if self.spec.from_input:  # r = y / gain otherwise: the gains cancel
            gradient = gradient * self.gain
        if self.clamp is not None:
            gradient = gradient * self._inside(ref, b)
        return gradient

    def bias_gradient(self, dx):
        return dx.sum([axis for axis in range(dx.ndim) if axis != self.dim])

    def _argument(self, ref, b):
        """Return r, the argument of slope and curve."""
        if not self.spec.from_input:
            return ref / self.gain
        return ref if b is None else ref + self._spread(b, ref)

    def _inside(self, ref, b):
        """Return 1 where the clamp did not act, else 0."""
        assert self.clamp is not None
        y = ref
        if self.spec.from_input:
            y = self.spec.func(self._argument(ref, b), self.alpha) * self.gain
        return (y.abs() < self.clamp).to(ref.dtype)

    def _spread(self, b, x):
        """Return the bias b in a shape that broadcasts over x."""
        shape = [1] * x.ndim
        shape[self.dim] = -1
        return b.reshape(shape)


class _BiasAct(torch.autograd.Function):
    """(x, b) -> y, which takes the memory of x if `overwrite`."""

    @staticmethod
    def forward(ctx, x, b, op, overwrite):
        y = op.value(x, b, out=x if overwrite else None)
        if overwrite:
            ctx.mark_dirty(x)
        ref = x if op.spec.from_input else y
        if op.act == "linear" and op.clamp is None:
            ref = None  # the slope is the gain
        ctx.save_for_backward(ref, b if op.spec.from_input else None)
        ctx.op = op
        return y

    @staticmethod
    def backward(ctx, dy):
        ref, b = ctx.saved_tensors
        dx = dy
        if ref is not None or ctx.op.gain != 1:
            dx = _Slope.apply(dy, ref, b, ctx.op)
        db = None
        if ctx.needs_input_grad[1]:
            db = ctx.op.bias_gradient(dx)
        return dx, db, None, None


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
        wants_dy, wants_ref, wants_b, _ = ctx.needs_input_grad
        ddy = dref = db = None
        if wants_dy:
            ddy = _Slope.apply(ddx, ref, b, ctx.op)
        if ctx.op.spec.curve and (wants_ref or wants_b):
            dref = ctx.op.second(dy, ddx, ref, b)
            if b is not None:
                db = ctx.op.bias_gradient(dref)
        return ddy, dref, db, None


# --- CUDA kernel -----------------------------------------------------------------------------------------------------


class _Params(Structure):
    """BiasActParams of bias_act.h."""

    _fields_ = [
        ("a", c_void_p),
        ("bias", c_void_p),
        ("ref", c_void_p),
        ("other", c_void_p),
        ("out", c_void_p),
        ("total", c_int64),
        ("bias_stride", c_int64),
        ("bias_size", c_int64),
        ("order", c_int32),
        ("act", c_int32),
        ("alpha", c_double),
        ("gain", c_double),
        ("clamp", c_double),
    ]


def _launch(library, op, *, order, a, ref=None, bias=None, other=None):
    """Run one order of the kernel. Every tensor is brought to the layout of ref, or of a."""
    layout = _dense(a if ref is None else ref)
    out = torch.empty_like(layout)
    inputs = {"a": a, "ref": ref, "other": other}
    dense = {name: _like(tensor, layout) for name, tensor in inputs.items() if tensor is not None}
    params = _Params(
        **{name: tensor.data_ptr() for name, tensor in dense.items()},
        out=out.data_ptr(),
        total=out.numel(),
        bias_stride=1,
        bias_size=1,
        order=order,
        act=op.spec.code,
        alpha=op.alpha,
        gain=op.gain,
        clamp=-1.0 if op.clamp is None else op.clamp,
    )
    if bias is not None:
        bias = bias.contiguous()
        params.bias = bias.data_ptr()
        if len(bias) > 1:  # the axis of a single number may have any stride, even 0
            params.bias_stride = layout.stride(op.dim)
            params.bias_size = len(bias)
    custom_ops.launch(library.pv3d_bias_act, params, out)
    return out


def _dense(x):
    """Return x without gaps or overlaps in memory: channels-last or contiguous."""
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x
    return x.contiguous()


def _like(x, layout):
    """Return x with the strides of `layout`."""
    if x.stride() == layout.stride():
        return x
    return torch.empty_like(layout).copy_(x)


# --- Examination ------------------------------------------------------------------------------------------------------


def examples(device: torch.device, dtype: torch.dtype) -> list[torch.Tensor]:
    """Return values and derivatives of the first and second order, from inputs that every data type holds exactly.

    Sums of input and bias stay away from kinks. The layouts are those that the kernel distinguishes: many elements at a
    time that share a bias, or have one each, and single elements.
    """
    random = torch.Generator().manual_seed(0)
    results = []
    for height, layout in ((8, torch.contiguous_format), (8, torch.channels_last), (7, torch.contiguous_format)):
        shape = (2, 8, height, 9)

        def draw(*shape: int, layout: torch.memory_format = layout) -> torch.Tensor:
            eighths = torch.randint(-16, 17, shape, generator=random) / 8
            return eighths.to(device, dtype, memory_format=layout if len(shape) == 4 else torch.preserve_format)

        for act in ("linear", "lrelu", "swish"):
            x = (draw(*shape) + 1 / 16).requires_grad_(True)
            bias = draw(8).requires_grad_(True)
            upstream = draw(*shape).requires_grad_(True)
            y = bias_act(x, bias, act=act, clamp=None if act == "swish" else 2.2)
            first = torch.autograd.grad(y, [x, bias], upstream, create_graph=True)
            wanted = [x, upstream] if act == "swish" else [upstream]
            second = torch.autograd.grad(first[0], wanted, draw(*shape))
            results += [y, *first, *second]
    return [result.detach() for result in results]
