"""On which side of leaky ReLU's kink activations fall that lie within rounding of it.

A few of millions do. In float32 the CPU's order of additions decides, and each that changes side changes gradients by a
finite amount, more than their tolerance. So for the golden float32 gradients the sides are those of float64:
`tests/data/kinks.npz` lists the activations next to zero, and `decided` puts them there, moving them by no more than
rounding does. `python -m tests.helpers.kinks` writes the list anew.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from tests.helpers import full
from tests.helpers.tiny import CALM
from training.loss import Loss
from training.networks import layers

FILE = Path(__file__).parents[1] / "data" / "kinks.npz"
NEAR = 2e-5  # of the activations' rms: 10 to 50 times float32's error
APART = 1e-6  # where undecided activations are put, on either side of zero
# One activation lies on the other side in the reference's float32 (frame 3, channel 275, row 20, column 56 of
# b64.conv0): exactly its flip is what img_dimage_raw_s7 and its fellows have more than float64's sides explain.
REFERENCE_DIFFERS = {"img_where7": np.ravel_multi_index((3, 275, 20, 56), (4, 512, 64, 64))}


def forwards() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the golden forward passes in float64: name of the case, and a function that runs it."""
    image, raw, camera, t = full.discriminator_inputs(4, torch.float64)
    D_img, D_vid = full.image_discriminator(torch.float64), full.video_discriminator(torch.float64)
    yield "img", lambda: D_img(image, raw, camera)
    yield "vid", lambda: D_vid(D_vid.assemble(image, t), camera)
    loss = Loss(full.generator(torch.float64), D_img, D_vid, full.CONFIG, "const", True)
    yield "step", lambda: loss.judge(loss.synthesise(full.training_fakes(torch.float64), CALM), CALM)


def near_zero(case: str, forward: Callable[[], object]) -> dict[str, np.ndarray]:
    """Return, of each leaky ReLU of `forward` in order of calls, flat positions next to zero, and which are above."""
    found, original = {}, layers.bias_act

    def watch(x, b=None, dim=1, act="linear", **options):
        y = original(x, b, dim, act, **options)
        if act == "lrelu":
            flat, call = y.flatten(), len(found) // 2
            where = (flat.abs() < NEAR * flat.square().mean().sqrt()).nonzero().flatten()
            found[f"{case}_where{call}"], found[f"{case}_above{call}"] = where.int().numpy(), (flat[where] > 0).numpy()
        return y

    with mock.patch.object(layers, "bias_act", watch), torch.no_grad():
        forward()
    return found


@contextmanager
def decided(case: str) -> Iterator[None]:
    """Let the leaky ReLUs of one forward pass see the listed activations of a case on the listed side."""
    listed, calls, original = np.load(FILE), iter(range(10**6)), layers.bias_act

    def decide(x, b=None, dim=1, act="linear", **options):
        if act == "lrelu":
            call = next(calls)
            where, above = (torch.from_numpy(listed[f"{case}_{name}{call}"]) for name in ("where", "above"))
            above = above ^ (where == REFERENCE_DIFFERS.get(f"{case}_where{call}", -1))
            x = x + _shift(x.detach(), b, dim, where.long(), above)
        return original(x, b, dim, act, **options)

    with mock.patch.object(layers, "bias_act", decide):
        yield
    assert f"{case}_where{next(calls)}" not in listed, "not every call of the list was made"


def _shift(x: torch.Tensor, b: torch.Tensor | None, dim: int, where: torch.Tensor, above: torch.Tensor) -> torch.Tensor:
    """Return what moves x + b to the wanted side at flat positions `where`, zero elsewhere."""
    index = torch.unravel_index(where, x.shape)
    value = x[index] if b is None else x[index] + b.detach()[index[dim]]
    shift = torch.zeros_like(x)
    shift[index] = value.abs().clamp(min=APART) * torch.where(above, 1, -1) - value
    return shift


if __name__ == "__main__":
    arrays = {}
    for name, function in forwards():
        arrays |= near_zero(name, function)
    np.savez_compressed(FILE, **arrays)
