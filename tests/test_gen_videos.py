"""gen_videos.py: files, grids, layers, cameras, shapes, and what it refuses."""

import errno
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import gen_videos
from dnnlib import video
from dnnlib.video import read_frames, video_info
from tests.helpers import tiny
from tests.helpers.recording import spy
from tests.helpers.video_command import done, refused, run
from torch_utils import checkpoint
from training.cameras import frontal_label, orbit_labels, resample_labels
from training.checkpoints.opener import load_generator
from training.checkpoints.snapshots import save_snapshot
from training.networks.generator import Generator
from training.sampling import drawing, frame_files, mesh, pictures, surfaces
from training.sampling.clips import clip_spec, generate
from training.sampling.options import SamplingOptions

SHIPPED = Path(__file__).parents[1] / "models" / "heads.pkl"

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = 32


def expected(snapshot: Path, seed: int, motion_seed: int, cameras: torch.Tensor, **options) -> np.ndarray:
    """Frames [T, R, R, 3] straight from the library."""
    G = load_generator(snapshot).G
    batches = generate(G, clip_spec(G, seed, motion_seed, cameras), SamplingOptions(**options))
    return torch.cat([pictures.to_uint8(batch["image"]) for batch in batches]).permute(0, 2, 3, 1).numpy()


@pytest.fixture
def written(monkeypatch) -> dict[str, np.ndarray]:
    """Frames handed to the encoder by file name, in place of encoding them."""
    frames: dict[str, np.ndarray] = {}
    monkeypatch.setattr(
        frame_files, "write_video", lambda path, items, fps, comment: frames.update({path.name: np.stack(list(items))})
    )
    return frames


def assert_close(frames: np.ndarray, others: np.ndarray) -> None:
    assert frames.shape == others.shape and np.abs(frames.astype(int) - others).max() <= 1


def test_one_video_a_seed(snapshot, tmp_path):
    paths = done(run(snapshot, tmp_path / "out", "--seeds=1-2", "--fps=12"))
    assert paths == [tmp_path / "out" / "seed0001.mp4", tmp_path / "out" / "seed0002.mp4"]
    info = video_info(paths[0])
    assert (info.frames, info.fps, info.width, info.height) == (3, 12.0, SIZE, SIZE)
    cameras = resample_labels(load_generator(snapshot).camera_bank[1], 3)
    decoded = np.stack(list(read_frames(paths[0]))).astype(int)
    assert np.abs(decoded - expected(snapshot, 1, 1, cameras)).mean() < 4


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_frames_do_not_depend_on_the_batch(snapshot, tmp_path, written, batch):
    done(run(snapshot, tmp_path, "--seeds=5", "--cameras=orbit", f"--batch={batch}", "--trunc=0.7"))
    assert_close(written["seed0005.mp4"], expected(snapshot, 5, 5, orbit_labels(3), psi=0.7))


def test_real_cameras_are_the_default_and_go_round(snapshot, tmp_path, written):
    done(run(snapshot, tmp_path, "--seeds=1,5"))
    bank = load_generator(snapshot).camera_bank
    for seed, sequence in ((1, bank[1]), (5, bank[2])):
        assert_close(written[f"seed{seed:04d}.mp4"], expected(snapshot, seed, seed, resample_labels(sequence, 3)))


def test_camera_paths(snapshot, tmp_path, written):
    frontal = frontal_label().expand(3, -1)
    labels = orbit_labels(5)
    (tmp_path / "path.json").write_text(json.dumps(labels.tolist()))
    named = [[f"{index}.png", label] for index, label in enumerate(labels.tolist())]
    (tmp_path / "published.json").write_text(json.dumps(named))
    for name, path in (
        ("frontal", frontal),
        ("orbit", orbit_labels(3)),
        (tmp_path / "path.json", labels[::2]),
        (tmp_path / "published.json", labels[::2]),
    ):
        done(run(snapshot, tmp_path, "--seeds=0", f"--cameras={name}"))
        assert_close(written["seed0000.mp4"], expected(snapshot, 0, 0, path))


def test_a_file_of_cameras_gives_as_many_frames_as_it_has(snapshot, tmp_path, written):
    labels = orbit_labels(20)
    (tmp_path / "path.json").write_text(json.dumps(labels.tolist()))
    arguments = [f"--network={snapshot}", f"--outdir={tmp_path}", "--seeds=0", "--device=cpu"]
    for cameras, length in ((tmp_path / "path.json", 20), ("orbit", 16)):
        done(CliRunner().invoke(gen_videos.main, [*arguments, f"--cameras={cameras}"]))
        assert_close(written["seed0000.mp4"], expected(snapshot, 0, 0, orbit_labels(length)))


