"""What is computed, and how often: planes once while a camera moves, previews of as many rays as are fast."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import pv3d
from tests.helpers.viewing import SCENE, WISH, pixels
from viewer.cameras import Angles
from viewer.drawing import MOVING_SECONDS, SLOW_SECONDS, Artist, Pace, Superseded
from viewer.messages import Appearance

# --- What is computed -------------------------------------------------------------------------------------------------


def test_planes_are_computed_once_while_the_camera_moves(artist, model, monkeypatch):
    calls = []
    real = model.G.planes
    monkeypatch.setattr(model.G, "planes", lambda *args: calls.append(args) or real(*args))
    for yaw in range(5):
        artist.draw(replace(WISH, camera=Angles(yaw=yaw), is_moving=yaw < 4))
    assert len(calls) == 1
    artist.draw(replace(WISH, scene=replace(SCENE, time=0.25)))
    artist.draw(replace(WISH, camera=Angles(yaw=9)))  # back again
    assert len(calls) == 2
    for layers in (("depth",), ("depth", "normals")):
        artist.draw(replace(WISH, layers=layers))
    assert len(calls) == 3, "those when time is 0, for the colours of depth"


def test_what_is_kept_is_bounded(artist):
    artist.scenes.planes.most = 3.5 * artist.scenes.geometry(SCENE).planes.numel() * 4
    for time in np.linspace(0, 1, 8):
        artist.draw(replace(WISH, scene=replace(SCENE, time=time)))
    assert len(artist.scenes.planes.values) == 3


def test_every_part_of_a_scene_changes_its_picture(artist):
    changes = [
        {"first": Appearance(seed=4)},
        {"second": Appearance(seed=4), "blend": 0.5},
        {"second": Appearance(seed=4), "blend": 0.6},
        {"second": Appearance(seed=5), "blend": 0.5},
        {"motion": 8},
        {"time": 0.6},
        {"psi": 0.8},
    ]
    seen = [
        pixels(artist, replace(WISH, scene=replace(SCENE, **change))).numpy().tobytes() for change in [{}, *changes]
    ]
    assert len(set(seen)) == len(seen)


def test_a_step_is_not_taken_for_what_nobody_wants_any_more(artist):
    with pytest.raises(Superseded):
        artist.draw(WISH, lambda: True)
    assert artist.scenes.planes.made == 1 and artist.paces[WISH.layers].full is None
    assert artist.draw(replace(WISH, is_moving=True), lambda: True).png, "or nothing would be seen to move"


# --- Previews ---------------------------------------------------------------------------------------------------------


def test_a_preview_is_the_raw_picture_of_fewer_rays(artist, model):
    artist.paces[("rgb", "normals")] = Pace(full=9.0, a_ray=MOVING_SECONDS / 16**2)
    seen = artist.draw(replace(WISH, layers=("rgb", "normals"), is_moving=True))
    assert seen.about["rays"] == model.G.config.rendering.resolution and not seen.about["final"]
    video = model.video(
        model.w(model.appearance(3)), model.motion(7), cameras=pv3d.frontal(20), t=0.5, frames=1, truncation=0.7
    )
    raw = (video.image_raw[0] * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    artist.paces[("rgb",)] = Pace(full=9.0, a_ray=MOVING_SECONDS / 16**2)
    assert torch.equal(pixels(artist, replace(WISH, is_moving=True)), raw)


def test_a_pace_gives_as_many_rays_as_are_fast():
    pace = Pace()
    assert pace.rays(64) == 16, "nothing is known yet"
    pace.learn(1.0, None)
    pace.learn(MOVING_SECONDS, 40)
    assert pace.rays(64) == 40 and pace.rays(32) == 32
    pace.learn(2 * MOVING_SECONDS, 40)
    assert 32 <= pace.rays(64) < 40, "one slow picture counts little"
    assert Pace(full=1.0, a_ray=SLOW_SECONDS / 33**2).rays(64) == 32, "fewer show little: they may take longer"
    assert Pace(full=1.0, a_ray=SLOW_SECONDS / 25**2).rays(64) == 24
    for _ in range(20):
        pace.learn(100 * MOVING_SECONDS, 16)
    assert pace.rays(64) == 16, "fewer make no picture"
    pace.learn(MOVING_SECONDS / 2, None)
    assert pace.rays(64) is None


def test_a_moving_shape_is_coarse_until_the_fine_one_is_there(shipped, small_shape):
    artist = Artist(shipped)
    wish = replace(WISH, layers=("shape",))
    artist.paces[("shape",)] = Pace(full=0.0)
    moving = artist.draw(replace(wish, is_moving=True))
    assert not moving.about["final"] and artist.scenes.surfaces.made == 1
    artist.draw(wish)
    assert artist.scenes.surfaces.made == 2
    artist.paces[("shape",)] = Pace(full=0.0)
    assert artist.draw(replace(wish, is_moving=True)).about["final"] and artist.scenes.surfaces.made == 2
