"""Camera modes (PV3D T. 3) and swapped cameras."""

import pytest
import torch

from tests.helpers.tiny import labels
from training.cameras import condition_cameras, swap_cameras

CAMERAS = labels(0, 3, 4)
FIRST = CAMERAS[:, :1].expand(-1, 4, -1)


@pytest.mark.parametrize(
    "mode, training, mapped, rendered",
    [
        ("MapT", True, CAMERAS, CAMERAS),
        ("MapT", False, FIRST, CAMERAS),
        ("Map", True, FIRST, CAMERAS),
        ("Map", False, FIRST, CAMERAS),
        ("Non", True, CAMERAS, CAMERAS),
        ("Non", False, CAMERAS, CAMERAS),
        ("All", True, FIRST, FIRST),
        ("All", False, FIRST, FIRST),
    ],
)
def test_camera_modes(mode, training, mapped, rendered):
    to_mapping, to_renderer = condition_cameras(CAMERAS, mode, training)
    assert torch.equal(to_mapping, mapped) and torch.equal(to_renderer, rendered)


def test_swapping_takes_the_other_clip_whole():
    random, others = torch.Generator().manual_seed(0), CAMERAS.roll(1, dims=0)
    assert torch.equal(swap_cameras(CAMERAS, others, 0.0, random), CAMERAS)
    assert torch.equal(swap_cameras(CAMERAS, others, 1.0, random), others)


def test_clips_are_swapped_with_the_given_probability():
    clips = torch.arange(4000.0).reshape(-1, 1, 1).expand(-1, 2, 25)
    swapped = swap_cameras(clips, clips + 1, 0.7, torch.Generator().manual_seed(0))
    changed = (swapped != clips).flatten(1)
    assert torch.equal(changed.any(dim=1), changed.all(dim=1)), "all frames of a clip or none"
    assert changed.all(dim=1).float().mean().item() == pytest.approx(0.7, abs=0.03)
    again = swap_cameras(clips, clips + 1, 0.7, torch.Generator().manual_seed(0))
    assert torch.equal(swapped, again)