def test_opposite_cameras_in_a_file(snapshot, tmp_path):
    labels = [frontal_label(yaw).tolist() for yaw in (-1.57, 1.57)]
    (tmp_path / "path.json").write_text(json.dumps(labels))
    said = refused(run(snapshot, tmp_path / "out", f"--cameras={tmp_path / 'path.json'}"))
    assert "Cameras 0 and 1" in said and not (tmp_path / "out").exists()


def test_appearances_by_motions(snapshot, tmp_path, written):
    done(run(snapshot, tmp_path, "--seeds=1-2", "--motion-seeds=2-3", "--cameras=frontal"))
    assert sorted(written) == [
        "seed0001-motion0002.mp4",
        "seed0001-motion0003.mp4",
        "seed0002-motion0003.mp4",
        "seed0002.mp4",
    ]
    front = frontal_label().expand(3, -1)
    assert_close(written["seed0001-motion0003.mp4"], expected(snapshot, 1, 3, front))
    assert_close(written["seed0002.mp4"], expected(snapshot, 2, 2, front))


def test_a_grid_does_not_depend_on_the_batch(snapshot, tmp_path, written, monkeypatch):
    sizes = []
    synthesis = Generator.render_planes
    monkeypatch.setattr(Generator, "render_planes", lambda G, *a, **k: sizes.append(len(a[2])) or synthesis(G, *a, **k))
    flags = ["--seeds=0-1", "--grid=2x1", "--cameras=orbit"]
    done(run(snapshot, tmp_path / "a", *flags))
    assert sizes == [1] * 6
    alone = written["grid.mp4"]
    sizes.clear()
    done(run(snapshot, tmp_path / "b", *flags, "--batch=2"))
    assert sizes == [2, 2, 1, 1]
    assert_close(written["grid.mp4"], alone)


def test_a_grid_of_layers(snapshot, tmp_path, written):
    done(
        run(
            snapshot,
            tmp_path,
            "--seeds=0-1",
            "--motion-seeds=3",
            "--grid=1x2",
            "--layers=rgb,depth,normals",
            "--cameras=frontal",
            "--neural-rendering-resolution=16",
        )
    )
    grid = written["grid.mp4"]
    assert grid.shape == (3, 2 * SIZE, 3 * SIZE, 3)
    front = frontal_label().expand(3, -1)
    assert_close(grid[:, SIZE:, :SIZE], expected(snapshot, 1, 3, front, neural_rendering_resolution=16))
    rgb, depth, normals = (grid[:, :SIZE, i * SIZE : (i + 1) * SIZE].astype(int) for i in range(3))
    assert np.abs(rgb - depth).mean() > 1 and np.abs(depth - normals).mean() > 1


def test_any_length(snapshot, tmp_path, written):
    done(run(snapshot, tmp_path, "--seeds=0", "--frames=40"))
    done(run(snapshot, tmp_path, "--seeds=1", "--frames=1"))
    assert len(written["seed0000.mp4"]) == 40 and len(written["seed0001.mp4"]) == 1


@pytest.fixture
def short_snapshot(tmp_path) -> Path:
    """A snapshot of a generator that was trained on clips of five frames."""
    options = tiny.config()
    networks = tiny.networks(options)
    networks.G_ema.max_time = 4 / 15
    save_snapshot(tmp_path / "short.pkl", options, networks, orbit_labels(16)[None], {"kimg": 0.0})
    return tmp_path / "short.pkl"


@pytest.mark.parametrize("frames, slowed", [(5, False), (6, True)])
def test_videos_stay_within_the_trained_time(short_snapshot, tmp_path, monkeypatch, written, frames, slowed):
    made = spy(monkeypatch, drawing, "generate")
    result = run(short_snapshot, tmp_path, "--seeds=0-1", f"--frames={frames}")
    done(result)
    assert ("--frames=5 at the speed of the data" in result.stderr) == slowed
    for call in made:
        assert torch.equal(call.inputs[1].times, torch.linspace(0, 4 / 15, frames))


