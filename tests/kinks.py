"""On which side of leaky ReLU's kink activations fall that lie within rounding of it.

A few of millions do. In float32 the CPU's order of additions decides, and each that changes side changes gradients by a
finite amount, more than their tolerance. So for the golden float32 gradients the sides are those of float64:
`tests/data/kinks.npz` lists the activations next to zero, and `decided` moves them there by less than their rounding.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from training.networks import layers

FILE = Path(__file__).parent / "data" / "kinks.npz"
NEAR = 2e-5                  # of the activations' rms: 10 to 50 times float32's error
APART = 1e-6                 # where undecided activations are put, on either side of zero


def near_zero(forward: Callable[[], object]) -> dict[str, np.ndarray]:
    """Of every leaky ReLU in `forward`, in order of its calls: flat positions next to zero, and who is above it."""
    found = {}

    def watch(x, b=None, dim=1, act="linear", **options):
        y = original(x, b, dim, act, **options)
        if act == "lrelu":
            flat = y.flatten()
            where = (flat.abs() < NEAR * flat.square().mean().sqrt()).nonzero().flatten()
            found.update({f"where{len(found) // 2}": where.int().numpy(), f"above{len(found) // 2}": (flat[where] > 0).numpy()})
        return y

    original = layers.bias_act
    with mock.patch.object(layers, "bias_act", watch), torch.no_grad():
        forward()
    return found


@contextmanager
def decided(case: str) -> Iterator[None]:
    """Leaky ReLUs of one forward pass see the listed activations of a case on the listed side."""
    listed, calls, original = np.load(FILE), iter(range(10 ** 6)), layers.bias_act

    def decide(x, b=None, dim=1, act="linear", **options):
        if act == "lrelu":
            call = next(calls)
            where, above = (torch.from_numpy(listed[f"{case}_{name}{call}"]) for name in ("where", "above"))
            x = x + _shift(x.detach(), b, dim, where.long(), above)
        return original(x, b, dim, act, **options)

    with mock.patch.object(layers, "bias_act", decide):
        yield
    assert f"{case}_where{next(calls)}" not in listed, "every call was there"


def _shift(x: torch.Tensor, b: torch.Tensor | None, dim: int, where: torch.Tensor, above: torch.Tensor) -> torch.Tensor:
    """What moves x + b to the wanted side at flat positions `where`, zero elsewhere."""
    index = torch.unravel_index(where, x.shape)
    value = x[index] if b is None else x[index] + b.detach()[index[dim]]
    wanted = value.abs().clamp(min=APART) * torch.where(above, 1, -1)
    shift = torch.zeros_like(x)
    shift[index] = wanted - value
    return shift
