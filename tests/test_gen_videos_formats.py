"""gen_videos.py: formats of files, scale, labels, interpolation; pixels are those of pv3d."""

import json
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import Result

import pv3d
from dnnlib.video import read_frames, video_info, write_video
from tests.helpers import tiny, video_command
from tests.helpers.video_command import done, refused
from training.checkpoints.snapshots import save_snapshot
from training.sampling import frame_files, pictures
from training.sampling.labels import Strips
from training.sampling.records import SYNTHETIC

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE = 32
FRAMES = 3


def run(network: Path, outdir: Path, *more: object) -> Result:
    return video_command.run(network, outdir, "--cameras=orbit", *more, frames=None)


def made(network: Path, outdir: Path, *more: object) -> list[Path]:
    return done(run(network, outdir, f"--frames={FRAMES}", *more))


def picture(path: Path) -> np.ndarray:
    return np.asarray(PIL.Image.open(path))


@pytest.fixture(scope="module")
def model(snapshot) -> pv3d.Model:
    return pv3d.load(snapshot, device="cpu")


@pytest.fixture(scope="module")
def video(model) -> pv3d.Video:
    """What `--seeds=1 --cameras=orbit` shows."""
    return model.video(model.appearance(1), model.motion(1), cameras=pv3d.orbit(FRAMES))


# --- Formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["mp4", "webm", "gif"])
def test_videos_are_those_of_pv3d_to_the_byte(format, snapshot, video, tmp_path):
    layers = "rgb,depth,normals"
    (path,) = made(
        snapshot, tmp_path / "out", "--seeds=1", f"--format={format}", f"--layers={layers}", "--scale=2", "--fps=10"
    )
    assert path == tmp_path / "out" / f"seed0001.{format}"
    video.save(tmp_path / f"api.{format}", layers=layers, scale=2, fps=10)
    assert path.read_bytes() == (tmp_path / f"api.{format}").read_bytes()
    info = video_info(path)
    assert (info.frames, info.fps, info.width, info.height) == (FRAMES, 10.0, 6 * SIDE, 2 * SIDE)
    assert SYNTHETIC.encode() in path.read_bytes()
    shown = video.pictures(layers, scale=2).permute(0, 2, 3, 1).numpy()
    assert np.abs(np.stack(list(read_frames(path))).astype(int) - shown).mean() < 8


def test_an_mp4_has_the_bytes_it_had_before_there_were_formats(snapshot, video, tmp_path):
    (path,) = made(snapshot, tmp_path, "--seeds=1")
    write_video(tmp_path / "plain.mp4", video.pictures().permute(0, 2, 3, 1).numpy(), 25.0, comment=SYNTHETIC)
    assert path.read_bytes() == (tmp_path / "plain.mp4").read_bytes()
    options = json.loads(path.with_suffix(".json").read_text())["options"]
    assert not {"format", "scale", "labels", "interpolate"} & set(options), "as older records have them"


def test_a_folder_of_pictures(snapshot, video, tmp_path):
    paths = made(snapshot, tmp_path, "--seeds=1", "--format=png", "--layers=rgb,depth")
    assert paths == [tmp_path / "frames" / "seed0001" / f"frame{number:03d}.png" for number in range(FRAMES)]
    shown = video.pictures("rgb,depth").permute(0, 2, 3, 1).numpy()
    assert all(np.array_equal(picture(path), frame) for path, frame in zip(paths, shown, strict=True))
    assert PIL.Image.open(paths[0]).text["Comment"] == SYNTHETIC
    record = json.loads((tmp_path / "frames" / "seed0001.json").read_text())["options"]
    assert record["format"] == "png" and "fps" not in record


