"""metrics.multiview: order, times, cameras, one geometry for all four views; and folders of views made elsewhere."""

import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from metrics.multiview import (
    GEOMETRY_FILE,
    PAIRS_GEOMETRY,
    PAIRS_IDENTITY,
    FolderViews,
    FourViews,
    GeneratedViews,
    Geometry,
    protocol_cameras,
)
from metrics.video_sources import to_uint8_pv3d
from training.checkpoints.opener import load_generator
from training.data.frames import encode_png
from training.sampling.clips import clip_spec, frame_times, generate_views

pytestmark = pytest.mark.usefixtures("one_thread")


# --- Generated views --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(snapshot) -> GeneratedViews:
    return GeneratedViews(load_generator(snapshot), "abc")


def test_pairs_are_a_front_and_a_side_view_or_two_times_of_one():
    assert PAIRS_GEOMETRY == ((0, 2), (3, 1), (0, 1), (3, 2))
    assert PAIRS_IDENTITY[4:] == ((0, 3), (2, 1))


def test_views_have_the_protocol_s_cameras_and_shapes(source):
    views = source.views(5)
    front, side = protocol_cameras()
    expected = torch.stack([front, side, side, front])
    assert np.array_equal(views.geometry.cameras, expected)
    assert views.images.dtype == np.uint8
    assert views.images.shape == (4, 3, 32, 32)
    assert views.geometry.points.shape == (4, 8, 8, 3)
    assert views.geometry.depth.shape == (4, 8, 8)
    assert views.geometry.opacity.shape == (4, 8, 8)


def test_views_are_rendered_in_the_protocol_s_order(source):
    G = source.snapshot.G
    front, side = protocol_cameras()
    t0, t1 = source.times(5)
    images = source.views(5).images.astype(int)
    for view, (camera, time) in enumerate([(front, t0), (side, t1), (side, t0), (front, t1)]):
        spec = clip_spec(G, 5, 5, front[None])
        spec = replace(spec, times=time[None])
        ((alone,),) = generate_views(G, spec, [camera[None]])
        expected = to_uint8_pv3d(alone["image"])[0]
        differences = images[view] - expected.numpy()
        assert np.abs(differences).max() <= 1


def test_points_lie_on_the_rays_at_the_depth(source):
    """Where a ray is opaque; the rest of a transparent one counts as far away, in points alone."""
    geometry = source.views(1).geometry
    eyes = geometry.cameras[:, None, None, [3, 7, 11]]
    distance = np.linalg.norm(geometry.points - eyes, axis=-1)
    opaque_part = geometry.opacity * geometry.depth
    assert (distance >= opaque_part - 1e-3).all()
    assert (distance <= 4).all()


def test_times_are_those_of_the_video_with_replacement(source):
    times = torch.stack([source.times(index) for index in range(400)])
    drawn = set(times.flatten().tolist())
    assert drawn == set(frame_times(16).tolist())
    same = times[:, 0] == times[:, 1]
    assert 0.02 < same.float().mean() < 0.12, "one in sixteen"


def test_times_stay_within_the_trained_ones(source, monkeypatch):
    monkeypatch.setattr(source.snapshot.G, "max_time", 4 / 15)
    times = torch.stack([source.times(index) for index in range(100)])
    assert set(times.flatten().tolist()) == set(frame_times(16, 4 / 15).tolist())


def test_times_follow_from_the_index(source):
    again = GeneratedViews(source.snapshot, "abc")
    assert torch.equal(source.times(3), again.times(3))


# --- Views made elsewhere ---------------------------------------------------------------------------------------------


GOOD = {
    "depth": np.ones([4, 6, 6]),
    "points": np.ones([4, 6, 6, 3]),
    "opacity": np.ones([4, 6, 6]),
    "cameras": np.ones([4, 25]),
}


