"""The method eg3d-mcghd: what videos, latents and scores are made from, frame by frame."""

from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

import edit_videos
import pv3d
from applications.latents import load_latents, save_latents
from applications.sources import seeded_latents
from dnnlib.errors import UserError
from tests.helpers import tiny
from tests.helpers.inverting import finish, own_target, search
from tests.helpers.train_command import refused
from tests.helpers.viewing import WISH, pixels
from training.checkpoints.opener import load_discriminators, load_generator
from training.runs.health import probe
from training.sampling.clips import clip_spec, generate, slow_motion, whole
from training.sampling.options import SamplingOptions
from viewer.drawing import Artist

pytestmark = pytest.mark.usefixtures("one_thread")


def test_videos_run_on_for_as_many_frames_as_asked(moving):
    """More frames are the same ones and further ones; batches do not matter, nor do other frames."""
    G = load_generator(moving).G
    camera = tiny.labels(5)
    long = torch.cat([out["image"] for out in generate(G, clip_spec(G, 1, 2, camera.expand(40, -1)))])
    short = torch.cat(
        [
            out["image"]
            for out in generate(
                G, clip_spec(G, 1, 2, camera.expand(16, -1)), options=SamplingOptions(frames_per_batch=5)
            )
        ]
    )
    torch.testing.assert_close(long[:16], short, rtol=1e-4, atol=1e-5)
    steps = (long[1:] - long[:-1]).abs().mean(dim=(1, 2, 3))
    assert steps.min() > 1e-4, "it never stops"
    torch.testing.assert_close(whole(G, clip_spec(G, 1, 2, camera.expand(40, -1)))["image"], long, rtol=1e-4, atol=1e-5)
    assert "further ones go on from there" in slow_motion(G, 16, 17) and slow_motion(G, 16, 16) is None


def test_frames_are_those_of_the_static_generator_at_the_latents_of_the_chain(moving, static):
    G, still = load_generator(moving).G, load_generator(static).G
    cameras = tiny.labels(5).expand(16, -1)
    spec = clip_spec(G, 1, 2, cameras)
    frames = torch.cat([out["image"] for out in generate(G, spec)])
    w = still.mapping(spec.z[None], cameras[:1])[:, 0]
    offsets, _ = G.chain(w, spec.z_motion[None])
    ws = (w + offsets[0]).unsqueeze(1).expand(-1, still.num_ws, -1)
    expected = still.synthesis(ws, cameras, torch.zeros(16, 8), torch.zeros(16, 1))["image"]
    torch.testing.assert_close(frames, expected, rtol=1e-4, atol=1e-5)
    # Truncation acts behind the chain: at 0 nothing is left of it.
    mean = torch.cat([out["image"] for out in generate(G, spec, options=SamplingOptions(psi=0))])
    torch.testing.assert_close(mean, mean[:1].expand_as(mean))
    half = G.backbone.mapping.w_avg.lerp(ws, 0.5)
    expected = still.synthesis(half, cameras, torch.zeros(16, 8), torch.zeros(16, 1))["image"]
    halved = torch.cat([out["image"] for out in generate(G, spec, options=SamplingOptions(psi=0.5))])
    torch.testing.assert_close(halved, expected, rtol=1e-4, atol=1e-5)
    z = spec.z.expand(16, -1)
    called = G(z, cameras, spec.z_motion.expand(16, -1), spec.times[:, None], truncation_psi=0.5)["image"]
    torch.testing.assert_close(called, expected, rtol=1e-4, atol=1e-5)


def test_motion_is_seen_by_the_health_check(moving):
    seen = probe(load_generator(moving).G)
    assert seen["health/motion"] > 1 and seen["health/diversity"] > 1


def test_judges_of_patches_are_none_of_whole_frames(moving):
    assert load_discriminators(moving).D_img is None and load_discriminators(moving).D_vid is None


def test_latents_of_long_videos_are_kept_and_show_the_same_frames(moving, tmp_path):
    G = load_generator(moving).G
    cameras = tiny.labels(5).expand(20, -1)
    latents = seeded_latents(4, G, "model", cameras)
    assert latents.times.max() == 19 / 15
    save_latents(tmp_path / "latents.pt", latents)
    spec = load_latents(tmp_path / "latents.pt", G, "model").spec()
    kept, made = (torch.cat([out["image"] for out in generate(G, one)]) for one in (spec, clip_spec(G, 4, 4, cameras)))
    torch.testing.assert_close(kept, made, rtol=1e-4, atol=1e-5)
    endless = replace(latents, times=latents.times * 1e6)
    save_latents(tmp_path / "endless.pt", endless)
    with pytest.raises(UserError, match="times outside of 0 to 1000"):
        load_latents(tmp_path / "endless.pt", G, "model")


def test_there_is_no_way_from_moment_to_moment(moving, tmp_path):
    arguments = [f"--network={moving}", f"--outdir={tmp_path}", "--start=1", "--end=2", "--device=cpu"]
    assert "moves its latents step by step" in refused(
        CliRunner().invoke(edit_videos.main, ["interpolate", *arguments])
    )


def test_a_clip_is_inverted_through_the_chain(moving):
    """Codes of all frames are searched for, and the latents that are kept show the frames that the search saw."""
    G = load_generator(moving).G
    target = own_target(G, frames=3)
    done = search(G, target, with_motion=True, steps=20)
    losses = finish(done)
    assert losses[-1] < 0.6 * losses[0]
    assert all(code.abs().sum() > 0 for code in done.motion)
    latents = done.latents("model")
    assert latents.z_motion.shape == (3, G.config.z_motion_dim) and (latents.times == 1).all()
    made = torch.cat([out["image"] for out in generate(G, latents.spec())])
    still = torch.cat([out["image"] for out in generate(G, replace(latents, times=torch.zeros(3)).spec())])
    compared, standing = (done.comparison(images, torch.arange(3)).mean() for images in (made, still))
    assert compared < losses[-1] * 1.2 and compared < standing


def test_the_viewer_shows_the_frames_of_the_chain(moving):
    model = pv3d.load(moving, device="cpu")
    w, z_motion = model.w(model.appearance(3)), model.motion(7)
    shown = {}
    for time in (0.0, 0.5):
        video = model.video(w, z_motion, cameras=pv3d.frontal(20), t=time, frames=1, truncation=0.7)
        shown[time] = pixels(Artist(model), replace(WISH, scene=replace(WISH.scene, time=time)))
        assert torch.equal(shown[time], video.pictures("rgb")[0])
    assert not torch.equal(shown[0.0], shown[0.5])
