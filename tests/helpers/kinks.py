"""On which side of leaky ReLU's kink activations fall that lie within rounding of it.

A few of millions do. In float32 the CPU's order of additions decides, and each that changes side changes gradients by a
finite amount, more than their tolerance. So for the golden float32 gradients the sides are those of float64:
`tests/data/kinks.npz` lists the activations next to zero, and `decided` puts them there, moving them by no more than
rounding does. `python -m tests.helpers.kinks` writes the list anew.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from tests.helpers import full
from tests.helpers.tiny import CALM
from torch_utils.ops import scale_act
from training.loss import Loss
from training.networks import layers

FILE = Path(__file__).parents[1] / "data" / "kinks.npz"
NEAR = 2e-5  # of the activations' rms: 10 to 50 times float32's error
APART = 1e-6  # where undecided activations are put, on either side of zero
# One activation lies on the other side in the reference's float32 (frame 3, channel 275, row 20, column 56 of
# b64.conv0): exactly its flip is what img_dimage_raw_s7 and its fellows have more than float64's sides explain.
REFERENCE_DIFFERS = {"img_where7": np.ravel_multi_index((3, 275, 20, 56), (4, 512, 64, 64))}


def forwards() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the golden forward passes in float64, with the names of their cases."""
    dtype = torch.float64
    image, raw, camera, t = full.discriminator_inputs(4, dtype)
    D_img = full.image_discriminator(dtype)
    D_vid = full.video_discriminator(dtype)
    pairs = D_vid.assemble(image, t)
    yield "img", lambda: D_img(image, raw, camera)
    yield "vid", lambda: D_vid(pairs, camera)

    G = full.generator(dtype)
    fakes = full.training_fakes(dtype)
    loss = Loss(G, D_img, D_vid, full.CONFIG, noise_mode="const", deterministic=True)
    yield "step", lambda: loss.judge(loss.synthesise(fakes, CALM), CALM)


def near_zero(case: str, forward: Callable[[], object]) -> dict[str, np.ndarray]:
    """Return for every leaky ReLU in `forward`, in order: flat positions next to zero, and which are above it."""
    found: dict[str, np.ndarray] = {}
    original = layers.bias_act

    def watch(x, b=None, dim=1, act="linear", **options):
        y = original(x, b, dim, act, **options)
        if act == "lrelu":
            call = len(found) // 2
            flat = y.flatten()
            rms = flat.square().mean().sqrt()
            where = (flat.abs() < NEAR * rms).nonzero().flatten()
            found[f"{case}_where{call}"] = where.int().numpy()
            found[f"{case}_above{call}"] = (flat[where] > 0).numpy()
        return y

    with _instead_of_bias_act(watch), torch.no_grad():
        forward()
    return found


@contextmanager
def _instead_of_bias_act(function: Callable[..., torch.Tensor]) -> Iterator[None]:
    """Let layers call a function in place of `bias_act`, wherever they do."""
    with mock.patch.object(layers, "bias_act", function), mock.patch.object(scale_act, "bias_act", function):
        yield


@contextmanager
def decided(case: str) -> Iterator[None]:
    """Let leaky ReLUs of one forward pass see the listed activations of a case on the listed side."""
    listed = np.load(FILE)
    calls = itertools.count()
    original = layers.bias_act

    def decide(x, b=None, dim=1, act="linear", **options):
        if act == "lrelu":
            call = next(calls)
            where = torch.from_numpy(listed[f"{case}_where{call}"])
            above = torch.from_numpy(listed[f"{case}_above{call}"])
            other_side = REFERENCE_DIFFERS.get(f"{case}_where{call}", -1)
            x = _moved(x, b, dim, where.long(), above ^ (where == other_side))
        return original(x, b, dim, act, **options)

    with _instead_of_bias_act(decide):
        yield
    assert f"{case}_where{next(calls)}" not in listed, "not every call of the list was made"


def _moved(x: torch.Tensor, b: torch.Tensor | None, dim: int, where: torch.Tensor, above: torch.Tensor) -> torch.Tensor:
    """Return x such that x + b is on the wanted side at flat positions `where`. Gradients pass unchanged."""
    index = torch.unravel_index(where, x.shape)
    value = x.detach()[index]
    if b is not None:
        value = value + b.detach()[index[dim]]
    distance = value.abs().clamp(min=APART)
    wanted = torch.where(above, distance, -distance)
    return x.index_put(index, wanted - value, accumulate=True)


if __name__ == "__main__":
    arrays = {}
    for name, function in forwards():
        arrays |= near_zero(name, function)
    np.savez_compressed(FILE, **arrays)
