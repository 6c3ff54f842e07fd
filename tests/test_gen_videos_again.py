"""gen_videos.py where files are already: never over what other options made, not twice what is there, nothing stale."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result

from dnnlib.errors import UserError
from dnnlib.files import atomic_path, file_checksum
from tests.helpers import tiny, video_command
from tests.helpers.video_command import done, refused
from training.checkpoints.snapshots import save_snapshot
from training.sampling import drawing, frame_files, mesh, records

pytestmark = pytest.mark.usefixtures("one_thread")


def run(network: Path, outdir: Path, *more: object) -> Result:
    return video_command.run(network, outdir, "--cameras=orbit", *more, frames=2)


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Bytes and time of writing of all files."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.fixture
def surfaces(monkeypatch) -> None:
    """Any lattice has a surface: one triangle."""
    triangle = (np.eye(3, dtype=np.float32), np.int32([[0, 1, 2]]))
    monkeypatch.setattr(mesh, "density_grid_to_mesh", lambda *_: triangle)
    monkeypatch.setattr(mesh, "require_packages", lambda: (None, pytest.importorskip("trimesh")))


def test_a_record_says_how_each_video_was_made(snapshot, tmp_path):
    done(run(snapshot, tmp_path, "--seeds=1", "--motion-seeds=1-2", "--trunc=0.5", "--layers=rgb,depth"))
    names = ["seed0001-motion0002.json", "seed0001-motion0002.mp4", "seed0001.json", "seed0001.mp4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    record = json.loads((tmp_path / "seed0001-motion0002.json").read_text())
    options = record["options"]
    assert len(options.pop("camera_labels")) == 64 and options.pop("network") == file_checksum(snapshot)
    assert options == {
        "precision": "torch.float32",
        "seeds": [[1, 2]],
        "cameras": "orbit",
        "frames": 2,
        "times": [0.0, 1.0],
        "trunc": 0.5,
        "trunc_cutoff": None,
        "layers": ["rgb", "depth"],
        "neural_rendering_resolution": None,
        "fps": 25.0,
        "depth_range": None,
    }
    assert set(record["software"]) == {"code", "torch", "device"}


def test_nothing_is_left_of_a_start_that_was_killed(snapshot, tmp_path):
    with atomic_path(tmp_path / "seed0009.mp4") as unfinished:
        unfinished.write_text("half")
    unfinished.write_text("half")
    done(run(snapshot, tmp_path, "--seeds=1"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed0001.json", "seed0001.mp4", "seed0009.mp4"]


@pytest.mark.parametrize(
    "others, names",
    [
        (["--cameras=frontal"], "cameras, camera_labels"),
        (["--trunc=0.7", "--fps=8"], "trunc, fps"),
        (["--frames=3"], "camera_labels, frames"),
        (["--layers=depth"], "layers"),
    ],
)
def test_videos_of_other_options_are_never_overwritten(snapshot, tmp_path, others, names):
    done(run(snapshot, tmp_path, "--seeds=1"))
    before = contents(tmp_path)
    said = refused(run(snapshot, tmp_path, "--seeds=0-1", *others))
    assert f"seed0001.mp4 was made with other options ({names}; " in said and "choose another --outdir" in said
    assert contents(tmp_path) == before, "not even seed 0 was made"


def test_videos_of_another_snapshot_are_never_overwritten(snapshot, tmp_path):
    done(run(snapshot, tmp_path, "--seeds=0"))
    options = tiny.config()
    other = tmp_path / "other.pkl"
    save_snapshot(other, options, tiny.networks(options), torch.zeros(0, 16, 25), {"kimg": 0.0})
    assert "seed0000.mp4 was made with other options (network; " in refused(run(other, tmp_path, "--seeds=0"))


def test_a_grid_of_other_seeds_is_not_overwritten(snapshot, tmp_path):
    done(run(snapshot, tmp_path, "--seeds=0-1", "--grid=2x1"))
    done(run(snapshot, tmp_path, "--seeds=0-1"))
    assert "grid.mp4 was made with other options (seeds" in refused(
        run(snapshot, tmp_path, "--seeds=1-2", "--grid=2x1")
    )
    assert "(grid; " in refused(run(snapshot, tmp_path, "--seeds=0-1", "--grid=1x2"))


def test_the_same_command_goes_on(snapshot, tmp_path):
    first, second = done(run(snapshot, tmp_path, "--seeds=0-1"))
    second.unlink()
    before = contents(tmp_path)
    again = run(snapshot, tmp_path, "--seeds=0-1", "--batch=2")
    assert done(again) == [first, second] and "1 already there, made with the same options" in again.stderr
    after = contents(tmp_path)
    assert after[first] == before[first] and second.exists()


def test_what_other_software_made_is_made_again(snapshot, tmp_path, monkeypatch):
    (path,) = done(run(snapshot, tmp_path, "--seeds=0"))
    os.utime(path, ns=(0, 0))
    monkeypatch.setattr(records, "software", lambda device: {"code": "other"})
    again = run(snapshot, tmp_path, "--seeds=0")
    assert done(again) == [path] and path.stat().st_mtime_ns > 0
    said = [line for line in again.stderr.splitlines() if "already there" in line]
    assert said == ["1 already there, made by another version of the software or device: made anew."]
    assert json.loads(path.with_suffix(".json").read_text())["software"] == {"code": "other"}


@pytest.mark.parametrize("name", ["seed0000.mp4", "seed0000.json", "shapes/seed0000"])
def test_what_nothing_is_known_of_stays(snapshot, tmp_path, surfaces, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if path.suffix:
        path.write_text("[1, 2]")
    else:
        path.mkdir()
    said = refused(run(snapshot, tmp_path, "--seeds=0", "--shapes"))
    assert f"{name} is there, and nothing says how it was made: choose another --outdir." in said
    assert not path.suffix or path.read_text() == "[1, 2]"


def test_no_mesh_of_another_run_is_left(snapshot, tmp_path, surfaces, monkeypatch):
    shapes = ("--seeds=0", "--shapes", "--shape-resolution=8", "--shape-level=0")
    paths = done(run(snapshot, tmp_path / "a", *shapes, "--frames=3"))
    folder = tmp_path / "a" / "shapes" / "seed0000"
    assert paths[1:] == [folder / f"frame00{index}.ply" for index in range(3)]
    assert "was made with other options" in refused(run(snapshot, tmp_path / "a", *shapes))
    (tmp_path / "a" / "seed0000.mp4").unlink()
    assert "shapes/seed0000 was made with other options" in refused(run(snapshot, tmp_path / "a", *shapes))
    (folder / "frame0030.ply").write_text("stale")
    monkeypatch.setattr(records, "software", lambda device: {"code": "other"})
    assert done(run(snapshot, tmp_path / "a", *shapes, "--frames=3")) == paths
    assert sorted(folder.iterdir()) == paths[1:]


def test_meshes_come_together_or_not_at_all(snapshot, tmp_path, surfaces, monkeypatch):
    written = []

    def write(path, *_):
        if written:
            raise UserError("The disk is full.")
        written.append(path)

    monkeypatch.setattr(mesh, "write_mesh", write)
    refused(run(snapshot, tmp_path, "--seeds=0", "--shapes", "--shape-resolution=8", "--shape-level=0"))
    assert written and list((tmp_path / "shapes").iterdir()) == []
    assert (tmp_path / "seed0000.mp4").exists()


def test_clips_are_made_when_their_turn_comes(snapshot, tmp_path, monkeypatch):
    specs = []
    make_spec = drawing.clip_spec
    monkeypatch.setattr(drawing, "clip_spec", lambda *args: specs.append(args) or make_spec(*args))

    def stop(path, frames, fps, comment):
        next(iter(frames))
        raise UserError("Enough.")

    monkeypatch.setattr(frame_files, "write_video", stop)
    refused(run(snapshot, tmp_path, "--seeds=0-3999", "--frames=500"))
    assert {(args[1], args[2]) for args in specs} == {(0, 0)}
    assert list(tmp_path.iterdir()) == []