@pytest.mark.parametrize("layers", [None, "depth", "normals,rgb"])
def test_arrays_are_those_of_pv3d(layers, snapshot, video, tmp_path):
    options = [] if layers is None else [f"--layers={layers}"]
    (path,) = made(snapshot, tmp_path, "--seeds=1", "--format=npz", *options)
    assert path == tmp_path / "seed0001.npz"
    names = (layers or "rgb,depth,normals").split(",")
    with np.load(path) as arrays:
        assert set(arrays) == {*names, "cameras", "times"}
        for name, array in arrays.items():
            assert np.array_equal(array, getattr(video, name).numpy()), name


def test_grids_in_every_format_of_pictures(snapshot, tmp_path):
    shown = {}
    for format in ("webm", "gif", "png"):
        paths = made(snapshot, tmp_path, "--seeds=0-1", "--grid=1x2", f"--format={format}")
        shown[format] = np.stack([picture(path) for path in paths] if format == "png" else list(read_frames(*paths)))
    assert {frames.shape for frames in shown.values()} == {(FRAMES, 2 * SIDE, SIDE, 3)}
    assert np.abs(shown["webm"].astype(int) - shown["png"]).mean() < 8
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "grid.gif",
        "grid.gif.json",
        "grid.webm",
        "grid.webm.json",
    ]


def test_frames_of_long_videos_have_names_that_sort(snapshot, tmp_path, monkeypatch):
    names = []
    monkeypatch.setattr(pictures, "save_png", lambda path, *_, **__: names.append(path.name))
    blank = (np.zeros([2, 2, 3], np.uint8) for _ in range(1001))
    frame_files.write_frames(tmp_path / "frames" / "a", blank, count=1001)
    assert names[0] == "frame0000.png" and names[-1] == "frame1000.png" and names == sorted(names)


@pytest.mark.parametrize(
    "fps, sentence", [(30, "30 ms and some for 40 ms"), (24, "40 ms and some for 50 ms"), (25, "")]
)
def test_a_gif_says_where_its_times_are_uneven(fps, sentence, snapshot, tmp_path):
    result = run(snapshot, tmp_path, "--seeds=1", "--frames=4", "--format=gif", f"--fps={fps}")
    image = PIL.Image.open(done(result)[0])
    times = set()
    for number in range(image.n_frames):
        image.seek(number)
        times.add(image.info["duration"])
    assert times == ({40} if fps == 25 else {30, 40} if fps == 30 else {40, 50})
    assert ("A GIF counts hundredths" in result.stderr) == bool(sentence) and sentence in result.stderr
    other = run(snapshot, tmp_path, "--seeds=1", "--frames=4", f"--fps={fps}")
    assert done(other) and "GIF" not in other.stderr


# --- Records ---------------------------------------------------------------------------------------------------------


def test_formats_lie_beside_each_other_and_none_is_taken_for_another(snapshot, tmp_path):
    paths = {}
    for format in ("mp4", "webm", "gif", "png", "npz"):
        paths[format] = made(snapshot, tmp_path, "--seeds=1", f"--format={format}")
    before = {path: path.stat().st_mtime_ns for files in paths.values() for path in files}
    for format, files in paths.items():
        again = run(snapshot, tmp_path, f"--frames={FRAMES}", "--seeds=1", f"--format={format}")
        assert done(again) == files and "1 already there, made with the same options" in again.stderr
        assert "trunc" in refused(
            run(snapshot, tmp_path, f"--frames={FRAMES}", "--seeds=1", f"--format={format}", "--trunc=0.5")
        )
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize(
    "first, second, names",
    [
        ([], ["--scale=2"], "scale"),
        (["--scale=2"], [], "scale"),
        (["--scale=2"], ["--scale=2", "--labels"], "labels"),
        (["--scale=2", "--labels"], ["--scale=2"], "labels"),
        (["--format=png"], ["--format=png", "--scale=2"], "scale"),
        (["--format=npz"], ["--format=npz", "--layers=rgb"], "layers"),
    ],
)
def test_other_options_of_pictures_are_refused(first, second, names, snapshot, tmp_path):
    made(snapshot, tmp_path, "--seeds=1", *first)
    said = refused(run(snapshot, tmp_path, f"--frames={FRAMES}", "--seeds=1", *second))
    assert f"was made with other options ({names}; " in said


