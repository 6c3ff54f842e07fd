"""What the viewer shows: at full resolution pv3d's own pictures to the bit, from planes that are kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import pv3d
from dnnlib.errors import UserError
from tests.helpers import tiny
from tests.helpers.viewing import SCENE, VIDEO, WISH, latents_file, pixels
from training.checkpoints.snapshots import build_networks, save_snapshot
from training.sampling.clips import ClipSpec, frame_times
from training.sampling.drawing import layered
from training.sampling.options import SamplingOptions, Shape
from viewer.cameras import Angles
from viewer.drawing import Artist
from viewer.messages import Appearance, Scene


def model_of(tmp_path, **changes) -> pv3d.Model:
    """A tiny model of another configuration."""
    options = tiny.config(**changes)
    path = tmp_path / "network-snapshot-000000.000.pkl"
    save_snapshot(path, options, build_networks(options, 0, torch.device("cpu")), tiny.labels(0, 1, 2), {"kimg": 0.0})
    return pv3d.load(path, device="cpu")


# --- Still pictures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [("rgb",), ("normals", "rgb"), ("normals",)])
def test_a_still_picture_is_that_of_pv3d_to_the_bit(layers, artist, model):
    video = model.video(
        model.w(model.appearance(3)), model.motion(7), cameras=pv3d.frontal(20), t=0.5, frames=1, truncation=0.7
    )
    assert torch.equal(pixels(artist, replace(WISH, layers=layers)), video.pictures(layers)[0])


def test_it_is_that_of_the_shipped_model_too(shipped):
    model = shipped
    video = model.video(
        model.w(model.appearance(3)), model.motion(7), cameras=pv3d.frontal(20), t=0.5, frames=1, truncation=0.7
    )
    assert torch.equal(pixels(Artist(model), WISH), video.pictures("rgb")[0])


def test_depth_has_the_colours_of_the_frame_at_time_0_from_the_front(artist, model):
    def video(camera, time):
        return model.video(
            model.w(model.appearance(3)), model.motion(7), cameras=camera, t=time, frames=1, truncation=0.7
        )

    first = video(pv3d.frontal(), 0.0)
    picture = artist.draw(replace(WISH, layers=("depth",)))
    shown = tuple(picture.about["depth_range"])
    assert torch.equal(first.pictures("depth"), first.pictures("depth", depth_range=shown))
    wanted = video(pv3d.frontal(20), 0.5).pictures("depth", depth_range=shown)[0]
    assert torch.equal(pixels(artist, replace(WISH, layers=("depth",))), wanted)


def test_a_shape_is_that_of_gen_videos(shipped, small_shape):
    model = shipped
    clip = ClipSpec(
        ws=model.w(model.appearance(3)).ws,
        z_motion=model.motion(7),
        cameras=pv3d.frontal(20).expand(2, -1),
        times=torch.tensor([0.0, 0.5]),
    )
    wanted = list(layered(model.G, clip, SamplingOptions(psi=0.7), ["shape"], shape=small_shape, shown=None))
    assert torch.equal(pixels(Artist(model), replace(WISH, layers=("shape",))), wanted[1])


def test_a_head_without_a_surface_is_said_to_have_none(artist):
    with pytest.raises(UserError, match="there is no shape to show"):
        artist.draw(replace(WISH, layers=("shape",)))


def test_two_heads_blend_as_pv3d_interpolates(artist, model):
    ends = [model.appearance(3), model.appearance(4)]
    video = model.interpolate(ends, motion=model.motion(7), frames=5, t=0.5, cameras=pv3d.frontal(), truncation=0.7)
    scene = replace(SCENE, second=Appearance(seed=4), blend=0.25)
    seen = pixels(artist, replace(WISH, scene=scene, camera=Angles()))
    assert torch.equal(seen, video.pictures("rgb")[1])


def test_zoom_is_focal_length(artist, model):
    label = pv3d.frontal(20, 5)
    label[[16, 20]] *= 2
    video = model.video(model.w(model.appearance(3)), model.motion(7), cameras=label, t=0.5, frames=1, truncation=0.7)
    seen = pixels(artist, replace(WISH, camera=Angles(yaw=20, pitch=5, zoom=2)))
    assert torch.equal(seen, video.pictures("rgb")[0])
    assert torch.equal(seen, pixels(artist, replace(WISH, camera=tuple(label.tolist()))))


@pytest.mark.parametrize("changes", [{"generator__motion_generator": "naive"}, {"generator__motion_code": "z_a"}])
def test_models_of_other_kinds(changes, tmp_path):
    model = model_of(tmp_path, **changes)
    artist = Artist(model)
    frontal = pv3d.frontal()
    video = model.video(model.appearance(3), model.motion(7), cameras=frontal, t=0.5, frames=1, truncation=0.7)
    assert torch.equal(pixels(artist, replace(WISH, camera=Angles())), video.pictures("rgb")[0])
    blended = replace(WISH, scene=replace(SCENE, second=Appearance(seed=1), blend=0.5))
    if artist.scenes.can_blend:
        pixels(artist, blended)
    else:
        with pytest.raises(UserError, match="naive"):
            pixels(artist, blended)


# --- Latents ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changing", [False, True])
def test_latents_show_their_frames(changing, tmp_path, artist, model):
    path, own = latents_file(tmp_path, model, changing=changing)
    artist.scenes.add_latents("file", path)
    for frame, time in [(0, 0.0), (1, 0.5), (2, 0.9)]:
        scene = Scene(first=Appearance(latents="file"), motion=None, time=time)
        ws = own.ws[frame] if changing else own.ws
        video = model.video(
            pv3d.W(ws=ws), own.z_motion[frame], cameras=pv3d.frontal(20), t=own.times[frame].item(), frames=1
        )
        assert torch.equal(pixels(artist, replace(WISH, scene=scene)), video.pictures("rgb")[0])
    scene = Scene(first=Appearance(latents="file"), motion=7, time=0.9)
    last = own.ws[2] if changing else own.ws
    video = model.video(pv3d.W(ws=last), model.motion(7), cameras=pv3d.frontal(20), t=0.9, frames=1)
    assert torch.equal(pixels(artist, replace(WISH, scene=scene)), video.pictures("rgb")[0])


def test_latents_with_weights_of_their_own(tmp_path, artist, model):
    weights = model.G.state_dict()
    name = next(key for key in weights if key.startswith("decoder") and key.endswith("weight"))
    path, own = latents_file(tmp_path, model, tuned={name: weights[name] * 1.5})
    artist.scenes.add_latents("tuned", path)
    path, _ = latents_file(tmp_path, model)
    artist.scenes.add_latents("plain", path)
    tuned, plain = (
        pixels(artist, replace(WISH, scene=Scene(first=Appearance(latents=key), motion=None)))
        for key in ("tuned", "plain")
    )
    assert not torch.equal(tuned, plain) and torch.equal(model.G.state_dict()[name], weights[name])


def test_latents_of_others_are_refused(tmp_path, artist, model):
    path, _ = latents_file(tmp_path, model, model="0" * 64)
    with pytest.raises(UserError, match="other weights"):
        artist.scenes.add_latents("other", path)
    with pytest.raises(UserError, match="open their file again"):
        artist.draw(replace(WISH, scene=Scene(first=Appearance(latents="other"), motion=7)))


# --- Videos -----------------------------------------------------------------------------------------------------------


def test_a_video_is_that_of_pv3d(artist, model):
    wanted = model.video(
        model.w(model.appearance(3)), model.motion(7), cameras=VIDEO.labels, frames=4, truncation=0.7
    ).pictures("rgb")
    frames = np.stack(list(artist.frames(VIDEO)))
    assert np.array_equal(frames, wanted.permute(0, 2, 3, 1).numpy())
    still = list(artist.frames(replace(VIDEO, plays=False, labels=VIDEO.labels[:1])))
    assert all(np.array_equal(frame, still[0]) for frame in still)


def test_a_video_from_head_to_head_is_that_of_pv3d(artist, model):
    ends = [model.appearance(3), model.appearance(4)]
    wanted = model.interpolate(ends, motion=model.motion(7), frames=4, cameras=pv3d.frontal(), truncation=0.7)
    scene = replace(SCENE, second=Appearance(seed=4), blend=0.9)
    wish = replace(VIDEO, scene=scene, labels=pv3d.frontal()[None], blends=True)
    assert np.array_equal(np.stack(list(artist.frames(wish))), wanted.pictures("rgb").permute(0, 2, 3, 1).numpy())


def test_a_video_of_latents_is_their_clip(tmp_path, artist, model):
    path, own = latents_file(tmp_path, model)
    artist.scenes.add_latents("file", path)
    scene = Scene(first=Appearance(latents="file"), motion=None)
    frames = list(artist.frames(replace(VIDEO, scene=scene, labels=own.cameras, frames=3)))
    wanted = layered(model.G, own.spec(), SamplingOptions(), ["rgb"], shape=Shape(resolution=8), shown=None)
    for frame, picture in zip(frames, wanted, strict=True):
        assert np.array_equal(frame, picture.permute(1, 2, 0).numpy())
    assert torch.equal(own.times, frame_times(3))


# --- On a GPU ---------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("layers", [("rgb", "depth", "normals")])
def test_a_gpu_shows_what_a_cpu_does(layers, snapshot, model, artist, tmp_path):
    on_gpu = Artist(pv3d.load(snapshot, device="cuda"))
    path, own = latents_file(tmp_path, model)
    scenes = [
        SCENE,
        replace(SCENE, second=Appearance(seed=4), blend=0.5),
        Scene(first=Appearance(latents="file"), motion=None),
    ]
    for each in (on_gpu, artist):
        each.scenes.add_latents("file", path)
    for scene in scenes:
        wish = replace(WISH, scene=scene, layers=layers)
        difference = pixels(on_gpu, wish).float() - pixels(artist, wish).float()
        assert difference.abs().mean() < 0.5
        assert len(list(on_gpu.frames(replace(VIDEO, scene=scene, layers=layers)))) == VIDEO.frames
