"""The layers that every network is made of: equalised linear and convolutional layers, modulated convolution, to-RGB.

Shapes: N samples (frames), C channels, H x W pixels, w_dim style features. Parameter names are those of the public
StyleGAN2 / EG3D / PV3D checkpoints.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from torch_utils.ops.activations import activation_funcs
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.conv2d_resample import conv2d_resample
from torch_utils.ops.scale_act import scale_act
from torch_utils.ops.upfirdn2d import setup_filter
from torch_utils.random_numbers import Random, normal

RESAMPLE_TAPS = (1, 3, 3, 1)  # StyleGAN2's up- and downsampling filter
EPS = 1e-8  # under every root of this file
WORTH_A_CALL = 2**20  # activations below which a convolution per sample costs more than it saves


def normalize_2nd_moment(x: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """Return x scaled so that the mean of its squares over `dim` is 1."""
    mean_square = x.square().mean(dim=dim, keepdim=True)
    return x * (mean_square + EPS).rsqrt()


# --- Plain layers ----------------------------------------------------------------------------------------------------


class FullyConnectedLayer(nn.Module):
    """Linear layer with equalised learning rate: weight * lr / sqrt(in), bias * lr.

    Args:
        lr_multiplier: factor on the layer's learning rate; the weight is stored divided by it.
        bias_init: initial value of the bias as the layer uses it.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: str = "linear",
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ):
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full([out_features], bias_init / lr_multiplier))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier

    def scaled(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weight [out, in] and bias [out] with their gains applied."""
        weight = self.weight * self.weight_gain
        bias = self.bias if self.bias_gain == 1 else self.bias * self.bias_gain
        return weight.to(dtype), bias.to(dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., in] -> [..., out]."""
        weight, bias = self.scaled(x.dtype)
        if self.activation == "linear":
            return nn.functional.linear(x, weight, bias)
        return bias_act(nn.functional.linear(x, weight), bias, dim=-1, act=self.activation)


class Conv2dLayer(nn.Module):
    """Equalised convolution with optional 2x downsampling, bias, activation and clamp (discriminator layers)."""

    resample_filter: torch.Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        bias: bool = True,
        activation: str = "linear",
        down: int = 1,
        conv_clamp: float | None = None,
    ):
        super().__init__()
        self.activation = activation
        self.down = down
        self.conv_clamp = conv_clamp
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_TAPS))
        self.padding = kernel_size // 2
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.weight_gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.act_gain = activation_funcs[activation].gain

    def forward(self, x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        """x [N, in, H, W] -> [N, out, H / down, W / down]; `gain` scales the output and the clamp."""
        weight = (self.weight * self.weight_gain).to(x.dtype)
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        x = conv2d_resample(x, weight, f=self.resample_filter, down=self.down, padding=self.padding)
        return bias_act(x, self.bias, act=self.activation, gain=self.act_gain * gain, clamp=clamp, overwrite=True)


# --- Modulated convolution -------------------------------------------------------------------------------------------


def modulated_conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    styles: torch.Tensor,
    *,
    noise: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    act: str = "linear",
    clamp: float | None = None,
    up: int = 1,
    padding: int = 0,
    resample_filter: torch.Tensor | None = None,
    demodulate: bool = True,
    flip_weight: bool = True,
) -> torch.Tensor:
    """Convolve with a weight that each sample's style modulates.

    Of three equal arrangements the fastest is taken: one weight for the whole batch where all samples share a style;
    on a CPU, a weight per sample where the weights are smaller than the activations, which means the least memory
    traffic; else the activations are scaled before and after one dense convolution, of which a GPU makes the most.

    Args:
        x: [N, in, H, W].
        weight: [out, in, k, k].
        styles: [N, in], or [1, in] where all samples share it.
        noise: added to the output; [H', W'] or [N, 1, H', W'].
        bias, act, clamp: what `bias_act` then does to it.
        demodulate: divide each output channel by the norm of its modulated weight.
        flip_weight: True correlates, False convolves.

    Returns:
        [N, out, H', W'] with H' = H * up.
    """
    _, in_channels, height, width = x.shape
    out_channels = weight.shape[0]
    if x.dtype == torch.float16 and demodulate:
        weight, styles = _prescaled(weight, styles)
    convolve = partial(conv2d_resample, f=resample_filter, up=up, padding=padding, flip_weight=flip_weight)
    activations = height * width * (in_channels + out_channels * up**2)  # of one sample
    if styles.shape[0] == 1:
        x = convolve(x, _modulate(weight, styles[0], demodulate).to(x.dtype))
    elif x.device.type == "cpu" and activations > max(weight.numel(), WORTH_A_CALL):
        weights = [_modulate(weight, style, demodulate).to(x.dtype) for style in styles]
        x = _conv_per_sample(x, weights, convolve)
    else:
        x = convolve(scale_act(x, styles), weight.to(x.dtype))
        if demodulate:
            squares = weight.square().sum(dim=[2, 3]) @ styles.square().t()
            scales = (squares + EPS).rsqrt().t()
            return scale_act(x, scales, bias, noise, act=act, clamp=clamp)
    if noise is not None:
        x = x.add_(noise.to(x.dtype))
    return bias_act(x, bias, act=act, clamp=clamp, overwrite=True)


