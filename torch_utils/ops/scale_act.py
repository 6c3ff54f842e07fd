"""A scale for each image and channel, noise, bias, activation and clamp in one pass, as behind modulated convolutions.

y = clamp(gain act(x scale + noise + b)). The CUDA kernel keeps only y for its gradients: act can be inverted, which
gives x scale where the gradient is not zero. Where there is nothing but the scale, it keeps x, the result of another
layer. The gradients for scale and bias come out of the pass that makes the one for x.
"""

from ctypes import Structure, c_double, c_int32, c_int64, c_void_p
from dataclasses import dataclass

import torch

from torch_utils import custom_ops
from torch_utils.ops.activations import activation_funcs
from torch_utils.ops.bias_act import bias_act

_PACK_BYTES = 16  # of channels that a thread of the kernel loads at once
_LONGEST_RUN, _SHORTEST_RUN = 64, 4  # pixels of a thread
_ENOUGH_THREADS = 2**18  # for a large GPU: runs are shortened until there are as many
_INVERTIBLE = ("linear", "lrelu")


def scale_act(
    x: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
    act: str = "linear",
    clamp: float | None = None,
) -> torch.Tensor:
    """Scale, add noise and bias, activate, multiply by the activation's usual gain, clamp.

    Args:
        x: [N, C, H, W].
        scale: [N, C], not zero if anything else is done.
        bias: [C].
        noise: [H, W] or [N, 1, H, W].
        act: a key of `activation_funcs`.
        clamp: largest absolute value of the result, or None.

    Returns:
        Tensor like x. Differentiable in all tensors, to any order.
    """
    if act in _INVERTIBLE and _suits_kernel(x):
        spec = activation_funcs[act]
        op = _Operation(
            alpha=spec.alpha if act == "lrelu" else 1.0,
            gain=spec.gain,
            clamp=None if clamp is None else torch.tensor(clamp, dtype=x.dtype).item(),
            only_scales=bias is None and noise is None and act == "linear" and clamp is None,
        )
        return _ScaleAct.apply(x, scale, bias, noise, op)
    x = x * scale.to(x.dtype)[:, :, None, None]
    if noise is not None:
        x = x.add_(noise.to(x.dtype))
    return bias_act(x, bias, act=act, clamp=clamp, overwrite=True)


def _suits_kernel(x):
    """Return whether there is a kernel, for x in this type and layout."""
    if x.dtype == torch.float64 or not x.is_contiguous(memory_format=torch.channels_last):
        return False
    whole_packs = x.shape[1] * x.element_size() % _PACK_BYTES == 0 and x.data_ptr() % _PACK_BYTES == 0
    return whole_packs and custom_ops.library_for("scale_act", x) is not None


@dataclass(frozen=True, kw_only=True)
class _Operation:
    """What is done besides scaling and adding: slope of the leaky ReLU (1: the identity), gain, clamp."""

    alpha: float
    gain: float
    clamp: float | None
    only_scales: bool

    def gradients(self, dy, ref, scale, bias, noise):
        """Return the gradients for x, scale, bias [C] and noise [N, 1, H, W] in plain PyTorch, for more derivatives.

        ref is x if the operation only scales, else the result.
        """
        dy, ref = dy.float(), ref.float()
        spread = scale.float()[:, :, None, None]
        if self.only_scales:
            return dy * spread, (dy * ref).sum([2, 3]), None, None
        slope = torch.where(ref > 0, self.gain, self.gain * self.alpha)
        scaled = ref / slope
        if bias is not None:
            scaled = scaled - bias.float()[:, None, None]
        if noise is not None:
            scaled = scaled - noise.float()
        if self.clamp is not None:
            slope = slope * (ref.abs() < self.clamp)
        dz = dy * slope
        return dz * spread, (dz * scaled).sum([2, 3]) / scale.float(), dz.sum([0, 2, 3]), dz.sum(1, keepdim=True)


class _ScaleAct(torch.autograd.Function):
    """(x, scale, bias, noise) -> y."""

    @staticmethod
    def forward(ctx, x, scale, bias, noise, op):
        y = torch.empty_like(x)
        _launch(op, order=0, source=x, out=y, scale=scale, bias=bias, noise=noise)
        ctx.save_for_backward(x if op.only_scales else y, scale, bias, noise)
        ctx.op = op
        return y

    @staticmethod
    def backward(ctx, dy):
        ref, scale, bias, noise = ctx.saved_tensors
        if torch.is_grad_enabled():
            dx, dscale, dbias, dnoise = ctx.op.gradients(dy, ref, scale, bias, noise)
        else:
            dx, dscale, dbias, dnoise = _gradients_by_kernel(ctx.op, dy, ref, scale, bias, noise, ctx.needs_input_grad)
        dbias = None if bias is None else dbias.to(bias.dtype)
        if dnoise is not None:
            dnoise = None if noise is None else dnoise.sum_to_size(noise.shape).to(noise.dtype)
        return dx.to(ref.dtype), dscale.to(scale.dtype), dbias, dnoise, None


