"""edit_videos.py: each command from input to files, latents that drive other commands, and what is refused."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner, Result

import gen_videos
from applications.latents import save_latents
from dnnlib.video import read_frames, video_info
from tests.helpers import tiny
from tests.helpers.edit_command import SHORT, done, latents_of, refused, run
from training.cameras import frontal_label
from training.checkpoints.snapshots import save_snapshot
from training.data.frames import encode_png
from training.data.writer import ClipRecord, write_dataset
from training.sampling.records import SYNTHETIC

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = 32


@pytest.fixture(scope="module")
def still(snapshot, heads, tmp_path_factory) -> Path:
    """Latents of a picture."""
    folder = tmp_path_factory.mktemp("still")
    done(run("animate", snapshot, folder, f"--data={heads}", "--motion-seeds=0", "--frames=2", *SHORT))
    return folder / "latents.pt"


@pytest.fixture(scope="module")
def clip(snapshot, heads, tmp_path_factory) -> Path:
    """Latents of a clip of five frames."""
    folder = tmp_path_factory.mktemp("clip")
    done(run("reconstruct", snapshot, folder, f"--data={heads}", "--clip=1", "--frames=2-6", *SHORT))
    return folder / "latents.pt"


def test_animate(snapshot, heads, tmp_path):
    out = tmp_path / "out"
    paths = done(
        run("animate", snapshot, out, f"--data={heads}", "--clip=00001", "--frame=3", "--motion-seeds=0,5", *SHORT)
    )
    names = ["latents.pt", "picture.png", "motion0000.mp4", "motion0005.mp4"]
    assert paths == [out / name for name in names]
    assert video_info(paths[3]).frames == 16 and video_info(paths[3]).width == 3 * SIZE
    picture = np.asarray(PIL.Image.open(paths[1]))
    assert picture.shape == (SIZE, 4 * SIZE, 3)
    frame = np.asarray(PIL.Image.open(heads / "00001" / "00003.png"))
    assert np.array_equal(picture[:, :SIZE], frame)
    report = json.loads((out / "report.json").read_text())
    assert report["frames"] == 1 and report["psnr"] > 5 and report["lpips"] is None
    assert report["last_loss"] < report["first_loss"]
    left = {path.name for path in out.iterdir()} - {path.with_suffix(".json").name for path in paths}
    assert left == {*names, "report.json", "motion0000.pt", "motion0005.pt"}


def test_reconstruct_shows_input_and_new_views(snapshot, heads, tmp_path):
    paths = done(run("reconstruct", snapshot, tmp_path, f"--data={heads}", "--frames=0-2", *SHORT))
    assert [path.name for path in paths] == ["latents.pt", "reconstruction.mp4", "novel.mp4"]
    assert [(video_info(path).frames, video_info(path).width) for path in paths[1:]] == [(3, 4 * SIZE), (3, 3 * SIZE)]
    latents = latents_of(snapshot, paths[0])
    assert len(latents) == 3 and latents.times.tolist() == [1.0] * 3 and latents.fps == 25.0


def test_latents_drive_the_other_commands(snapshot, clip, still, tmp_path):
    moved = done(run("edit", snapshot, tmp_path / "e", f"--latents={clip}", "--motion-seeds=3"))
    assert [path.name for path in moved] == ["edit0003.mp4"] and video_info(moved[0]).frames == 5
    taken = done(run("retarget", snapshot, tmp_path / "r", f"--appearance={still}", f"--motion={clip}"))
    assert video_info(taken[0]).frames == 5
    kept = latents_of(snapshot, tmp_path / "r" / "retarget.pt")
    assert torch.equal(kept.ws, latents_of(snapshot, still).ws)
    assert torch.equal(kept.z_motion, latents_of(snapshot, clip).z_motion)
    done(run("animate", snapshot, tmp_path / "a", f"--latents={still}", "--motion-seeds=1", "--frames=2"))
    done(run("reconstruct", snapshot, tmp_path / "c", f"--latents={clip}", "--cameras=frontal", "--columns=result"))
    assert video_info(tmp_path / "c" / "novel.mp4").width == SIZE


@pytest.mark.parametrize("rate", ["--lr=1e30", "--pixels=1e38", "--tune-lr=1e30"])
def test_an_inversion_that_diverges_is_no_result(snapshot, heads, tmp_path, rate):
    result = run("animate", snapshot, tmp_path, f"--data={heads}", "--tune-steps=2", *SHORT, rate)
    assert "The inversion diverged at" in refused(result)
    assert not (tmp_path / "latents.pt").exists() and not (tmp_path / "latents.json").exists()


def test_mix_takes_rows(snapshot, still, tmp_path):
    paths = done(run("mix", snapshot, tmp_path, f"--appearance={still}", "--style=7", "--layers=1-2"))
    assert paths == [tmp_path / "mix.png"]  # a picture's latents have no motion
    mixed, own = (latents_of(snapshot, path).ws for path in (tmp_path / "mix.pt", still))
    differing = (mixed != own).any(dim=1).nonzero().flatten().tolist()
    assert differing == [1, 2]
    clips = done(run("mix", snapshot, tmp_path / "seeds", "--appearance=1", "--style=7", "--layers=0", "--frames=3"))
    assert video_info(clips[0]).frames == 3
    turned = done(
        run(
            "mix",
            snapshot,
            tmp_path / "turned",
            f"--appearance={still}",
            "--style=7",
            "--layers=0",
            "--frames=3",
            "--cameras=orbit",
        )
    )
    assert video_info(turned[0]).frames == 3 and not latents_of(snapshot, tmp_path / "turned" / "mix.pt").times.any()


@pytest.mark.parametrize("what", ["appearance", "motion", "both"])
def test_interpolate(snapshot, still, tmp_path, what):
    paths = done(run("interpolate", snapshot, tmp_path, f"--start={still}", "--end=4", f"--what={what}", "--frames=4"))
    assert video_info(paths[0]).frames == 4
    assert latents_of(snapshot, tmp_path / "interpolation.pt").ws.ndim == (2 if what == "motion" else 3)


def test_analyse(snapshot, heads, tmp_path):
    paths = done(
        run(
            "analyse",
            snapshot,
            tmp_path,
            "--seeds=0-1",
            "--style-seeds=2-4",
            "--motion-seeds=0-1",
            "--frames=2",
            "--pairs=5",
            f"--data={heads}",
        )
    )
    names = [str(path.relative_to(tmp_path)) for path in paths]
    assert names == [
        "style-mixing.png",
        *(f"alignment/{name}" for name in ("image.svg", "numbers.json", "video.svg")),
        *(f"motion/{name}" for name in ("curves.svg", "numbers.json")),
    ]
    assert PIL.Image.open(paths[0]).size == (4 * SIZE, 3 * SIZE)
    assert json.loads(paths[2].read_text())["pairs"] == 5


def test_files_say_that_they_are_synthetic(snapshot, still, clip, tmp_path):
    def comment(path: Path) -> str:
        ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)]
        return re.search(r"comment +: (.*)", subprocess.run(ffmpeg, capture_output=True, text=True).stderr)[1]

    assert comment(clip.with_name("novel.mp4")) == SYNTHETIC
    assert PIL.Image.open(still.with_name("picture.png")).text == {"Comment": SYNTHETIC}
    arguments = [f"--network={snapshot}", f"--outdir={tmp_path}", "--seeds=0", "--frames=2", "--device=cpu"]
    assert CliRunner().invoke(gen_videos.main, arguments).exit_code == 0
    assert comment(tmp_path / "seed0000.mp4") == SYNTHETIC


def test_gen_videos_draws_latents(snapshot, clip, still, tmp_path):
    def made(*more: object) -> Result:
        arguments = [f"--network={snapshot}", f"--outdir={tmp_path}", "--device=cpu", *map(str, more)]
        return CliRunner().invoke(gen_videos.main, arguments)

    assert done(made(f"--latents={clip}")) == [tmp_path / "latents.mp4"]
    shown = [np.stack(list(read_frames(path))) for path in (tmp_path / "latents.mp4", clip.with_name("novel.mp4"))]
    assert shown[0].shape == (5, SIZE, SIZE, 3)
    own = np.stack(list(read_frames(clip.with_name("reconstruction.mp4"))))[:, :, SIZE : 2 * SIZE]
    assert np.abs(shown[0].astype(int) - own).mean() < 4
    moved = made(f"--latents={still}", "--motion-seeds=2-3", "--frames=3", "--cameras=frontal")
    assert [path.name for path in done(moved)] == ["latents-motion0002.mp4", "latents-motion0003.mp4"]
    assert "other options" in refused(made(f"--latents={still}", "--frames=5"))
    assert "which has 5 frames" in refused(made(f"--latents={clip}", "--frames=9"))
    assert "not by both" in refused(made(f"--latents={clip}", "--seeds=4"))


def test_gen_videos_keeps_rate_and_length_of_latents(snapshot, clip, tmp_path):
    def made(*more: object) -> Result:
        arguments = [f"--network={snapshot}", f"--outdir={tmp_path}", "--device=cpu", *map(str, more)]
        return CliRunner().invoke(gen_videos.main, arguments)

    own = latents_of(snapshot, clip)
    save_latents(tmp_path / "slow.pt", replace(own, fps=12.5))
    assert video_info(done(made(f"--latents={tmp_path / 'slow.pt'}"))[0]).fps == 12.5
    save_latents(tmp_path / "changing.pt", replace(own, ws=own.ws.expand(5, -1, -1).clone()))
    for frames in (4, 6):
        message = refused(made(f"--latents={tmp_path / 'changing.pt'}", "--motion-seeds=0", f"--frames={frames}"))
        assert "appearance changes over 5 frames" in message


def test_tuning_is_kept_with_the_latents(snapshot, heads, tmp_path):
    done(
        run(
            "animate", snapshot, tmp_path, f"--data={heads}", "--motion-seeds=0", "--frames=2", "--tune-steps=2", *SHORT
        )
    )
    latents = latents_of(snapshot, tmp_path / "latents.pt")
    assert latents.tuned
    again = done(run("animate", snapshot, tmp_path / "2", f"--latents={tmp_path / 'latents.pt'}", "--motion-seeds=0"))
    assert latents_of(snapshot, again[0].with_suffix(".pt")).tuned.keys() == latents.tuned.keys()

    tuned = tmp_path / "latents.pt"
    between = ("interpolate", snapshot, tmp_path / "3", f"--start={tuned}", "--end=1", "--frames=2")
    assert "no weights show both" in refused(run(*between))
    done(run(*between, "--what=motion"))
    mixed = run("mix", snapshot, tmp_path / "4", "--appearance=1", f"--style={tuned}", "--layers=0", "--frames=2")
    assert "are left out" in mixed.stderr and not latents_of(snapshot, done(mixed)[0].with_suffix(".pt")).tuned


@pytest.fixture(scope="module")
def stills(tmp_path_factory) -> Path:
    """A dataset of one clip of one frame, and one of another size beside it."""
    path = tmp_path_factory.mktemp("stills") / "stills"
    frame = tiny.pixels(0, 3, SIZE, SIZE).numpy()
    with write_dataset(path) as writer:
        writer.add(
            ClipRecord(
                name="one", frames=[("0.png", encode_png(frame))], cameras=frontal_label()[None].numpy(), fps=25.0
            )
        )
    return path


@pytest.mark.parametrize(
    ("command", "more", "sentence"),
    [
        ("animate", [], "by one of --input, --data and --latents"),
        ("animate", ["--data={heads}", "--latents={clip}"], "by one of --input, --data and --latents"),
        ("animate", ["--data={heads}", "--frame=16"], "frames 0 to 15, and no frame 16"),
        ("animate", ["--data={heads}", "--clip=nobody"], "--clip=nobody is no clip of"),
        ("animate", ["--data={heads}", "--clip=3"], "a number below 3"),
        ("animate", ["--data={heads}", "--pixels=0", "--features=0"], "Nothing is left to compare frames by"),
        ("animate", ["--data={heads}", "--steps=0"], "--steps=0 is not possible"),
        ("animate", ["--data={heads}", "--columns=input"], "input is no column"),
        ("animate", ["--data={heads}", "--cameras=nowhere"], "--cameras=nowhere is neither"),
        ("animate", ["--input=no.jpg"], "no.jpg"),
        ("animate", ["--input={heads}/dataset.json"], "is no picture or video by its name"),
        ("animate", ["--latents={heads}/dataset.json"], "not a checkpoint of this software"),
        ("reconstruct", ["--data={stills}"], "one has one frame, so no motion"),
        ("reconstruct", ["--latents={still}"], "is of a picture and has no motion"),
        ("edit", ["--latents={still}"], "is of a picture and has no motion"),
        ("animate", ["--latents={still}", "--frame=1", "--steps=9"], "so leave out --frame, --steps."),
        ("edit", ["--latents={clip}", "--clip=1", "--frames=0-2", "--fit-cameras"], "--clip, --frames, --fit-cameras."),
        ("retarget", ["--appearance=1", "--motion={still}"], "is of a picture and has no motion"),
        ("retarget", ["--appearance=none.pt", "--motion={clip}"], "none.pt is neither a seed"),
        ("retarget", ["--appearance=-3", "--motion={clip}"], "-3 is neither a seed"),
        ("mix", ["--appearance={clip}", "--style=2", "--layers=0", "--frames=9"], "which has 5 frames: leave it out"),
        ("mix", ["--appearance=1", "--style=2", "--layers=99"], "The latents have no row 99"),
        ("analyse", ["--data={stills}"], "has two different cameras"),
    ],
)
def test_mistakes_get_a_sentence(snapshot, heads, stills, clip, still, tmp_path, command, more, sentence):
    files = {"heads": heads, "stills": stills, "clip": clip, "still": still}
    assert sentence in refused(run(command, snapshot, tmp_path, *(word.format(**files) for word in more)))


def test_odd_cameras_are_doubted(snapshot, heads, clip, tmp_path):
    labels = frontal_label().expand(3, -1).clone()
    labels[:, 5] *= -1  # the y axis, as other software has it
    (tmp_path / "cameras.json").write_text(json.dumps(labels.tolist()))
    more = ("--motion-seeds=0", f"--cameras={tmp_path / 'cameras.json'}")
    odd = run("edit", snapshot, tmp_path / "out", f"--latents={clip}", *more)
    assert "3 of 3 cameras of the file of --cameras look wrong" in odd.stderr
    shutil.copytree(heads, tmp_path / "heads")
    for line in (tmp_path / "heads").glob("*.json"):
        written = json.loads(line.read_text())
        written["labels"] = [[name, labels[0].tolist()] for name, _ in written["labels"]]
        line.write_text(json.dumps(written))
    still = ("animate", snapshot, tmp_path / "data", f"--data={tmp_path / 'heads'}", "--motion-seeds=0", "--frames=2")
    assert "1 of 1 cameras of 00000 in" in run(*still, *SHORT).stderr


def test_a_static_model_gets_no_other_motion(heads, tmp_path):
    static = tmp_path / "eg3d.pkl"
    config = tiny.config(method="eg3d")
    save_snapshot(static, config, tiny.networks(config), frontal_label()[None, None], {"kimg": 0.0})
    for command, *more in (("edit", f"--data={heads}"), ("retarget", "--appearance=0", "--motion=a.pt")):
        result = run(command, static, tmp_path / "out", *more)
        assert "This model is static, so that there is no motion to change" in refused(result)
    shown = run("animate", static, tmp_path / "out", f"--data={heads}", "--motion-seeds=0", "--frames=2", *SHORT)
    assert "The model is static: nothing but the camera moves." in shown.stderr and done(shown)


def test_latents_of_another_model_are_refused(snapshot, clip, tmp_path):
    options = tiny.config()
    networks = tiny.networks(options, noise=0.3)
    save_snapshot(tmp_path / "other.pkl", options, networks, torch.zeros(0, 2, 25), {"kimg": 0.0})
    for command in ("edit", "reconstruct"):
        message = refused(run(command, tmp_path / "other.pkl", tmp_path / "out", f"--latents={clip}"))
        assert "belong to another model" in message
