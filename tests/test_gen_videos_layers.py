"""gen_videos.py: the layer of shaded shapes, the range of depth, orbits and shared cameras."""

import json
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pv3d
from tests.helpers.video_command import done, refused, run
from training.cameras import frontal_label, resample_labels
from training.checkpoints.opener import load_generator
from training.sampling import frame_files, mesh, pictures, shading
from training.sampling.camera_paths import camera_path
from training.sampling.clips import clip_geometry, clip_spec, generate
from training.sampling.latent_paths import around
from training.sampling.options import Orbit

pytestmark = pytest.mark.usefixtures("one_thread")
SHIPPED = Path(__file__).parents[1] / "models" / "heads.pkl"
SIZE = 32
SMALL = ("--seeds=0", "--shape-resolution=12")


@pytest.fixture
def written(monkeypatch) -> dict[str, np.ndarray]:
    """Frames handed to the encoder by file name, in place of encoding them."""
    frames: dict[str, np.ndarray] = {}

    def keep(path, items, fps, comment):
        frames[path.name] = np.stack(list(items))
        path.write_bytes(b"video")

    monkeypatch.setattr(frame_files, "write_video", keep)
    return frames


def level_of(snapshot: Path) -> float:
    """A density that a tiny model has about the middle."""
    G = load_generator(snapshot).G
    points = torch.randn([500, 3], generator=torch.Generator().manual_seed(0)) * 0.2
    return next(clip_geometry(G, clip_spec(G, 0, 0, frontal_label()[None]))).density(points).median().item()


def test_shapes_are_seen_by_the_cameras_of_the_frames(snapshot, tmp_path, written):
    level = level_of(snapshot)
    options = ["--layers=rgb,shape", "--cameras=orbit", f"--shape-level={level}", "--batch=2", "--all-parts"]
    assert run(snapshot, tmp_path, *SMALL, *options).exit_code == 0
    frames = written["seed0000.mp4"]
    assert frames.shape == (3, SIZE, 2 * SIZE, 3)
    G = load_generator(snapshot).G
    cameras = camera_path(torch.empty(0), 0, "orbit", 3)
    side = G.config.rendering.box_side
    for frame, geometry, camera in zip(frames, clip_geometry(G, clip_spec(G, 0, 0, cameras)), cameras, strict=True):
        sigma = mesh.density_lattice(geometry.density, 12, side)
        expected = shading.shaded(shading.Surface(sigma=sigma, level=level, box_side=side), camera, SIZE)
        assert np.array_equal(frame[:, SIZE:], expected.permute(1, 2, 0).numpy())
    assert len(np.unique(frames[0, :, SIZE:])) > 10, "a surface is seen"


def test_pictures_show_the_head_alone_unless_all_parts_are_asked_for(tmp_path, written):
    """Of the shipped model: at this level bits float about this head."""
    options = ["--seeds=7", "--layers=shape", "--shape-resolution=32", "--cameras=frontal", "--frames=1"]
    shown = []
    for more in ([], ["--all-parts"]):
        assert run(SHIPPED, tmp_path / f"{len(more)}", *options, *more).exit_code == 0
        shown.append(written["seed0007.mp4"][0, :, :, 0] < shading.BACKGROUND)
    head, everything = shown
    assert 0.1 < head.mean() < everything.mean()
    assert not (head & ~everything).any(), "what is left is the same"


def test_clips_that_wait_for_their_turn_in_a_grid_keep_no_lattice(snapshot, tmp_path, written, monkeypatch):
    """Nor planes: of many clips, or fine lattices, they would fill the memory."""
    real = mesh.density_lattice
    kept, alive = [], []

    def watched(density, *more):
        alive.append(sum(reference() is not None for reference in kept))
        sigma = real(density, *more)
        kept.extend([weakref.ref(sigma), weakref.ref(density.__self__.planes)])
        return sigma

    monkeypatch.setattr(mesh, "density_lattice", watched)
    options = ["--layers=rgb,shape", "--grid=3x1", "--seeds=0-2", "--shape-resolution=12", "--cameras=frontal"]
    assert run(snapshot, tmp_path, *options, f"--shape-level={level_of(snapshot)}").exit_code == 0
    assert alive == [0] * 9, "three frames of three clips"
    assert written["grid.mp4"].shape == (3, SIZE, 3 * 2 * SIZE, 3)


def test_other_shapes_are_other_options(snapshot, tmp_path, written):
    options = [*SMALL, "--layers=shape", f"--shape-level={level_of(snapshot)}"]
    assert run(snapshot, tmp_path, *options).exit_code == 0
    assert "shape_resolution" in refused(run(snapshot, tmp_path, *options, "--shape-resolution=13"))
    with_depth = [*options, "--layers=depth,shape"]
    assert run(snapshot, tmp_path / "depth", *with_depth).exit_code == 0
    assert "depth_range" in refused(run(snapshot, tmp_path / "depth", *with_depth, "--depth-range=2,3"))