def _prescaled(weight: torch.Tensor, styles: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both scaled to a largest entry of about 1, so that float16 does not overflow.

    Demodulation undoes it, so that nothing depends on the scales: they need no gradient.
    """
    fan_in = weight[0].numel()
    largest_weight = weight.detach().abs().amax(dim=[1, 2, 3], keepdim=True)
    largest_style = styles.detach().abs().amax(dim=1, keepdim=True)
    return weight / (largest_weight * math.sqrt(fan_in)), styles / largest_style


def _modulate(weight: torch.Tensor, style: torch.Tensor, demodulate: bool) -> torch.Tensor:
    """Return weight [out, in, k, k] times style [in], each output channel then of norm 1 if `demodulate`."""
    weight = weight * style.reshape(1, -1, 1, 1)
    if demodulate:
        squares = weight.square().sum(dim=[1, 2, 3], keepdim=True)
        weight = weight * (squares + EPS).rsqrt()
    return weight


def _conv_per_sample(
    x: torch.Tensor, weights: list[torch.Tensor], convolve: Callable[..., torch.Tensor]
) -> torch.Tensor:
    """Convolve sample i of x [N, in, H, W] with weights[i] [out, in, k, k]."""
    samples = [convolve(sample, weight) for sample, weight in zip(x.split(1), weights, strict=True)]
    return torch.cat(samples)


# --- Layers of the generator -----------------------------------------------------------------------------------------


class SynthesisLayer(nn.Module):
    """3 x 3 modulated convolution, noise, bias, leaky ReLU."""

    resample_filter: torch.Tensor
    noise_const: torch.Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        up: int = 1,
        conv_clamp: float | None = None,
    ):
        super().__init__()
        self.resolution = resolution
        self.up = up
        self.conv_clamp = conv_clamp
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_TAPS))
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def _noise(self, x: torch.Tensor, mode: str, random: Random | None) -> torch.Tensor | None:
        if mode == "none":
            return None
        if mode == "const":
            return self.noise_const * self.noise_strength
        shape = [x.shape[0], 1, self.resolution, self.resolution]
        return normal(shape, random, x.device) * self.noise_strength

    def forward(
        self, x: torch.Tensor, w: torch.Tensor, noise_mode: str = "const", random: Random | None = None
    ) -> torch.Tensor:
        """x [N, in, H, W], w [N or 1, w_dim] -> [N, out, resolution, resolution].

        noise_mode: "const" (the layer's own map), "random" (drawn from `random`), "none".
        """
        return modulated_conv2d(
            x,
            self.weight,
            self.affine(w),
            noise=self._noise(x, noise_mode, random),
            bias=self.bias,
            act="lrelu",
            clamp=self.conv_clamp,
            up=self.up,
            padding=1,
            resample_filter=self.resample_filter,
            flip_weight=self.up == 1,
        )


class ToRGBLayer(nn.Module):
    """1 x 1 modulated convolution without demodulation: features to image channels."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, conv_clamp: float | None = None):
        super().__init__()
        self.conv_clamp = conv_clamp
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.style_gain = 1 / math.sqrt(in_channels)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """x [N, in, H, W], w [N or 1, w_dim] -> [N, out, H, W]."""
        styles = self.affine(w) * self.style_gain
        x = modulated_conv2d(x, self.weight, styles, demodulate=False)
        return bias_act(x, self.bias, clamp=self.conv_clamp, overwrite=True)
