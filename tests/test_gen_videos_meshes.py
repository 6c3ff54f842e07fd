"""gen_videos.py --shapes: meshes that lie where frames show the surface, in their colours; frames, kinds of files."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers import tiny
from tests.helpers.video_command import done, refused, run
from training.cameras import frontal_label, split_label
from training.checkpoints.opener import load_generator
from training.sampling import pictures
from training.sampling.clips import clip_geometry, clip_spec

SHIPPED = Path(__file__).parents[1] / "models" / "heads.pkl"

pytestmark = pytest.mark.usefixtures("one_thread")


def test_meshes_without_their_library_are_refused_before_any_work(snapshot, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    assert "pip install scikit-image" in refused(run(snapshot, tmp_path, "--seeds=0", "--shapes"))
    assert not list(tmp_path.rglob("*.mp4"))


def test_meshes_lie_where_frames_show_the_surface(tmp_path):
    """Of the shipped model, whose surface is soft; any one level for all models is far from it."""
    pytest.importorskip("skimage")
    G = load_generator(SHIPPED).G
    surface = next(clip_geometry(G, clip_spec(G, 7, 7, frontal_label()[None]))).surface

    def distance(*level: str) -> float:
        outdir = tmp_path / "-".join(["out", *level])
        mesh = done(run(SHIPPED, outdir, "--seeds=7", "--frames=1", "--cameras=frontal", "--shapes", *level))[1]
        return torch.cdist(surface, torch.tensor(read_mesh(mesh).vertices).float()).amin(dim=1).median().item()

    assert distance() < 0.035
    assert distance("--shape-level=1") > 0.07
    assert distance("--shape-level=-2", "--all-parts") > 0.07


def read_mesh(path: Path) -> Any:
    return pytest.importorskip("trimesh").load(path, process=False, force="mesh")


def test_meshes_have_the_colours_of_the_pictures(tmp_path):
    """A vertex that the front shows has about the colour of its pixel, red, green and blue; another pixel's is not."""
    pytest.importorskip("skimage")
    G = load_generator(SHIPPED).G
    options = ["--seeds=7", "--frames=1", "--cameras=frontal", "--shapes"]
    mesh = read_mesh(done(run(SHIPPED, tmp_path, *options))[1])
    geometry = next(clip_geometry(G, clip_spec(G, 7, 7, frontal_label()[None])))
    picture = pictures.to_uint8(geometry.view(frontal_label())["image"][0]).permute(1, 2, 0).numpy()
    cam2world, intrinsics = (part.numpy() for part in split_label(frontal_label()))
    seen = (mesh.vertex_normals[:, 2] > 0.9) & (np.linalg.norm(mesh.vertices[:, :2], axis=1) < 0.15)
    places = (mesh.vertices[seen] - cam2world[:3, 3]) @ cam2world[:3, :3] @ intrinsics.T
    columns, rows = (places[:, :2] / places[:, 2:] * G.config.img_resolution).astype(int).T
    colours = mesh.visual.vertex_colors[seen, :3].astype(int)
    errors = [
        np.abs(colours - picture[places][..., ::way]).mean()
        for places, way in (((rows, columns), 1), ((columns, rows), 1), ((rows, columns), -1))
    ]
    assert seen.sum() > 300 and errors[0] < 25 and errors[0] < 0.6 * min(errors[1:]), errors


def test_a_model_without_a_surface_has_no_level_of_its_own(snapshot, tmp_path):
    pytest.importorskip("skimage")
    said = refused(run(snapshot, tmp_path, "--seeds=0", "--frames=1", "--shapes", "--shape-resolution=8"))
    assert "meet no surface" in said and "--shape-level" in said