def test_other_ways_are_refused(snapshot, tmp_path):
    made(snapshot, tmp_path, "--seeds=0-1", "--interpolate")
    for seeds in ("1,0", "0,1,2", "0,2"):
        said = refused(run(snapshot, tmp_path, f"--frames={FRAMES}", f"--seeds={seeds}", "--interpolate"))
        assert "interpolation.mp4 was made with other options (" in said and "interpolate" in said


# --- Labels ----------------------------------------------------------------------------------------------------------


def test_labels_stand_above_and_cover_nothing(snapshot, tmp_path):
    options = ["--seeds=0-1", "--motion-seeds=0,7", "--grid=2x2", "--scale=2", "--format=png", "--layers=rgb,depth"]
    plain = picture(made(snapshot, tmp_path / "a", *options)[1])
    labelled = picture(made(snapshot, tmp_path / "b", *options, "--labels")[1])
    cell, width = 2 * SIDE, 4 * SIDE
    strip = labelled.shape[0] // 2 - cell
    assert strip > 0 and strip % 2 == 0 and labelled.shape[1] == plain.shape[1] == 2 * width
    for row in range(2):
        top = row * (cell + strip)
        assert np.array_equal(labelled[top + strip : top + strip + cell], plain[row * cell : (row + 1) * cell])
        for column in range(2):
            text = labelled[top : top + strip, column * width : (column + 1) * width]
            assert np.array_equal(text[..., 0], text[..., 1]) and text.max() > 240 and text.min() == 0
    texts = [labelled[:strip, :width], labelled[:strip, width:], labelled[cell + strip : cell + 2 * strip, :width]]
    assert len({text.tobytes() for text in texts}) == 3, "each cell has its own"


def test_a_label_of_one_clip(snapshot, video, tmp_path):
    paths = made(snapshot, tmp_path, "--seeds=1", "--labels", "--scale=2", "--format=png")
    strips = Strips([["seed 1"]], ["rgb"], 2 * SIDE)
    expected = torch.cat([strips.draw(0), video.pictures(scale=2)[0]], dim=1).permute(1, 2, 0).numpy()
    assert np.array_equal(picture(paths[0]), expected)


def test_labels_without_room_are_refused_before_any_work(snapshot, tmp_path):
    said = refused(run(snapshot, tmp_path / "out", "--seeds=0-1", "--labels", "--layers=rgb,normals"))
    assert said == "Error: --labels have no room for 'normals' in 32 pixels: give --scale=2."
    assert not (tmp_path / "out").exists()
    assert made(snapshot, tmp_path / "out", "--seeds=0", "--labels", "--layers=rgb,normals", "--scale=2")


# --- Interpolation ---------------------------------------------------------------------------------------------------


def test_interpolation_is_that_of_pv3d_back_to_the_first(snapshot, model, tmp_path):
    count = 6
    paths = done(run(snapshot, tmp_path, "--seeds=2,0,5", "--interpolate", f"--frames={count}", "--format=png"))
    assert paths[0].parent == tmp_path / "frames" / "interpolation"
    cameras, times = pv3d.orbit(count), torch.linspace(0, 1, count)
    # One frame more would be the first again.
    closed = model.interpolate(
        [model.appearance(seed) for seed in (2, 0, 5, 2)],
        motion=model.motion(2),
        cameras=torch.cat([cameras, cameras[:1]]),
        t=[*times.tolist(), 0.0],
    )
    shown = closed.pictures().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(np.stack([picture(path) for path in paths]), shown[:count])
    assert np.array_equal(shown[count], shown[0])
    still = model.video(model.appearance(0), model.motion(2), cameras=cameras).pictures().permute(0, 2, 3, 1).numpy()
    assert np.abs(picture(paths[2]).astype(int) - still[2]).max() <= 1, "seed 0 is met a third of the way"