def test_meshes_stay_within_the_trained_time(short_snapshot, tmp_path, monkeypatch, written):
    triangle = (np.eye(3, dtype=np.float32), np.int32([[0, 1, 2]]))
    monkeypatch.setattr(mesh, "require_packages", lambda: None)
    monkeypatch.setattr(mesh, "density_grid_to_mesh", lambda sigma, level, side: triangle)
    monkeypatch.setattr(mesh, "write_mesh", lambda *_: None)
    drawn = spy(monkeypatch, surfaces, "clip_geometry")
    done(run(short_snapshot, tmp_path, "--seeds=0", "--shapes", "--shape-resolution=8", "--shape-level=0"))
    (call,) = drawn
    assert torch.equal(call.inputs[1].times, torch.linspace(0, 4 / 15, 3))


def bad_file(tmp_path: Path, content: str) -> Path:
    (tmp_path / "bad").mkdir(exist_ok=True)
    (tmp_path / "bad" / "cameras.json").write_text(content)
    return tmp_path / "bad" / "cameras.json"


@pytest.mark.parametrize(
    "content, sentence",
    [
        ("[]", "no camera path"),
        ("{}", "no camera path"),
        ("[[1, 2]]", "25 finite numbers"),
        ("{", "not valid JSON"),
        (json.dumps([[float("nan")] * 25]), "25 finite numbers"),
        (json.dumps([[10**400] * 25]), "25 finite numbers"),
        (json.dumps([["x"] * 25]), "25 finite numbers"),
    ],
)
def test_bad_cameras(snapshot, tmp_path, content, sentence):
    path = bad_file(tmp_path, content)
    assert sentence in refused(run(snapshot, tmp_path / "out", f"--cameras={path}")) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--seeds=0-3", "--grid=2x3"], "--grid=2x3 has 6 places but there are 4 clips"),
        (["--grid=2"], "no grid; write columns x rows"),
        (["--grid=0x4"], "no grid"),
        (["--layers=rgb,heat"], "heat is no layer; choose from rgb, depth, normals"),
        (["--seeds=3-1"], "runs backwards"),
        (["--frames=0"], "--frames=0 is not possible: it must be at least 1"),
        (["--fps=0"], "--fps=0.0 is not possible: it must be a finite number and at least"),
        (["--cameras=orbits"], "--cameras=orbits is neither"),
        (["--device=tpu"], "Unknown device 'tpu'"),
        (["--neural-rendering-resolution=3"], "--neural-rendering-resolution=3 is not possible: it must be at least 4"),
    ],
)
def test_bad_options(snapshot, tmp_path, options, sentence):
    assert sentence in refused(run(snapshot, tmp_path / "out", *options)) and not (tmp_path / "out").exists()


def test_files_that_are_no_snapshots(snapshot, tmp_path):
    text, cut, new, state = (tmp_path / name for name in ("text.pkl", "cut.pkl", "new.pkl", "state.pt"))
    text.write_text("hello")
    cut.write_bytes(snapshot.read_bytes()[:-300])
    torch.save(torch.load(snapshot, weights_only=True) | {"version": 99}, new)
    checkpoint.save(state, {}, "state")
    for path, sentence in (
        (text, "not a checkpoint"),
        (cut, "damaged"),
        (new, "version 99, .* reads version 1"),
        (state, "training state"),
        (tmp_path / "absent", "does not exist"),
        (tmp_path, "folder"),
    ):
        assert re.search(sentence, refused(run(path, tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_a_snapshot_without_cameras(tmp_path):
    options = tiny.config()
    save_snapshot(tmp_path / "a.pkl", options, tiny.networks(options), torch.zeros(0, 16, 25), {"kimg": 0.0})
    assert "holds no cameras; choose --cameras=frontal" in refused(run(tmp_path / "a.pkl", tmp_path / "out"))


@pytest.mark.parametrize("program", ["/nonexistent/ffmpeg", "/bin/false"])
def test_no_ffmpeg(snapshot, tmp_path, monkeypatch, program):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", program)
    assert "ffmpeg" in refused(run(snapshot, tmp_path, "--seeds=0")) and list(tmp_path.iterdir()) == []


def test_no_space_left(snapshot, tmp_path, monkeypatch):
    def full(encoder, frame):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(video, "_feed", full)
    said = refused(run(snapshot, tmp_path, "--seeds=0"))
    assert "No space left to write" in said and "seed0000.mp4" in said and list(tmp_path.iterdir()) == []