def test_shapes(snapshot, tmp_path):
    pytest.importorskip("skimage")
    snap = load_generator(snapshot)
    spec = clip_spec(snap.G, 0, 0, frontal_label().expand(2, -1))
    points = tiny.normal(0, 500, 3) * 0.2
    level = next(clip_geometry(snap.G, spec)).density(points).median().item()
    options = ["--seeds=0", "--frames=2", "--cameras=frontal", "--shapes", "--shape-resolution=8"]
    options.append(f"--shape-level={level}")
    paths = done(run(snapshot, tmp_path, *options))
    meshes = [tmp_path / "shapes" / "seed0000" / f"frame{index:03d}.ply" for index in (0, 1)]
    assert paths[1:] == meshes and all(path.read_bytes().startswith(b"ply\n") for path in meshes)
    assert meshes[0].read_bytes() != meshes[1].read_bytes()
    whole = done(run(snapshot, tmp_path / "whole", *options, "--all-parts"))
    sizes = [paths[1].stat().st_size, whole[1].stat().st_size]
    assert sizes[0] <= sizes[1]
    assert "no surface at density 1e+06" in refused(
        run(snapshot, tmp_path / "empty", "--seeds=0", "--shapes", "--shape-resolution=8", "--shape-level=1e6")
    )


def test_meshes_of_some_frames_are_those_of_all(tmp_path):
    """Also where the mapping network sees the clip's first camera, and the level is that of the first frame."""
    pytest.importorskip("skimage")
    options = ["--seeds=3", "--frames=3", "--cameras=orbit", "--shapes", "--shape-resolution=24"]
    everything = done(run(SHIPPED, tmp_path / "all", *options))[1:]
    some = done(run(SHIPPED, tmp_path / "some", *options, "--shape-frames=2,0,2"))[1:]
    assert [path.name for path in some] == ["frame000.ply", "frame002.ply"]
    last = done(run(SHIPPED, tmp_path / "last", *options, "--shape-frames=2"))[1:]
    assert some[1].read_bytes() == everything[2].read_bytes() == last[0].read_bytes()
    assert some[0].read_bytes() == everything[0].read_bytes() != some[1].read_bytes()
    record = json.loads((tmp_path / "some" / "shapes" / "seed0003.json").read_text())["options"]
    assert record["shape_frames"] == [0, 2] and record["shape_format"] == "ply"
    (tmp_path / "some" / "seed0003.mp4").unlink()
    for others, names in (
        (["--shape-frames=1"], "shape_frames"),
        (["--shape-frames=0,2", "--shape-format=obj"], "shape_format"),
        (["--shape-frames=0,2", "--neural-rendering-resolution=16"], "neural_rendering_resolution"),
    ):
        said = refused(run(SHIPPED, tmp_path / "some", *options, *others))
        assert f"shapes/seed0003 was made with other options ({names};" in said
    again = run(SHIPPED, tmp_path / "some", *options, "--shape-frames=0,2")
    assert done(again)[1:] == some and "1 already there" in again.stderr


@pytest.mark.parametrize("format", ["obj", "glb"])
def test_other_files_of_meshes(tmp_path, format):
    pytest.importorskip("skimage")
    options = ["--seeds=3", "--frames=1", "--shapes", "--shape-resolution=24", f"--shape-format={format}"]
    paths = done(run(SHIPPED, tmp_path, *options))[1:]
    assert [path.name for path in paths] == [f"frame000.{format}"] == [path.name for path in paths[0].parent.iterdir()]
    assert len(read_mesh(paths[0]).faces) > 100


def test_frames_of_meshes_that_do_not_exist(snapshot, tmp_path):
    pytest.importorskip("skimage")
    wrong = ["--seeds=0", "--shape-frames=0,3"]
    said = refused(run(snapshot, tmp_path / "out", *wrong, "--shapes"))
    assert "--shape-frames has 3, but there are 3 frames: choose from 0 to 2" in said
    assert "--shape-frames does nothing without --shapes" in refused(run(snapshot, tmp_path / "out", *wrong))
    for format in ("ply", "glb"):
        said = refused(run(snapshot, tmp_path / "out", "--seeds=0", f"--shape-format={format}"))
        assert "--shape-format does nothing without --shapes" in said
    assert not list(tmp_path.rglob("*.mp4"))
