"""training.runs.pictures: what every snapshot shows."""

import errno

import numpy as np
import PIL.Image
import pytest
import torch

from dnnlib.errors import UserError
from dnnlib.video import read_frames, video_info
from tests.helpers import tiny
from training.cameras import frontal_label
from training.runs.pictures import SIDE_YAW, SnapshotPictures, clip_layers, save_png
from training.sampling import pictures
from training.sampling.clips import clip_spec, generate, generate_views

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = 32


@pytest.fixture(scope="module")
def networks():
    return tiny.networks(tiny.config())


def test_a_grid_and_a_video_of_fixed_seeds(networks, tmp_path):
    SnapshotPictures()(networks, tmp_path, 12_345)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fakes000012.345.mp4", "fakes000012.345.png"]
    grid = np.asarray(PIL.Image.open(tmp_path / "fakes000012.345.png"))
    assert grid.shape == (4 * SIZE, 4 * SIZE, 3)
    spec = clip_spec(networks.G_ema, 6, 6, frontal_label().expand(1, -1))
    sixth = pictures.to_uint8(next(generate(networks.G_ema, spec))["image"])[0].permute(1, 2, 0).numpy()
    assert np.abs(grid[SIZE : 2 * SIZE, 2 * SIZE : 3 * SIZE].astype(int) - sixth).max() <= 1
    info = video_info(tmp_path / "fakes000012.345.mp4")
    assert (info.frames, info.width, info.height) == (16, 4 * SIZE, 4 * SIZE), "4 seeds: front, side, depth, normals"
    first = next(read_frames(tmp_path / "fakes000012.345.mp4"))
    side, depth, normals = (first[:, i * SIZE : (i + 1) * SIZE].astype(int) for i in (1, 2, 3))
    assert np.abs(side - depth).mean() > 1 and np.abs(depth - normals).mean() > 1


@pytest.mark.parametrize(
    "resolution, device, columns, frames", [(64, "cpu", 4, 16), (512, "cuda", 4, 16), (512, "cpu", 2, 8)]
)
def test_fewer_pictures_where_a_frame_takes_seconds(resolution, device, columns, frames):
    chosen = SnapshotPictures.for_machine(resolution, torch.device(device))
    assert (chosen.columns, chosen.video_frames) == (columns, frames)


def test_a_smaller_choice_of_pictures(networks, tmp_path):
    SnapshotPictures(columns=2, video_seeds=1, video_frames=3)(networks, tmp_path, 0)
    assert PIL.Image.open(tmp_path / "fakes000000.000.png").size == (2 * SIZE, 2 * SIZE)
    info = video_info(tmp_path / "fakes000000.000.mp4")
    assert (info.frames, info.width, info.height) == (3, 4 * SIZE, SIZE)


def test_side_views_differ_from_front_views_in_the_camera_alone(networks):
    rows = list(clip_layers(networks.G_ema, 2, 3, ("rgb", "side")))
    assert [row.shape for row in rows] == [(3, SIZE, 2 * SIZE)] * 3 and rows[0].dtype == torch.uint8
    front = frontal_label().expand(3, -1)
    side = frontal_label(SIDE_YAW).expand(3, -1)
    spec = clip_spec(networks.G_ema, 2, 2, front)
    expected = next(generate_views(networks.G_ema, spec, [side]))[0]["image"]
    seen = torch.stack([row[:, :, SIZE:] for row in rows]).int()
    assert (seen - pictures.to_uint8(expected).int()).abs().max() <= 1


def test_pictures_are_whole_or_absent(tmp_path, monkeypatch):
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    save_png(tmp_path / "a.png", image)
    assert np.array_equal(np.asarray(PIL.Image.open(tmp_path / "a.png")), image)

    def full(self, path, format):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PIL.Image.Image, "save", full)
    with pytest.raises(UserError, match="No space left to write .*b.png"):
        save_png(tmp_path / "b.png", image)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
