"""training.sampling.camera_paths: cameras of a file, in the order of the frames that it names."""

import json

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from training.cameras import orbit_labels
from training.sampling.camera_paths import read_cameras

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
