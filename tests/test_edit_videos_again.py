"""edit_videos.py started again: what is there is kept, what was interrupted goes on, nothing is taken for another."""

import pytest

from applications import running
from dnnlib.locks import PathLock
from tests.helpers import tiny
from tests.helpers.edit_command import SHORT, done, refused, run
from training.checkpoints.opener import open_snapshot
from training.checkpoints.snapshots import save_snapshot

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
