"""Rays: golden vectors, pixel order, geometry."""

import pytest
import torch

from tests.helpers import golden
from training.cameras import canonical_label, frontal_label
from training.rendering.rays import camera_rays


@pytest.mark.parametrize("file, dtype", [("rendering", torch.float32), ("rendering_f64", torch.float64)])
def test_matches_golden(file, dtype):
    """The third camera has unequal focal lengths, an off-centre principal point and skew."""
    origins, directions = camera_rays(golden.tensor("rendering", "ray_camera", dtype), 16)
    golden.check(file, "ray_origins", origins)
    golden.check(file, "ray_directions", directions)


def test_pixels_run_row_by_row_through_their_centres():
    """The canonical camera looks along -z with +y down: image x grows with world x, image y against world y."""
    origins, directions = camera_rays(canonical_label()[None], 4)
    assert torch.equal(origins, torch.tensor([0, 0, 2.7]).expand(1, 16, 3))
    slope = directions / -directions[..., 2:]
    offset = (torch.arange(4) + 0.5) / 4 - 0.5
    torch.testing.assert_close(slope[0, :, 0].reshape(4, 4), (offset / 4.2647).expand(4, 4))
    torch.testing.assert_close(slope[0, :, 1].reshape(4, 4), (-offset / 4.2647)[:, None].expand(4, 4))
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(1, 16))


def test_the_middle_of_the_image_sees_what_the_camera_looks_at():
    label = frontal_label(torch.tensor([-0.4, 0.0, 0.3]), torch.tensor([0.1, 0.0, -0.2]))
    origins, directions = camera_rays(label, 1)
    distance = (torch.tensor([0, 0, 0.2]) - origins).norm(dim=-1, keepdim=True)
    seen = origins + distance * directions
    torch.testing.assert_close(seen, torch.tensor([0, 0, 0.2]).expand(3, 1, 3), atol=1e-5, rtol=0)
