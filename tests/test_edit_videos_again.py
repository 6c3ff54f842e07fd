"""edit_videos.py started again: what is there is kept, what was interrupted goes on, nothing is taken for another."""

import numpy as np
import PIL.Image
import pytest
import torch

from applications import running
from dnnlib.locks import PathLock
from tests.helpers import tiny
from tests.helpers.edit_command import SHORT, done, latents_of, refused, run
from training.checkpoints.opener import open_snapshot
from training.checkpoints.snapshots import save_snapshot
from training.sampling import pictures
from training.sampling.labels import Strips

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_second_start_does_nothing(snapshot, heads, tmp_path, monkeypatch):
    command = ("animate", snapshot, tmp_path, f"--data={heads}", "--motion-seeds=0", "--frames=2", *SHORT)
    first = done(run(*command))
    times = [path.stat().st_mtime_ns for path in first]
    monkeypatch.setattr(running.Inversion, "run", None)
    again = run(*command)
    assert done(again) == first and [path.stat().st_mtime_ns for path in first] == times
    assert "is there already, found with the same options" in again.stderr
    assert "made with other options (options" in refused(run(*command, "--lr=0.1"))


def test_a_folder_belongs_to_one_command_at_a_time(snapshot, tmp_path):
    command = ("mix", snapshot, tmp_path, "--appearance=1", "--style=2", "--layers=0", "--frames=2")
    with PathLock(tmp_path) as lock:
        assert lock.take(wait=False)
        assert "Another command is at work in" in refused(run(*command))
    done(run(*command))
    refused(run("edit", snapshot, tmp_path / "new", f"--latents={snapshot}"))
    assert not (tmp_path / "new").exists()


def test_a_still_and_a_video_do_not_share_a_record(snapshot, heads, tmp_path):
    done(run("animate", snapshot, tmp_path / "still", f"--data={heads}", "--motion-seeds=0", "--frames=2", *SHORT))
    still_mix = ("mix", snapshot, tmp_path, f"--appearance={tmp_path}/still/latents.pt", "--style=7", "--layers=0")
    done(run(*still_mix))
    assert "mix.png was made with other options" in refused(run(*still_mix, "--frames=2"))


def test_results_of_another_discriminator_are_not_taken_for_this_ones(snapshot, heads, tmp_path):
    stored = open_snapshot(snapshot)
    networks = tiny.networks(stored.config)
    other = networks.D_img
    next(other.parameters()).data.add_(1)
    save_snapshot(tmp_path / "other.pkl", stored.config, networks, stored.camera_bank, {"kimg": 0.0})
    command = (f"--data={heads}", "--motion-seeds=0", "--frames=2", *SHORT)
    done(run("animate", snapshot, tmp_path, *command))
    assert "other options (network;" in refused(run("animate", tmp_path / "other.pkl", tmp_path, *command))


def test_results_of_another_rendering_are_not_taken_for_this_ones(snapshot, tmp_path):
    stored = open_snapshot(snapshot)
    options = tiny.config(generator__camera_mode="All")  # of the same weights
    save_snapshot(tmp_path / "All.pkl", options, tiny.networks(options), stored.camera_bank, {"kimg": 0.0})
    command = ("--appearance=1", "--style=2", "--layers=0", "--frames=2", "--cameras=orbit")
    done(run("mix", snapshot, tmp_path, *command))
    assert "other options (network;" in refused(run("mix", tmp_path / "All.pkl", tmp_path, *command))


def test_an_interrupted_command_goes_on(snapshot, heads, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "SAVE_SECONDS", 0.0)
    command = ("animate", snapshot, tmp_path, f"--data={heads}", "--motion-seeds=0", "--frames=2", "--steps=6")
    draw = running.Inversion._draw
    count = []

    def interrupted(*arguments: object) -> None:
        draw(*arguments)
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(running.Inversion, "_draw", interrupted)
    stopped = run(*command)
    assert stopped.exit_code == 130 and "Interrupted" in stopped.stderr
    assert (tmp_path / running.STATE).exists() and not (tmp_path / "latents.pt").exists()
    again = run(*command)
    done(again)
    assert "Going on from" in again.stderr and len(count) == 3 + 2
    assert not (tmp_path / running.STATE).exists()


def test_formats_lie_beside_each_other_with_latents_of_their_own(snapshot, tmp_path):
    common = ("--appearance=1", "--style=2", "--layers=0", "--cameras=orbit")
    made = {}
    for format, frames in (("mp4", 2), ("gif", 3), ("png", 2), ("webm", 2)):
        command = ("mix", snapshot, tmp_path, *common, f"--frames={frames}", f"--format={format}")
        made[format] = done(run(*command))
        assert done(run(*command)) == made[format]
    names = {format: [str(path.relative_to(tmp_path)) for path in paths] for format, paths in made.items()}
    assert names == {
        "mp4": ["mix.mp4"],
        "gif": ["mix.gif"],
        "png": ["frames/mix/frame000.png", "frames/mix/frame001.png"],
        "webm": ["mix.webm"],
    }
    lengths = [len(latents_of(snapshot, tmp_path / name)) for name in ("mix.pt", "mix.gif.pt", "frames/mix.pt")]
    assert lengths == [2, 3, 2], "no format's latents lie over those of another"
    for more, name in ((["--scale=2"], "scale"), (["--labels", "--scale=2"], "scale, labels")):
        said = refused(run("mix", snapshot, tmp_path, *common, "--frames=2", "--format=png", *more))
        assert f"frames/mix was made with other options ({name}; " in said


def test_columns_are_enlarged_and_named(snapshot, tmp_path):
    def frame(outdir: str, *more: str) -> np.ndarray:
        common = ("--appearance=1", "--style=2", "--layers=0", "--cameras=orbit", "--frames=2", "--format=png")
        return np.asarray(PIL.Image.open(done(run("mix", snapshot, tmp_path / outdir, *common, *more))[1]))

    small = frame("a")
    large = frame("b", "--scale=2")
    named = frame("c", "--scale=2", "--labels")
    assert small.shape == (32, 96, 3) and large.shape == (64, 192, 3) and named.shape[1:] == (192, 3)
    columns = [torch.from_numpy(small[:, 32 * i : 32 * (i + 1)].copy()).permute(2, 0, 1)[None] for i in range(3)]
    expected = torch.cat([pictures.enlarged(column, 64) for column in columns], dim=3)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(large, expected), "column by column: none runs into its neighbour"
    strip = Strips([()], ["result", "side", "normals"], 64).draw(0).permute(1, 2, 0).numpy()
    assert np.array_equal(named, np.concatenate([strip, large]))
    said = refused(run("mix", snapshot, tmp_path / "d", "--appearance=1", "--style=2", "--layers=0", "--labels"))
    assert "--labels have no room for 'normals' in 32 pixels: give --scale=2." in said and not (tmp_path / "d").exists()


def test_labels_without_room_are_refused_before_latents_are_searched_for(snapshot, heads, tmp_path, monkeypatch):
    monkeypatch.setattr(running.Inversion, "run", None)
    assert "have no room" in refused(run("animate", snapshot, tmp_path / "out", f"--data={heads}", "--labels", *SHORT))
    assert not (tmp_path / "out").exists()
