"""The four views: order, times, cameras, one geometry for all; and folders of views made elsewhere."""

import os
from dataclasses import replace

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
    protocol_cameras,
)
from metrics.video_sources import to_uint8_pv3d
from training.checkpoints.opener import load_generator
from training.data.files import encode_png
from training.sampling.clips import clip_spec, frame_times, generate_views

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def source(snapshot) -> GeneratedViews:
    return GeneratedViews(load_generator(snapshot), "abc")


def test_pairs_are_a_front_and_a_side_view_or_two_times_of_one():
    assert PAIRS_GEOMETRY == ((0, 2), (3, 1), (0, 1), (3, 2)) and PAIRS_IDENTITY[4:] == ((0, 3), (2, 1))


def test_views_are_rendered_in_the_protocol_s_order(source):
    views = source.views(5)
    front, side = (camera.numpy() for camera in protocol_cameras())
    assert np.array_equal(views.geometry.cameras, np.stack([front, side, side, front]))
    assert views.images.shape == (4, 3, 32, 32) and views.images.dtype == np.uint8
    assert views.geometry.points.shape == (
        4,
        8,
        8,
        3,
    ) and views.geometry.depth.shape == views.geometry.opacity.shape == (4, 8, 8)
    t0, t1 = source.times(5)
    expected = []
    for camera, t in ((0, t0), (1, t1), (1, t0), (0, t1)):
        spec = clip_spec(source.snapshot.G, 5, 5, protocol_cameras()[:1])
        spec = replace(spec, times=t[None])
        ((seen,),) = generate_views(source.snapshot.G, spec, [protocol_cameras()[camera][None]])
        expected.append(to_uint8_pv3d(seen["image"]).numpy()[0])
    assert np.abs(views.images.astype(int) - np.stack(expected)).max() <= 1


def test_points_lie_on_the_rays_at_the_depth(source):
    """Where a ray is opaque; the rest of a transparent one counts as far away, in points alone."""
    views = source.views(1)
    distance = np.linalg.norm(views.geometry.points - views.geometry.cameras[:, None, None, [3, 7, 11]], axis=-1)
    mixed = views.geometry.opacity * views.geometry.depth
    assert (distance >= mixed - 1e-3).all() and (distance <= 4).all()


def test_times_are_those_of_the_video_with_replacement(source):
    times = torch.stack([source.times(index) for index in range(400)])
    assert set(times.flatten().tolist()) == set(frame_times(16).tolist())
    same = (times[:, 0] == times[:, 1]).float().mean()
    assert 0.02 < same < 0.12, "one in sixteen"
    assert torch.equal(source.times(3), GeneratedViews(source.snapshot, "abc").times(3))


def write(folder, images=4, **geometry):
    folder.mkdir(parents=True)
    for index in range(images):
        (folder / f"{index}.png").write_bytes(encode_png(np.full([3, 8, 8], index * 9, np.uint8)))
    if geometry:
        np.savez(folder / GEOMETRY_FILE, **geometry)


GOOD = {
    "depth": np.ones([4, 6, 6]),
    "points": np.ones([4, 6, 6, 3]),
    "opacity": np.ones([4, 6, 6]),
    "cameras": np.ones([4, 25]),
}


def test_folders_made_elsewhere(tmp_path):
    write(tmp_path / "a", **GOOD)
    write(tmp_path / "b")
    source = FolderViews(tmp_path)
    assert source.count == 2
    views = source.views(0)
    assert views.images[:, 0, 0, 0].tolist() == [0, 9, 18, 27]
    assert [part.dtype for part in vars(views.geometry).values()] == [np.float32] * 4
    with pytest.raises(UserError, match=GEOMETRY_FILE):
        source.views(1).require_geometry()


@pytest.mark.parametrize(
    "change",
    [
        {"depth": np.ones([4, 6, 5])},
        {"depth": np.full([4, 6, 6], np.nan)},
        {"cameras": np.ones([4, 16])},
        {"points": np.ones([3, 6, 6, 3])},
        {"opacity": None},
    ],
)
def test_geometry_that_does_not_fit_is_refused(tmp_path, change):
    write(tmp_path / "a", **{name: value for name, value in (GOOD | change).items() if value is not None})
    with pytest.raises(UserError, match=GEOMETRY_FILE):
        FolderViews(tmp_path).views(0)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("absent"), lambda path: path.mkdir()])
def test_geometry_that_is_no_file_is_refused(tmp_path, make):
    write(tmp_path / "a")
    make(tmp_path / "a" / GEOMETRY_FILE)
    with pytest.raises(UserError, match=GEOMETRY_FILE):
        FolderViews(tmp_path).views(0)


def test_folders_that_hold_no_views_are_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match="--multiview|no folder"):
            FolderViews(folder)
    write(tmp_path / "a", images=3)
    with pytest.raises(UserError, match="4 images"):
        FolderViews(tmp_path).views(0)


def test_geometry_is_asked_for_by_name():
    with pytest.raises(UserError, match="CD and WE need"):
        FourViews(np.zeros([4, 3, 8, 8], np.uint8)).require_geometry()
