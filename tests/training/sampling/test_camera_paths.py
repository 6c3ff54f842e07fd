"""training.sampling.camera_paths: cameras of a file, in the order of the frames that it names."""

import json

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from training.cameras import frontal_label, orbit_labels, split_label
from training.sampling.camera_paths import camera_path, read_cameras
from training.sampling.options import Orbit

LABELS = orbit_labels(12)


@pytest.mark.parametrize("first", [0, 1, 100])
def test_named_cameras_come_in_the_order_of_their_frames(tmp_path, first):
    shuffled = np.random.default_rng(0).permutation(12)
    rows = [[f"{number + first}.png", LABELS[number].tolist()] for number in shuffled]
    (tmp_path / "path.json").write_text(json.dumps(rows))
    assert torch.equal(read_cameras(tmp_path / "path.json"), LABELS)


def test_cameras_without_names_come_as_they_are(tmp_path):
    (tmp_path / "path.json").write_text(json.dumps(LABELS.tolist()))
    assert torch.equal(read_cameras(tmp_path / "path.json"), LABELS)


@pytest.mark.parametrize("names", [("0", "2"), ("1", "1"), ("a", "b")])
def test_frames_that_are_missing_or_unknown_are_refused(tmp_path, names):
    rows = [[name, LABELS[0].tolist()] for name in names]
    (tmp_path / "path.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match="number its frames"):
        read_cameras(tmp_path / "path.json")


@pytest.mark.parametrize("blind", [slice(0, 11), [16], [20]])
def test_a_camera_without_rays_is_refused(tmp_path, blind):
    labels = LABELS.clone()
    labels[3, blind] = 0
    (tmp_path / "path.json").write_text(json.dumps(labels.tolist()))
    with pytest.raises(UserError, match="Camera 3 of .* sees nothing"):
        read_cameras(tmp_path / "path.json")


@pytest.mark.parametrize("pitch", [0.0, 5.5, 30.0, 60.0, 88.0])
def test_an_orbit_reaches_as_many_true_degrees_as_it_says(pitch):
    path = camera_path(torch.empty(0), 0, "orbit", 8, Orbit(yaw=70, pitch=pitch))
    x, y, z = split_label(path)[0][:, :3, 3].double().T
    frontal_height = split_label(frontal_label())[0][1, 3].double() / 2.7
    elevation = torch.rad2deg(torch.asin(y / 2.7) - torch.asin(frontal_height))
    phase = torch.arange(8) * (2 * torch.pi / 8)
    torch.testing.assert_close(elevation, (-pitch * torch.cos(phase)).double(), atol=0.05, rtol=0)
    azimuth = torch.rad2deg(torch.atan2(x, z))
    torch.testing.assert_close(azimuth, (70 * torch.sin(phase)).double(), atol=0.05, rtol=0)
