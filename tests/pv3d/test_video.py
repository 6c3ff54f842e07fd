"""pv3d.Video: values in their ranges, pictures, files of every format, and what is refused."""

import numpy as np
import PIL.Image
import pytest
import torch

import pv3d
from dnnlib.video import read_frames, video_info
from training.sampling import pictures
from training.sampling.records import SYNTHETIC

SIDE = 32


@pytest.fixture(scope="module")
def video(model) -> pv3d.Video:
    return model.video(model.appearance(1), model.motion(2), cameras=pv3d.orbit(3))


def test_values(video):
    assert len(video) == 3 and repr(video) == "<pv3d.Video of 3 frames, 32 x 32>"
    assert video.rgb.shape == (3, 3, SIDE, SIDE) and video.rgb.min() >= 0 and video.rgb.max() <= 1
    inside = video.image.abs() < 1
    assert torch.allclose(video.rgb[inside] * 2 - 1, video.image[inside], atol=1e-6) and inside.any()
    assert video.depth.shape == (3, 1, 8, 8) and 2.25 <= video.depth.min() and video.depth.max() <= 3.3
    assert video.normals.shape == (3, 3, 8, 8)
    assert torch.allclose(video.normals.norm(dim=1), torch.ones(3, 8, 8), atol=1e-5)


def test_pictures(video):
    layers = video.pictures("rgb,depth,normals")
    assert layers.dtype == torch.uint8 and layers.shape == (3, 3, SIDE, 3 * SIDE)
    assert torch.equal(layers[..., :SIDE], pictures.to_uint8(video.image))
    assert torch.equal(layers, video.pictures(["rgb", "depth", "normals"]))
    assert torch.equal(video.pictures("depth,rgb")[..., SIDE:], layers[..., :SIDE])
    large = video.pictures("rgb,depth", scale=3)
    assert large.shape == (3, 3, 3 * SIDE, 6 * SIDE)
    means = [image[..., : image.shape[-1] // 2].float().mean(dim=(2, 3)) for image in (large, layers[..., : 2 * SIDE])]
    assert torch.allclose(*means, atol=1.5)
    assert not torch.equal(video.pictures("depth", depth_range=(2.3, 2.9)), video.pictures("depth"))


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif"])
def test_videos(name, video, tmp_path):
    path = tmp_path / name
    video.save(path, layers="rgb,depth", scale=2, fps=10)
    info = video_info(path)
    assert (info.frames, info.fps, info.width, info.height) == (3, 10.0, 4 * SIDE, 2 * SIDE)
    assert SYNTHETIC.encode() in path.read_bytes()
    decoded = np.stack(list(read_frames(path))).astype(float)
    wanted = video.pictures("rgb,depth", scale=2).permute(0, 2, 3, 1).numpy()
    assert np.abs(decoded - wanted).mean() < 6
    video.save(path)  # over it
    assert video_info(path).fps == 25.0 and video_info(path).width == SIDE


def test_a_folder_of_pictures(video, tmp_path):
    video.save(tmp_path / "frames")
    files = sorted((tmp_path / "frames").iterdir())
    assert [path.name for path in files] == ["frame000.png", "frame001.png", "frame002.png"]
    wanted = video.pictures().permute(0, 2, 3, 1).numpy()
    assert all(
        np.array_equal(np.asarray(PIL.Image.open(path)), frame) for path, frame in zip(files, wanted, strict=True)
    )
    with pytest.raises(pv3d.UserError, match="exists already"):
        video.save(tmp_path / "frames")


def test_one_picture(video, model, tmp_path):
    frame = model(model.appearance(1).requires_grad_(), model.motion(2), t=0)
    frame.save(tmp_path / "a.png", layers="rgb,normals")
    image = PIL.Image.open(tmp_path / "a.png")
    assert image.size == (2 * SIDE, SIDE) and image.text["Comment"] == SYNTHETIC
    assert repr(frame) == "<pv3d.Video of 1 frame, 32 x 32>"


def test_arrays(video, tmp_path):
    video.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        assert set(arrays) == {"rgb", "depth", "normals", "cameras", "times"}
        for name, array in arrays.items():
            assert np.array_equal(array, getattr(video, name).numpy()), name
    video.save(tmp_path / "b.npz", layers="depth")
    with np.load(tmp_path / "b.npz") as arrays:
        assert set(arrays) == {"depth", "cameras", "times"}


REFUSED = [
    ("a.mp4", {"layers": "rgb,shape"}, "layers='rgb,shape': choose of rgb, depth, normals"),
    ("a.mp4", {"layers": []}, "layers=.*: choose of"),
    ("a.mp4", {"scale": 0}, "scale is 0"),
    ("a.mp4", {"scale": 1.5}, "scale is 1.5"),
    ("a.mp4", {"fps": 0}, "fps=0 is not possible"),
    ("a.mp4", {"depth_range": (2, 3)}, "depth_range does nothing without the layer depth"),
    ("a.mp4", {"layers": "depth", "depth_range": (3, 2)}, "first distance must be less"),
    ("a", {"fps": 25}, "fps=25 is not possible for .*: leave it out"),
    ("a.npz", {"fps": 25}, "fps=25 is not possible"),
    ("a.npz", {"scale": 2}, "scale and depth_range do nothing"),
    ("a.png", {}, "one picture, but there are 3 frames: give a folder"),
    ("a.avi", {}, "end the name in .mp4, .webm, .gif, .png, .npz, or nothing for a folder"),
    ("a.gif", {"fps": 60}, "a GIF has up to 50"),
]


@pytest.mark.parametrize("name, options, message", REFUSED)
def test_what_is_refused_leaves_nothing(name, options, message, video, tmp_path):
    with pytest.raises((ValueError, pv3d.UserError), match=message):
        video.save(tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []
