"""training.runs.pictures: what every snapshot shows."""

import errno

import numpy as np
import PIL.Image
import pytest
import torch

from dnnlib.errors import UserError
from dnnlib.video import read_frames, video_info
from tests.helpers import tiny
from tests.helpers.recording import spy
from training.cameras import frontal_label
from training.runs import pictures as runs_pictures
from training.runs.pictures import SIDE_YAW, SnapshotPictures, clip_layers
from training.sampling import pictures
from training.sampling.clips import clip_spec, generate, generate_views

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = 32  # of a frame, pixels
ROUNDING = 1  # grey levels


@pytest.fixture(scope="module")
def networks():
    return tiny.networks(tiny.config())


@pytest.fixture(scope="module")
def written(networks, tmp_path_factory):
    """A folder with the pictures of a snapshot."""
    folder = tmp_path_factory.mktemp("pictures")
    draw = SnapshotPictures()
    draw(networks, folder, 12_345)
    return folder


def test_names_are_the_clips(written):
    names = sorted(path.name for path in written.iterdir())
    assert names == ["fakes000012.345.mp4", "fakes000012.345.png"]


def test_the_grid_shows_one_seed_a_place(networks, written):
    grid = np.asarray(PIL.Image.open(written / "fakes000012.345.png"))
    assert grid.shape == (4 * SIZE, 4 * SIZE, 3)
    sixth = grid[SIZE : 2 * SIZE, 2 * SIZE : 3 * SIZE]
    clip = clip_spec(networks.G_ema, 6, 6, frontal_label().expand(1, -1))
    (out,) = generate(networks.G_ema, clip)
    expected = pictures.to_uint8(out["image"])[0].permute(1, 2, 0).numpy()
    difference = sixth.astype(int) - expected
    assert np.abs(difference).max() <= ROUNDING


def test_the_video_shows_four_seeds_in_layers(written):
    path = written / "fakes000012.345.mp4"
    info = video_info(path)
    assert info.frames == 16
    assert info.width == 4 * SIZE, "front, side, depth, normals"
    assert info.height == 4 * SIZE, "4 seeds"
    first = next(read_frames(path)).astype(int)
    side = first[:, SIZE : 2 * SIZE]
    depth = first[:, 2 * SIZE : 3 * SIZE]
    normals = first[:, 3 * SIZE :]
    assert np.abs(side - depth).mean() > 1
    assert np.abs(depth - normals).mean() > 1


@pytest.mark.parametrize(
    "resolution, device, columns, frames", [(64, "cpu", 4, 16), (512, "cuda", 4, 16), (512, "cpu", 2, 8)]
)
def test_fewer_pictures_where_a_frame_takes_seconds(resolution, device, columns, frames):
    chosen = SnapshotPictures.for_machine(resolution, torch.device(device))
    assert chosen.columns == columns
    assert chosen.video_frames == frames


def test_a_smaller_choice_of_pictures(networks, tmp_path):
    draw = SnapshotPictures(columns=2, video_seeds=1, video_frames=3)
    draw(networks, tmp_path, 0)
    grid = PIL.Image.open(tmp_path / "fakes000000.000.png")
    assert grid.size == (2 * SIZE, 2 * SIZE)
    info = video_info(tmp_path / "fakes000000.000.mp4")
    assert info.frames == 3
    assert info.width == 4 * SIZE, "front, side, depth, normals"
    assert info.height == SIZE


def test_side_views_differ_from_front_views_in_the_camera_alone(networks):
    G = networks.G_ema
    rows = list(clip_layers(G, 2, 3, ("rgb", "side")))
    assert len(rows) == 3
    for row in rows:
        assert row.shape == (3, SIZE, 2 * SIZE)
        assert row.dtype == torch.uint8
    seen = torch.stack(rows)[..., SIZE:]

    clip = clip_spec(G, 2, 2, frontal_label().expand(3, -1))
    side = frontal_label(SIDE_YAW).expand(3, -1)
    ((out,),) = generate_views(G, clip, [side])
    expected = pictures.to_uint8(out["image"])
    difference = seen.int() - expected.int()
    assert difference.abs().max() <= ROUNDING


def test_pictures_stay_within_the_trained_time(monkeypatch):
    G = tiny.generator()
    G.max_time = 0.25
    made = spy(monkeypatch, runs_pictures, "generate_views")
    list(clip_layers(G, 0, 3, ("rgb",)))
    assert made[0].inputs[1].times.tolist() == [0, 0.125, 0.25]


def test_pictures_are_whole_or_absent(tmp_path, monkeypatch):
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    pictures.save_png(tmp_path / "a.png", image)
    written = np.asarray(PIL.Image.open(tmp_path / "a.png"))
    assert np.array_equal(written, image)

    def full(self, path, format, pnginfo):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PIL.Image.Image, "save", full)
    with pytest.raises(UserError, match="No space left to write .*b.png"):
        pictures.save_png(tmp_path / "b.png", image)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