def test_an_interpolation_is_truncated_as_that_of_pv3d(snapshot, model, tmp_path):
    (path,) = done(
        run(
            snapshot,
            tmp_path,
            "--seeds=3,4",
            "--interpolate",
            "--frames=4",
            "--trunc=0.3",
            "--format=npz",
            "--layers=rgb",
        )
    )
    cameras = torch.cat([pv3d.orbit(4), pv3d.orbit(4)[:1]])
    times = [*torch.linspace(0, 1, 4).tolist(), 0.0]
    keys = [model.appearance(seed) for seed in (3, 4, 3)]
    expected = model.interpolate(keys, motion=model.motion(3), cameras=cameras, t=times, truncation=0.3).rgb
    with np.load(path) as arrays:
        assert np.array_equal(arrays["rgb"], expected[:4].numpy())


def test_interpolations_of_several_motions_have_sixteen_frames_a_seed(snapshot, tmp_path):
    paths = done(run(snapshot, tmp_path, "--seeds=0-1", "--interpolate", "--motion-seeds=0,7"))
    assert [path.name for path in paths] == ["interpolation.mp4", "interpolation-motion0007.mp4"]
    assert video_info(paths[0]).frames == 32
    grid = done(
        run(snapshot, tmp_path, "--seeds=0-1", "--interpolate", "--motion-seeds=0,7", "--grid=2x1", "--frames=3")
    )
    assert video_info(grid[0]).width == 2 * SIDE


def test_models_that_have_no_appearance_to_go_through(tmp_path):
    for changes, sentence in (
        ({"generator__motion_generator": "naive"}, "moves by its mapping network"),
        ({"generator__camera_mode": "Non"}, "maps the camera of each frame .*--mapping-camera=frontal"),
    ):
        options = tiny.config(**changes)
        save_snapshot(tmp_path / "a.pkl", options, tiny.networks(options), torch.zeros(0, 16, 25), {"kimg": 0.0})
        said = refused(run(tmp_path / "a.pkl", tmp_path / "out", "--seeds=0-1", "--interpolate", "--frames=3"))
        assert re.search(sentence, said)


# --- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--format=png", "--fps=10"], "--fps does nothing with --format=png: leave it out"),
        (["--format=npz", "--fps=10"], "--fps does nothing with --format=npz"),
        (["--format=npz", "--scale=2"], "--scale does nothing with --format=npz"),
        (["--format=npz", "--labels"], "--labels does nothing with --format=npz"),
        (["--format=npz", "--grid=2x2"], "--grid does nothing with --format=npz"),
        (["--format=npz", "--layers=depth", "--depth-range=2,3"], "--depth-range does nothing with --format=npz"),
        (["--format=npz", "--layers=rgb,shape"], "--format=npz holds arrays, and the layer shape is a picture"),
        (["--format=gif", "--fps=60"], "--fps=60 is not possible with --format=gif: a GIF has up to 50"),
        (["--format=avi"], "'avi' is not one of 'mp4', 'webm', 'gif', 'png', 'npz'"),
        (["--scale=0"], "--scale=0 is not possible: it must be at least 1"),
        (["--interpolate", "--seeds=3"], "--interpolate goes from seed to seed: give two or more --seeds"),
        (["--interpolate", "--latents=a.pt"], "--interpolate goes between seeds, and --latents is one appearance"),
        (["--interpolate", "--frames=3"], "3 frames are too few to go through 4 seeds: give more --frames, or fewer"),
        (["--interpolate", "--grid=2x2"], "--grid=2x2 has 4 places but there are 1 clips"),
    ],
)
def test_options_that_cannot_have_an_effect_together(options, sentence, snapshot, tmp_path):
    assert sentence in refused(run(snapshot, tmp_path / "out", *options)).replace("\n", " ")
    assert not (tmp_path / "out").exists()