def _gradients_by_kernel(op, dy, ref, scale, bias, noise, wanted):
    """Return the gradients for x, scale, bias [C], and noise [N, 1, H, W] if wanted."""
    dx = torch.empty_like(ref)
    dy = dy.contiguous(memory_format=torch.channels_last)
    dy = dy if dy.data_ptr() % _PACK_BYTES == 0 else dy.clone()
    sums = _launch(op, order=1, source=dy, ref=ref, out=dx, scale=scale, bias=bias, noise=noise)
    of_dz, of_products = sums.sum(1)
    dnoise = None
    if wanted[3]:  # sums of dz over channels
        pixels = dx.permute(0, 2, 3, 1).flatten(1, 2)
        dnoise = (pixels @ scale.reciprocal().to(dx.dtype).unsqueeze(2)).reshape(len(dx), 1, *dx.shape[2:])
    return dx, of_products if op.only_scales else of_products / scale, of_dz.sum(0), dnoise


class _Params(Structure):
    """ScaleActParams of scale_act.h."""

    _fields_ = [
        ("source", c_void_p),
        ("ref", c_void_p),
        ("scale", c_void_p),
        ("bias", c_void_p),
        ("noise", c_void_p),
        ("out", c_void_p),
        ("sums", c_void_p),
        ("total", c_int64),
        ("noise_stride", c_int64),
        ("images", c_int32),
        ("pixels", c_int32),
        ("channels", c_int32),
        ("run", c_int32),
        ("order", c_int32),
        ("alpha", c_double),
        ("gain", c_double),
        ("clamp", c_double),
    ]


def _launch(op, *, order, source, out, scale, bias, noise, ref=None):
    """Run one order of the kernel; write `out`. Return sums over runs [2, runs, N, C] (order 1), else None."""
    images, channels, height, width = source.shape
    pixels = height * width
    run = _run_length(images * pixels * channels * source.element_size() // _PACK_BYTES)
    sums = None
    if order == 1:
        runs = -(-pixels // run)
        sums = torch.empty([2, runs, images, channels], dtype=torch.float32, device=source.device)
    small = {"scale": scale, "bias": bias, "noise": noise}
    full = {name: _full(tensor) for name, tensor in small.items() if tensor is not None}
    params = _Params(
        source=source.data_ptr(),
        ref=None if ref is None else ref.data_ptr(),
        out=out.data_ptr(),
        sums=None if sums is None else sums.data_ptr(),
        total=source.numel(),
        noise_stride=pixels if noise is not None and noise.numel() > pixels else 0,
        images=images,
        pixels=pixels,
        channels=channels,
        run=run,
        order=order,
        alpha=op.alpha,
        gain=op.gain,
        clamp=-1.0 if op.clamp is None else op.clamp,
        **{name: tensor.data_ptr() for name, tensor in full.items()},
    )
    library = custom_ops.library_for("scale_act", source)
    assert library is not None
    custom_ops.launch(library.pv3d_scale_act, params, source)
    return sums


def _run_length(packs):
    """Return how many pixels a thread takes, of so many packs of channels in all pixels."""
    run = _LONGEST_RUN
    while run > _SHORTEST_RUN and packs // run < _ENOUGH_THREADS:
        run //= 2
    return run


def _full(tensor):
    """Return a tensor as the kernel reads it: float32 without gaps, at an address of whole packs of channels."""
    tensor = tensor.detach().to(torch.float32).contiguous()
    return tensor if tensor.data_ptr() % (2 * _PACK_BYTES) == 0 else tensor.clone()


# --- Examination ------------------------------------------------------------------------------------------------------


def examples(device: torch.device, dtype: torch.dtype) -> list[torch.Tensor]:
    """Return values and gradients of scaling alone, and of all that can follow.

    Where rounding may decide on which side of a kink a number falls, no gradient comes in.
    """
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randint(-16, 17, shape, generator=random).to(device) / 8

    x = draw(2, 16, 6, 10).to(dtype, memory_format=torch.channels_last).requires_grad_(True)
    scale = (draw(2, 16).abs() + 0.5).requires_grad_(True)
    extras = {"bias": draw(16).requires_grad_(True), "noise": draw(2, 1, 6, 10).requires_grad_(True)}
    y = scale_act(x, scale)
    results = [y, *torch.autograd.grad(y, [x, scale], draw(*y.shape).to(y))]
    for clamp in (None, 3.3):
        y = scale_act(x, scale, act="lrelu", clamp=clamp, **extras)
        upstream = draw(*y.shape).to(y)
        for kink in (0.0, 3.3, -3.3):
            upstream[(y - kink).abs() < 1 / 8] = 0
        results += [y, *torch.autograd.grad(y, [x, scale, *extras.values()], upstream)]
    return [result.detach() for result in results]