def test_depth_has_the_range_of_a_clips_first_frame_or_the_one_that_is_given(snapshot, tmp_path, written):
    G = load_generator(snapshot).G
    cameras = resample_labels(load_generator(snapshot).camera_bank[0], 3)
    depth = torch.cat([out["image_depth"] for out in generate(G, clip_spec(G, 0, 0, cameras))])
    own = pictures.depth_range(depth[:1])
    for options, shown in (([], own), (["--depth-range=2.2,3.1"], (2.2, 3.1))):
        outdir = tmp_path / f"{len(options)}"
        assert run(snapshot, outdir, "--seeds=0", "--layers=depth", "--batch=2", *options).exit_code == 0
        expected = pictures.depth_layer({"image_depth": depth}, G.config, shown).permute(0, 2, 3, 1).numpy()
        assert np.abs(written["seed0000.mp4"].astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    "value, sentence",
    [("3,2", "must be less than"), ("2", "are no two numbers"), ("a,b", "are no two"), ("1,inf", "is no")],
)
def test_ranges_that_are_none(snapshot, tmp_path, value, sentence):
    result = run(snapshot, tmp_path, f"--depth-range={value}")
    assert result.exit_code == 2 and sentence in result.stderr.replace("\n", " ")


def test_an_orbit_goes_as_far_as_asked(snapshot, tmp_path, written):
    def frames(*options: str) -> np.ndarray:
        assert run(snapshot, tmp_path / "-".join(["out", *options]), "--seeds=0", *options).exit_code == 0
        return written["seed0000.mp4"]

    G = load_generator(snapshot).G
    spec = clip_spec(G, 0, 0, camera_path(torch.empty(0), 0, "orbit", 3, Orbit(yaw=45, pitch=4)))
    expected = torch.cat([pictures.to_uint8(out["image"]) for out in generate(G, spec)]).permute(0, 2, 3, 1).numpy()
    found = frames("--cameras=orbit", "--orbit-yaw=45", "--orbit-pitch=4")
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert not np.array_equal(found, frames("--cameras=orbit"))


@pytest.mark.parametrize(
    "options, without",
    [
        (["--trunc-cutoff=3"], "--trunc-cutoff does nothing without --trunc"),
        (["--orbit-yaw=45"], "--orbit-yaw does nothing without --cameras=orbit"),
        (["--orbit-pitch=0", "--cameras=shared"], "--orbit-pitch does nothing without --cameras=orbit"),
        (["--depth-range=2,3", "--layers=rgb,shape"], "--depth-range does nothing without depth"),
        (["--shape-level=0"], "--shape-level does nothing without --shapes or shape in --layers"),
        (["--shape-resolution=128", "--layers=depth"], "--shape-resolution does nothing without --shapes or shape in"),
        (["--all-parts"], "--all-parts does nothing without --shapes or shape in --layers"),
    ],
)
def test_options_that_nothing_follows_are_refused(snapshot, tmp_path, options, without):
    assert without in refused(run(snapshot, tmp_path / "out", *options))
    assert not (tmp_path / "out").exists()


def test_a_cutoff_beyond_the_latents_is_refused(snapshot, tmp_path):
    rows = load_generator(snapshot).G.num_ws
    said = refused(run(snapshot, tmp_path / "out", "--trunc=0.5", f"--trunc-cutoff={rows + 1}"))
    assert f"--trunc-cutoff={rows + 1} is not possible: this model's latents have {rows} rows" in said
    assert run(snapshot, tmp_path / "out", "--trunc=0.5", f"--trunc-cutoff={rows}", "--seeds=0").exit_code == 0


@pytest.mark.parametrize("way", ([], ["--interpolate"]))
def test_a_head_may_be_mapped_with_the_frontal_camera(way, snapshot, tmp_path, written):
    flags = ["--seeds=5-6", "--motion-seeds=2", "--cameras=orbit", "--mapping-camera=frontal", *way]
    (made, *_) = done(run(snapshot, tmp_path, *flags))
    model = pv3d.load(snapshot, device="cpu")
    heads = [model.w(model.appearance(seed)).ws for seed in (5, 6)]  # which pv3d maps with that camera
    ws = around(torch.stack(heads), 3) if way else heads[0].expand(3, -1, -1)
    spec = replace(clip_spec(model.G, 5, 2, pv3d.orbit(3)), z=None, ws=ws)
    expected = torch.cat([pictures.to_uint8(out["image"]) for out in generate(model.G, spec)]).permute(0, 2, 3, 1)
    assert np.abs(written[made.name].astype(int) - expected.numpy()).max() <= 1
    record = json.loads(made.with_suffix(".json").read_text())
    assert record["options"]["mapped_with"] == pv3d.frontal().tolist()
    assert "made with other options (mapped_with;" in refused(run(snapshot, tmp_path, *flags[:3], *way))


def test_latents_are_mapped_already(snapshot, tmp_path):
    said = refused(run(snapshot, tmp_path / "out", "--latents=a.pt", "--mapping-camera=frontal"))
    assert "--mapping-camera does nothing with --latents" in said


def test_heads_may_share_a_real_camera_path(snapshot, tmp_path, written):
    assert run(snapshot, tmp_path, "--seeds=1-2", "--cameras=shared").exit_code == 0
    loaded = load_generator(snapshot)
    cameras = resample_labels(loaded.camera_bank[0], 3)
    for seed in (1, 2):
        batches = generate(loaded.G, clip_spec(loaded.G, seed, seed, cameras))
        expected = torch.cat([pictures.to_uint8(out["image"]) for out in batches]).permute(0, 2, 3, 1).numpy()
        assert np.abs(written[f"seed{seed:04d}.mp4"].astype(int) - expected).max() <= 1