def write(folder: Path, images: int = 4, **geometry: np.ndarray) -> None:
    """Write a video's images of grey 0, 9, 18, ..., and its geometry if there is any."""
    folder.mkdir(parents=True)
    for index in range(images):
        grey = np.full([3, 8, 8], index * 9, np.uint8)
        path = folder / f"{index}.png"
        path.write_bytes(encode_png(grey))
    if geometry:
        np.savez(folder / GEOMETRY_FILE, **geometry)


def test_folders_made_elsewhere(tmp_path):
    write(tmp_path / "a", **GOOD)
    write(tmp_path / "b")
    source = FolderViews(tmp_path)
    assert source.count == 2 and source.notes == []
    views = source.views(0)
    greys = views.images[:, 0, 0, 0]
    assert greys.tolist() == [0, 9, 18, 27]
    for part in fields(Geometry):
        assert getattr(views.geometry, part.name).dtype == np.float32
    assert source.views(1).geometry is None


def test_folders_and_views_are_in_the_order_of_their_numbers(tmp_path):
    for video in (10, 9):
        write(tmp_path / str(video))
        (tmp_path / str(video) / "0.png").rename(tmp_path / str(video) / "10.png")
    write(tmp_path / "__MACOSX")
    (tmp_path / "9" / "._1.png").write_bytes(b"left behind")
    (tmp_path / "notes.txt").touch()
    source = FolderViews(tmp_path)
    assert [path.name for path in source.paths] == ["9", "10"]
    assert source.views(0).images[:, 0, 0, 0].tolist() == [9, 18, 27, 0]
    assert source.notes == [f"Not taken: what else is in {tmp_path} (1): notes.txt."]


def test_a_folder_is_known_by_its_files(tmp_path):
    write(tmp_path / "a")
    before = FolderViews(tmp_path).identity
    write(tmp_path / "b")
    assert FolderViews(tmp_path).identity != before


@pytest.mark.parametrize(
    "change",
    [
        {"depth": np.ones([4, 6, 5])},
        {"depth": np.full([4, 6, 6], np.nan)},
        {"cameras": np.ones([4, 16])},
        {"points": np.ones([3, 6, 6, 3])},
    ],
)
def test_geometry_that_does_not_fit_is_refused(tmp_path, change):
    write(tmp_path / "a", **GOOD | change)
    with pytest.raises(UserError, match=GEOMETRY_FILE):
        FolderViews(tmp_path).views(0)


def test_geometry_that_lacks_something_is_refused(tmp_path):
    write(tmp_path / "a", depth=GOOD["depth"], points=GOOD["points"], cameras=GOOD["cameras"])
    with pytest.raises(UserError, match=GEOMETRY_FILE):
        FolderViews(tmp_path).views(0)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("absent"), lambda path: path.mkdir()])
def test_geometry_that_is_no_file_is_refused(tmp_path, make):
    write(tmp_path / "a")
    make(tmp_path / "a" / GEOMETRY_FILE)
    with pytest.raises(UserError, match=GEOMETRY_FILE):
        FolderViews(tmp_path).views(0)


@pytest.mark.parametrize("folder", [".", "missing"])
def test_folders_that_hold_no_views_are_refused(tmp_path, folder):
    with pytest.raises(UserError, match="--multiview|no folder"):
        FolderViews(tmp_path / folder)


def test_videos_of_three_images_are_refused(tmp_path):
    write(tmp_path / "a", images=3)
    with pytest.raises(UserError, match="4 images"):
        FolderViews(tmp_path).views(0)


def test_geometry_is_asked_for_by_name():
    views = FourViews(np.zeros([4, 3, 8, 8], np.uint8))
    with pytest.raises(UserError, match=f"CD and WE need {GEOMETRY_FILE}"):
        views.require_geometry()


def test_views_whose_names_do_more_than_number_them_are_named(tmp_path):
    write(tmp_path / "a")
    for number, name in enumerate(("front t0", "side t1", "side t0", "front t1")):
        (tmp_path / "a" / f"{number}.png").rename(tmp_path / "a" / f"{name}.png")
    (note,) = FolderViews(tmp_path).notes
    assert "a is read as front t0.png, front t1.png, side t0.png, side t1.png" in note
