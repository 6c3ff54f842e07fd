"""pv3d.Model: frames of gen_videos.py to the bit, gradients, interpolation, mixing, meshes, arguments refused."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import gen_videos
import pv3d
from applications.sources import interpolated, seeded_latents
from tests.helpers import tiny
from tests.helpers.tiny import labels, normal
from training.checkpoints.snapshots import build_networks, save_snapshot
from training.checkpoints.sources import SHIPPED
from training.sampling import frame_files
from training.sampling.camera_paths import camera_path
from training.sampling.clips import clip_spec, generate
from training.sampling.options import Orbit, SamplingOptions

HEADS = SHIPPED["heads"]


def model_of(tmp_path, **changes) -> pv3d.Model:
    """A tiny model of another configuration."""
    options = tiny.config(**changes)
    path = tmp_path / "network-snapshot-000000.000.pkl"
    networks = build_networks(options, 0, torch.device("cpu"))
    save_snapshot(path, options, networks, labels(0, 1, 2), {"kimg": 0.0})
    return pv3d.load(path, device="cpu")


def library(G, seed: int, motion: int, cameras: torch.Tensor, **options) -> dict[str, torch.Tensor]:
    """What the shared path makes of seeds."""
    batches = list(generate(G, clip_spec(G, seed, motion, cameras), SamplingOptions(frames_per_batch=1, **options)))
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


# --- Videos -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["tiny", "heads"])
def test_frames_are_those_of_the_shared_path_to_the_bit(source, snapshot, model):
    own = model if source == "tiny" else pv3d.load("heads", device="cpu")
    cameras = pv3d.orbit(3, yaw=30, pitch=5)
    seen = own.video(own.appearance(3), own.motion(7), cameras=cameras, truncation=0.7, truncation_cutoff=2)
    path = camera_path(torch.empty(0), 0, "orbit", 3, Orbit(yaw=30, pitch=5))
    wanted = library(own.G, 3, 7, path, psi=0.7, cutoff=2)
    for name, tensor in (("image", seen.image), ("image_raw", seen.image_raw), ("image_depth", seen.depth)):
        assert torch.equal(tensor, wanted[name]), name
    assert torch.equal(seen.cameras, cameras) and seen.times.tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("cameras", ["dataset", "orbit", "frontal"])
def test_pictures_are_those_of_gen_videos(cameras, snapshot, model, tmp_path, monkeypatch):
    frames = []
    monkeypatch.setattr(frame_files, "write_video", lambda path, items, fps, comment: frames.extend(items))
    flags = ["--seeds=5", "--motion-seeds=2", "--frames=4", "--layers=rgb,depth,normals", "--device=cpu", "--trunc=0.7"]
    done = CliRunner().invoke(
        gen_videos.main, [f"--network={snapshot}", f"--outdir={tmp_path}", f"--cameras={cameras}", *flags]
    )
    assert done.exit_code == 0, done.output
    path = {"dataset": model.cameras(5, 4), "orbit": pv3d.orbit(4), "frontal": None}[cameras]
    made = model.video(model.appearance(5), model.motion(2), cameras=path, frames=4, truncation=0.7)
    drawn = made.pictures("rgb,depth,normals").permute(0, 2, 3, 1).numpy()
    assert np.array_equal(drawn, np.stack(frames))


def test_lengths_of_videos(model):
    z, zm = model.appearance(0), model.motion(0)
    assert len(model.video(z, zm)) == 16
    assert len(model.video(z, zm, frames=2)) == 2
    assert len(model.video(z, zm, t=[0, 0.5, 1])) == 3
    assert len(model.video(z, zm, cameras=pv3d.orbit(3))) == 3
    assert len(model.video(z, zm, cameras=pv3d.frontal(10), frames=2)) == 2
    resampled = model.video(z, zm, cameras=pv3d.orbit(5), frames=3)
    assert torch.equal(resampled.cameras, pv3d.resample(pv3d.orbit(5), 3))
    assert model.video(z, zm, t=0.5, frames=2).times.tolist() == [0.5, 0.5]


def test_times_run_as_far_as_there_was_training(snapshot):
    own = pv3d.load(snapshot, device="cpu")
    own.G.max_time = 0.5
    assert own.video(own.appearance(0), own.motion(0), frames=3).times.tolist() == [0, 0.25, 0.5]


def test_frames_of_a_video_take_part_in_gradients_of_others(model):
    seen = model.video(model.appearance(0), model.motion(0), frames=1)
    weight = torch.ones(1, requires_grad=True)
    for tensor in (seen.image, seen.image_raw, seen.depth, seen.cameras, seen.times):
        assert not tensor.is_inference() and not tensor.requires_grad
    (seen.image * weight).sum().backward()
    assert weight.grad is not None


# --- Single frames ----------------------------------------------------------------------------------------------------


def test_frames_of_one_pass_are_those_of_a_video(model):
    z, zm, cameras = model.appearance(1), model.motion(2), pv3d.orbit(3)
    video = model.video(z, zm, cameras=cameras, truncation=0.5, batch=3)
    frames = model(z, zm, t=video.times, camera=cameras, truncation=0.5)
    assert torch.allclose(frames.image, video.image, rtol=0, atol=1e-5)
    assert torch.allclose(frames.depth, video.depth, rtol=0, atol=1e-6)


def test_rows_of_codes_are_clips_of_their_own(model):
    z = torch.stack([model.appearance(seed) for seed in range(2)])
    zm = torch.stack([model.motion(seed) for seed in range(2)])
    cameras, t = labels(4, 2), torch.tensor([0.2, 0.8])
    both = model(z, zm, t=t, camera=cameras)
    for row in range(2):
        alone = model(z[row], zm[row], t=t[row], camera=cameras[row])
        assert torch.allclose(both.image[row], alone.image[0], rtol=0, atol=1e-5)
    assert not torch.allclose(both.image[0], both.image[1], atol=1e-2)


def test_gradients_agree_with_finite_differences(model):
    z, zm = (code.clone().requires_grad_() for code in (model.appearance(3), model.motion(4)))
    t = torch.tensor(0.5, requires_grad=True)
    camera = pv3d.frontal(5.0).requires_grad_()
    weights = normal(0, 1, 3, 32, 32)

    def value(z, zm, t, camera) -> torch.Tensor:
        return (model(z, zm, t=t, camera=camera).image * weights).sum()

    value(z, zm, t, camera).backward()
    inputs = [z, zm, t]
    for place, tensor in enumerate(inputs):
        step = normal(place + 1, *tensor.shape) * 1e-2
        ends = []
        for sign in (1, -1):
            moved = [other.detach() for other in inputs]
            moved[place] = moved[place] + sign * step
            ends.append(value(*moved, camera.detach()).item())
        expected = (ends[0] - ends[1]) / 2
        assert (tensor.grad * step).sum().item() == pytest.approx(expected, rel=0.05, abs=2e-3)
    assert camera.grad.abs().max() > 0


def test_gradients_of_rows_and_latents(model):
    z = torch.stack([model.appearance(0), model.appearance(1)]).requires_grad_()
    model(z, model.motion(0), t=0.5).image[0].sum().backward()
    assert z.grad[0].abs().max() > 0 and z.grad[1].abs().max() == 0
    ws = model.w(model.appearance(0)).ws.requires_grad_()
    model(pv3d.W(ws=ws), model.motion(0), t=0.5).image.sum().backward()
    assert ws.grad.abs().max() > 0
    with torch.no_grad():
        assert not model(pv3d.W(ws=ws), model.motion(0), t=0.5).image.requires_grad


# --- Latents ----------------------------------------------------------------------------------------------------------


def test_latents_take_a_codes_place(model):
    z, zm, cameras = model.appearance(1), model.motion(2), pv3d.orbit(3)
    of_code = model.video(z, zm, cameras=cameras)
    of_latents = model.video(model.w(z, camera=cameras[0]), zm, cameras=cameras)
    assert torch.allclose(of_code.image, of_latents.image, rtol=0, atol=1e-5)
    truncated = model.w(z, camera=cameras[0], truncation=0.3)
    assert torch.allclose(
        model.video(truncated, zm, cameras=cameras).image,
        model.video(z, zm, cameras=cameras, truncation=0.3).image,
        rtol=0,
        atol=1e-5,
    )


def test_a_code_is_mapped_with_the_camera_that_sees_it(model):
    z, zm, camera = model.appearance(1), model.motion(2), pv3d.frontal(yaw=30)
    own = model(z, zm, t=0.5, camera=camera)
    assert torch.allclose(
        own.image, model(model.w(z, camera=camera), zm, t=0.5, camera=camera).image, rtol=0, atol=1e-5
    )
    assert not torch.equal(own.image, model(model.w(z), zm, t=0.5, camera=camera).image)


def test_interpolation_is_that_of_edit_videos(model):
    cameras = pv3d.orbit(5)
    a, b = (seeded_latents(seed, model.G, "", cameras) for seed in (1, 2))
    way = interpolated(a, b, cameras, "appearance")
    made = model.interpolate([model.appearance(1), model.appearance(2)], motion=model.motion(1), cameras=cameras, t=0.5)
    wanted = torch.cat([batch["image"] for batch in generate(model.G, way.spec(), SamplingOptions(frames_per_batch=1))])
    assert torch.allclose(made.image, wanted, rtol=0, atol=1e-5)


def test_keys_of_an_interpolation_are_met_and_the_motion_plays(model):
    keys = [model.appearance(0), model.w(model.appearance(1)), model.appearance(2)]
    zm = model.motion(5)
    way = model.interpolate(keys, motion=zm, frames=5)
    for frame, key in ((0, keys[0]), (2, keys[1]), (4, keys[2])):
        alone = model(key, zm, t=way.times[frame])
        assert torch.allclose(way.image[frame], alone.image[0], rtol=0, atol=1e-5)
    assert way.times.tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_mixing(model):
    a, b = model.appearance(0), model.appearance(1)
    mixed = model.mix(a, model.w(b), layers=range(1, 3))
    wanted = model.w(a).ws.clone()
    wanted[1:3] = model.w(b).ws[1:3]
    assert torch.equal(mixed.ws, wanted)
    rows = slice(0, 2 * model.G.config.motion_blocks - 1)
    assert torch.equal(model.mix(a, b).ws[rows], model.w(b).ws[rows])
    with pytest.raises(pv3d.UserError, match="no row 99"):
        model.mix(a, b, layers=[99])


def test_models_whose_appearances_have_no_latents(tmp_path):
    naive = model_of(tmp_path, generator__motion_generator="naive")
    z, zm = naive.appearance(0), naive.motion(0)
    assert len(naive.video(z, zm, frames=2)) == 2
    assert torch.equal(naive(z, zm, t=0.5).image, naive(z[None], zm, t=0.5).image)
    for make in (lambda: naive.w(z), lambda: naive.mix(z, z), lambda: naive.interpolate([z, z], motion=zm)):
        with pytest.raises(pv3d.UserError, match="naive"):
            make()


def test_a_model_that_maps_every_camera(tmp_path):
    own = model_of(tmp_path, generator__camera_mode="Non")
    keys = [own.appearance(0), own.appearance(1)]
    with pytest.raises(pv3d.UserError, match="camera-mode=Non"):
        own.interpolate(keys, motion=own.motion(0), cameras=pv3d.orbit(3))
    assert len(own.interpolate(keys, motion=own.motion(0), frames=3)) == 3


def test_an_appearance_code_that_drives_the_motion(tmp_path):
    own = model_of(tmp_path, generator__motion_code="z_a", generator__z_motion_dim=4)
    z = own.appearance(0)
    assert torch.allclose(own(z, own.motion(0), t=0.5).image, own(own.w(z), z, t=0.5).image, rtol=0, atol=1e-5)


# --- Meshes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("all_parts", [True, False])
def test_a_mesh_is_that_of_gen_videos(all_parts, tmp_path):
    pytest.importorskip("trimesh")
    heads = pv3d.load("heads", device="cpu")
    made = heads.mesh(heads.appearance(2), heads.motion(3), t=0, resolution=20, all_parts=all_parts)
    made.save(tmp_path / "a.ply")
    flags = ["--seeds=2", "--motion-seeds=3", "--frames=1", "--shapes", "--shape-resolution=20", "--cameras=frontal"]
    flags += ["--all-parts"] if all_parts else []
    done = CliRunner().invoke(gen_videos.main, [f"--network={HEADS}", f"--outdir={tmp_path}", "--device=cpu", *flags])
    assert done.exit_code == 0, done.output
    (theirs,) = (tmp_path / "shapes").rglob("*.ply")
    assert theirs.read_bytes() == (tmp_path / "a.ply").read_bytes() and len(made.vertices) > 100
    with pytest.raises(pv3d.UserError, match="a.stl is no mesh that can be written: end its name in .ply, .obj, .glb"):
        made.save(tmp_path / "a.stl")


def test_a_mesh_with_a_level_of_its_own(model):
    pytest.importorskip("trimesh")
    z, zm = model.appearance(0), model.motion(0)
    with pytest.raises(pv3d.UserError, match="no surface at density 1e"):
        model.mesh(z, zm, resolution=8, level=1e9)


# --- Arguments that are refused ---------------------------------------------------------------------------------------

Z, ZM = torch.zeros(8), torch.zeros(4)
REFUSED = [
    (lambda m: m.video(ZM, Z), r"z_motion has shape \[8\], but a motion code of this model is \[4\]"),
    (lambda m: m.video(torch.zeros(3), ZM), r"z has shape \[3\], but an appearance code of this model is \[8\]"),
    (lambda m: m.video(torch.zeros(1, 8), ZM), r"z has shape \[1, 8\]"),
    (lambda m: m.video("z", ZM), "z is str: give a tensor of numbers"),
    (lambda m: m.video(Z, ZM, cameras=torch.zeros(3, 16)), r"cameras has shape \[3, 16\]: a camera label is \[25\]"),
    (lambda m: m.video(Z, ZM, cameras=pv3d.orbit(3), t=[0, 1]), "numbers of frames differ: cameras has 3, t has 2"),
    (lambda m: m.video(Z, ZM, frames=0), "frames is 0: give a whole number from 1 on"),
    (lambda m: m.video(Z, ZM, batch=0), "batch is 0"),
    (lambda m: m.video(Z, ZM, truncation=float("nan")), "truncation is nan: give a finite number"),
    (lambda m: m.w(Z, truncation="0.7"), "truncation is '0.7'"),
    (lambda m: m.video(Z, ZM, truncation=0.5, truncation_cutoff=-1), "truncation_cutoff is -1: give a whole number"),
    (lambda m: m.w(Z, truncation_cutoff=2.5), "truncation_cutoff is 2.5"),
    (lambda m: m.w(Z, truncation_cutoff=m.G.num_ws + 1), "give a whole number from 0 to "),
    (lambda m: m.video(Z, ZM, cameras=pv3d.orbit(3, yaw=float("nan"))), "cameras has numbers that are not finite"),
    (lambda m: m.video(Z, ZM, t=1.5), "t has times outside of 0 to 1"),
    (lambda m: m.video(Z, ZM, t=float("nan")), "t has times outside of 0 to 1"),
    (lambda m: m.video(Z, ZM, t=[[0.0]]), r"t has shape \[1, 1\]"),
    (lambda m: m.video(pv3d.W(ws=torch.zeros(3, 8)), ZM), r"z has ws of shape \[3, 8\], but this model's are"),
    (lambda m: m(torch.zeros(2, 8), torch.zeros(3, 4), t=0), "differ: z has 2, z_motion has 3"),
    (lambda m: m(Z, ZM, t=0, camera=torch.zeros(24)), r"camera has shape \[24\]"),
    (lambda m: m.interpolate([Z], motion=ZM), "appearances has 1: give two or more"),
    (lambda m: m.interpolate([Z, Z, Z], motion=ZM, frames=2), "2 frames are too few to go through 3 appearances"),
    (lambda m: m.interpolate([Z, ZM], motion=ZM), r"appearances\[1\] has shape \[4\]"),
    (lambda m: m.interpolate([Z, Z], motion=Z), r"motion has shape \[8\]"),
    (lambda m: m.mix(Z, ZM), r"b has shape \[4\]"),
    (lambda m: m.mix(Z, Z, layers=[]), "layers is empty: give the rows"),
    (lambda m: m.mesh(Z, ZM, resolution=4), "resolution is 4: give a whole number from 8 to 1024"),
    (lambda m: m.mesh(Z, ZM, t=[0, 1]), r"t has shape \[2\], but a time is \[1\]"),
    (lambda m: m.appearance(-1), "seed is -1: give a whole number from 0"),
    (lambda m: m.motion(1.5), "seed is 1.5"),
    (lambda m: pv3d.orbit(0), "frames is 0"),
]


@pytest.fixture(scope="module")
def uneven(tmp_path_factory) -> pv3d.Model:
    """A model whose codes of appearance and motion have different sizes."""
    return model_of(tmp_path_factory.mktemp("uneven"), generator__z_motion_dim=4)


@pytest.mark.parametrize("make, message", REFUSED)
def test_wrong_arguments_are_named(make, message, uneven):
    with pytest.raises(ValueError, match=message):
        make(uneven)


def test_numbers_of_numpy_are_numbers(uneven):
    assert torch.equal(uneven.appearance(np.int64(3)), uneven.appearance(3))
    video = uneven.video(Z, ZM, frames=np.int32(1), truncation=np.float32(0.5), truncation_cutoff=np.int64(2))
    assert torch.equal(video.image, uneven.video(Z, ZM, frames=1, truncation=0.5, truncation_cutoff=2).image)


def test_a_ray_grid_that_is_not_possible(model):
    with pytest.raises(pv3d.UserError, match="neural-rendering-resolution|resolution"):
        model.video(model.appearance(0), model.motion(0), frames=1, neural_rendering_resolution=-1)
