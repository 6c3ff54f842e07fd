"""training.networks.patch_discriminators: shapes, scales, and what patches see."""

import pytest
import torch

from dnnlib.options import override
from tests.helpers import tiny
from training.config import DiscriminatorConfig
from training.networks.patch_discriminators import ClipPatches, InstanceNorm, PairPatches, seen

SMALL = override(DiscriminatorConfig(), {"channel_max": 16})


def made(kind: type[torch.nn.Module]) -> torch.nn.Module:
    with tiny.seeded(0):
        return kind(SMALL).requires_grad_(False)


def test_sizes_of_the_paper():
    """64, 128, 256, 512 channels, 4 pixels and frames a side; 15 later frames of 128 pixels beside the first."""
    for kind, volume, shape in ((ClipPatches, 64, (1, 6, 15, 128, 128)), (PairPatches, 16, (1, 6, 128, 128))):
        D = kind(DiscriminatorConfig())
        weights = volume * (6 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) + 64
        assert sum(parameter.numel() for parameter in D.parameters()) == 2 * weights
        with torch.no_grad():
            fine, coarse = D(torch.zeros(shape))
        time = (5,) if kind is ClipPatches else ()
        assert fine.shape == (1, 1, *time, 19, 19) and coarse.shape == (1, 1, *time, 11, 11)


def test_the_first_frame_stands_beside_all_others():
    clips = tiny.normal(0, 3, 16, 3, 8, 8)
    assembled = made(ClipPatches).assemble(clips)
    assert assembled.shape == (3, 6, 15, 8, 8)
    for frame in range(15):
        assert torch.equal(assembled[:, :3, frame], clips[:, 0])
        assert torch.equal(assembled[:, 3:, frame], clips[:, frame + 1])
    pairs = made(PairPatches).assemble(clips, torch.tensor([1, 15, 7]))
    assert torch.equal(pairs[:, :3], clips[:, 0])
    assert torch.equal(pairs[:, 3:], torch.stack([clips[0, 1], clips[1, 15], clips[2, 7]]))


@pytest.mark.parametrize("kind, shape", [(ClipPatches, (2, 6, 15, 32, 32)), (PairPatches, (2, 6, 32, 32))])
def test_the_coarse_scale_sees_half_the_size_and_all_of_time(kind, shape):
    D = made(kind)
    x = tiny.normal(1, *shape)
    assert D.halve(x).shape == (*shape[:-2], 16, 16)
    D.coarse.load_state_dict(D.fine.state_dict())
    torch.testing.assert_close(D(x)[1], D.fine(D.halve(x)))
    flat = torch.full(shape, 0.5)
    torch.testing.assert_close(D.halve(flat), torch.full_like(D.halve(flat), 0.5))  # borders are no darker


@pytest.mark.parametrize("kind, shape", [(ClipPatches, (4, 6, 15, 16, 16)), (PairPatches, (4, 6, 16, 16))])
def test_no_sample_sees_another(kind, shape):
    D = made(kind)
    x = tiny.normal(2, *shape)
    for whole, parts in zip(D(x), zip(*(D(x[n : n + 1]) for n in range(4)), strict=True), strict=True):
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=1e-6)


def test_instances_are_normalised_and_statistics_run():
    norm = InstanceNorm(3)
    x = 2 * tiny.normal(3, 4, 3, 5, 6, 7) + 3
    y = norm(x)
    torch.testing.assert_close(y.mean(dim=(2, 3, 4)), torch.zeros(4, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(dim=(2, 3, 4), unbiased=False), torch.ones(4, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(norm.mean, 0.1 * x.mean(dim=(0, 2, 3, 4)), rtol=1e-4, atol=1e-5)
    for _ in range(200):
        norm(x)
    still = norm.eval()(x)
    torch.testing.assert_close(still.mean(dim=(0, 2, 3, 4)), torch.zeros(3), atol=1e-3, rtol=0)
    assert still.mean(dim=(2, 3, 4)).abs().max() > 0.01, "one mean for all in evaluation mode"


def test_large_frames_are_averaged_to_128_pixels():
    frames = tiny.normal(4, 2, 3, 512, 512)
    small = seen(frames)
    assert small.shape == (2, 3, 128, 128)
    torch.testing.assert_close(small, frames.unflatten(3, (128, 4)).unflatten(2, (128, 4)).mean(dim=(3, 5)))
    assert seen(frames[..., :64, :64]).shape == (2, 3, 64, 64)
