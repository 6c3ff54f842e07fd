"""The generator: golden images, depth, points and densities; batches, randomness, sizes."""

import pytest
import torch

from tests.helpers import golden, tiny
from tests.helpers.tiny import labels, normal
from training.checkpoints.snapshots import build_networks
from training.networks.generator import Generator


def given(name: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return golden.tensor("generator", name, dtype)


def check_image(prefix: str, image: torch.Tensor, step: int, middle: str = "") -> None:
    """`image<middle>_s<step>` and `image<middle>_stat` behind a prefix."""
    golden.check("generator", f"{prefix}image{middle}_s{step}", image[:, :, ::step, ::step])
    golden.check("generator", f"{prefix}image{middle}_stat", golden.stat(image))


def test_frames_match_golden(scene):
    golden.check("generator", "feature_image_s3", scene.features[:, :, ::3, ::3])
    golden.check("generator", "feature_image_stat", golden.stat(scene.features))
    for name in ("image_raw", "image_depth", "xyz", "weight_total"):
        golden.check("generator", name, scene.frames[name])
    x, rgb = scene.first_upscaled.output
    golden.check("generator", "sr_block0_rgb_s5", rgb[:, :, ::5, ::5])
    golden.check("generator", "sr_block0_x_stat", golden.stat(x))
    check_image("", scene.frames["image"], 5)


def test_frames_match_golden_in_float64(scene64):
    golden.check("generator_f64", "feature_image_stat", golden.stat(scene64.features))
    for name in ("image_raw", "image_depth", "xyz", "weight_total"):
        golden.check("generator_f64", name, scene64.frames[name])


@pytest.mark.slow
def test_upscaled_frames_match_golden_in_float64(scene64, generator):
    image_raw, features, w = scene64.frames["image_raw"], scene64.features, scene64.ws[:, -1]
    try:
        image = generator.superresolution.double()(image_raw, features, w)
    finally:
        generator.superresolution.float()
    golden.check("generator_f64", "image_stat", golden.stat(image))


@pytest.mark.parametrize("file, fixture", [("generator", "scene"), ("generator_f64", "scene64")])
def test_densities_match_golden(file, fixture, request):
    scene = request.getfixturevalue(fixture)
    out = scene.generator.sample_planes(scene.planes, given("coordinates", scene.dtype))
    golden.check(file, "sample_sigma", out["sigma"])
    if file == "generator":
        golden.check(file, "sample_rgb", out["rgb"])


@pytest.mark.parametrize("side, step", [(32, 1), (128, 3)])
@torch.no_grad()
def test_other_rendering_resolutions_match_golden(scene, side, step):
    frames = scene.generator.render_planes(scene.planes, scene.ws, given("camera"), side)
    suffix = f"_s{step}" if step > 1 else ""
    golden.check("generator", f"image_raw_{side}{suffix}", frames["image_raw"][:, :, ::step, ::step])
    golden.check("generator", f"image_raw_{side}_stat", golden.stat(frames["image_raw"]))
    golden.check("generator", f"image_depth_{side}{suffix}", frames["image_depth"][:, :, ::step, ::step])
    check_image("", frames["image"], 9, f"_{side}")


@torch.no_grad()
def test_frames_without_noise_match_golden(scene):
    frames = scene.generator.synthesis(scene.ws, given("camera"), given("z_motion"), given("t"), noise_mode="none")
    golden.check("generator", "none_image_raw", frames["image_raw"])
    check_image("none_", frames["image"], 9)


@torch.no_grad()
def test_truncated_frames_match_golden(generator):
    ws = generator.mapping(given("z"), given("camera"), truncation_psi=0.7)
    frames = generator.synthesis(ws, given("camera"), given("z_motion"), given("t"))
    golden.check("generator", "psi0.7_image_raw", frames["image_raw"])
    check_image("psi0.7_", frames["image"], 9)


@torch.no_grad()
def test_video_matches_golden(generator):
    """Three times of one appearance and another sample's motion, from one row of ws as a video's frames share it."""
    z, z_motion, camera = given("z")[:1], given("z_motion")[1:], given("camera")[1:]
    frames = generator.synthesis(
        generator.mapping(z, camera),
        camera.expand(3, -1),
        z_motion.expand(3, -1),
        given("video_t"),
        neural_rendering_resolution=32,
    )
    golden.check("generator", "video_image_raw_32", frames["image_raw"])
    golden.check("generator", "video_image_s9", frames["image"][:, :, ::9, ::9])


def inputs(G, count=3, dtype=torch.float64):
    """z, z_motion, t, camera of `count` different frames."""
    return (
        normal(0, count, G.config.z_dim, dtype=dtype),
        normal(1, count, G.config.z_motion_dim, dtype=dtype),
        torch.linspace(0.1, 0.9, count, dtype=dtype).unsqueeze(1),
        labels(2, count, dtype=dtype),
    )


def frames_of(G, z, z_motion, t, camera, **options):
    return G.synthesis(G.mapping(z, camera, z_motion, t), camera, z_motion, t, **options)


@pytest.mark.parametrize("noise_mode", ["const", "none"])
def test_a_frame_does_not_depend_on_its_batch(noise_mode):
    """Nor on the order: deterministic rendering is the default."""
    G = tiny.generator(torch.float64)
    args = inputs(G)
    together = frames_of(G, *args, noise_mode=noise_mode, with_points=True)
    for rows in ([0], [2], [2, 0], [1, 1, 1, 2]):
        some = frames_of(G, *(a[rows] for a in args), noise_mode=noise_mode, with_points=True)
        for name, value in some.items():
            torch.testing.assert_close(value, together[name][rows])


def test_one_row_of_latents_serves_all_frames():
    G = tiny.generator(torch.float64)
    z, z_motion, t, camera = inputs(G)
    ws = G.mapping(z[:1], camera[:1], z_motion[:1], t[:1])
    shared = G.synthesis(ws, camera, z_motion, t, with_points=True)
    repeated = G.synthesis(ws.expand(3, -1, -1), camera, z_motion, t, with_points=True)
    for name, value in shared.items():
        torch.testing.assert_close(value, repeated[name])


def test_the_two_halves_equal_the_whole():
    G = tiny.generator()
    z, z_motion, t, camera = inputs(G, dtype=torch.float32)
    ws = G.mapping(z, camera)
    planes = G.planes(ws, z_motion, t)
    assert planes.shape == (3, 3, 4, 16, 16)
    whole, halves = G.synthesis(ws, camera, z_motion, t), G.render_planes(planes, ws, camera)
    assert whole.keys() == halves.keys() and all(torch.equal(whole[name], halves[name]) for name in whole)
    points = normal(5, 3, 7, 3) * 0.3
    for a, b in zip(G.sample(points, ws, z_motion, t).values(), G.sample_planes(planes, points).values(), strict=True):
        assert torch.equal(a, b)


def test_randomness_comes_from_the_generator_alone():
    G = tiny.generator()
    args = inputs(G, dtype=torch.float32)
    still = frames_of(G, *args)["image_raw"]
    state = torch.random.get_rng_state()
    for mode in ("const", "random"):
        first, again, other = (
            frames_of(G, *args, noise_mode=mode, random=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
        )
        assert torch.equal(first["image"], again["image"])
        assert not torch.equal(first["image"], other["image"]) and not torch.equal(first["image_raw"], still)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(frames_of(G, *args)["image_raw"], still)


def test_shapes_and_points():
    G = tiny.generator()
    args = inputs(G, dtype=torch.float32)
    frames = frames_of(G, *args, neural_rendering_resolution=5, with_points=True)
    assert {name: tuple(value.shape) for name, value in frames.items()} == {
        "image": (3, 3, 32, 32),
        "image_raw": (3, 3, 5, 5),
        "image_depth": (3, 1, 5, 5),
        "xyz": (3, 5, 5, 3),
        "weight_total": (3, 5, 5, 1),
    }
    assert (frames["weight_total"] >= 0).all() and (frames["weight_total"] <= 1).all()
    rendering = G.config.rendering
    assert frames["image_depth"].min() >= rendering.near and frames["image_depth"].max() <= rendering.far
    assert set(frames_of(G, *args)) == {"image", "image_raw", "image_depth"}


@pytest.mark.parametrize(
    "side, changes, upscales",
    [
        (64, {}, False),
        (32, {}, False),
        (128, {}, True),
        (64, {"generator__sr_channels": (6, 5)}, True),
        (128, {"generator__rendering__resolution": 128}, False),
    ],
)
def test_small_images_need_no_super_resolution(side, changes, upscales):
    """Up to 64 pixels, or up to what is rendered, the raw image is resized; channels ask for the blocks."""
    changes = {"generator__sr_channels": None, "generator__img_resolution": side} | changes
    with tiny.seeded(0):
        G = Generator(tiny.config(**changes).generator).requires_grad_(False)
    assert (G.superresolution is not None) == upscales
    args = inputs(G, 1, torch.float32)
    assert frames_of(G, *args, neural_rendering_resolution=6)["image"].shape == (1, 3, side, side)


def test_networks_are_the_same_for_the_same_seed():
    """Whatever was drawn before, and without a trace in torch's own generator."""
    options, device = tiny.config(), torch.device("cpu")
    state = torch.random.get_rng_state()
    first = build_networks(options, 3, device)
    assert torch.equal(torch.random.get_rng_state(), state)
    with tiny.seeded(5):
        second, other = build_networks(options, 3, device), build_networks(options, 4, device)
    for (_, a), (_, b), (_, c) in zip(first.items(), second.items(), other.items(), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
        assert not all(torch.equal(x, y) for x, y in zip(a.parameters(), c.parameters(), strict=True))


@pytest.mark.parametrize("changes", [{}, {"generator__motion_code": "z_a"}, {"generator__motion_generator": "naive"}])
def test_forward_is_mapping_and_synthesis(changes):
    G = tiny.generator(**changes)
    config = G.config
    assert (G.z_dim, G.z_motion_dim, G.w_dim) == (config.z_dim, config.z_motion_dim, config.w_dim)
    z, z_motion, t, camera = normal(1, 2, 8), normal(2, 2, 8), torch.tensor([[0.2], [0.9]]), labels(3, 2)
    out = G(z, camera, z_motion, t, truncation_psi=0.5, truncation_cutoff=2, neural_rendering_resolution=4)
    driving = G.motion_code(z, z_motion)
    ws = G.mapping(z, camera, driving, t, truncation_psi=0.5, truncation_cutoff=2)
    expected = G.synthesis(ws, camera, driving, t, neural_rendering_resolution=4)
    assert out.keys() == expected.keys() and all(torch.equal(out[name], expected[name]) for name in out)
