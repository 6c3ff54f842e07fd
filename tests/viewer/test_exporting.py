"""Videos of the page: the files of pv3d.Video.save, made while pictures are still answered; one at a time; stopped."""

import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import pv3d
from dnnlib.video import read_frames, video_info
from tests.helpers.browser import waited
from tests.helpers.viewing import FRONT, VIDEO_JSON, viewer
from training.sampling.records import SYNTHETIC


def finished(asker) -> dict:
    """The state of a video once it is no longer being made."""
    return waited(lambda: (about := asker.state()["export"])["state"] != "running" and about, "the video")


@pytest.mark.parametrize("suffix, layers", [(".mp4", ["rgb", "normals"]), (".gif", ["rgb"]), (".webm", ["rgb"])])
def test_a_video_is_the_file_that_pv3d_saves(suffix, layers, asker, model, tmp_path):
    keys = [FRONT, {"yaw": 20, "pitch": 5, "zoom": 1}]
    wish = {**VIDEO_JSON, "labels": keys, "layers": layers, "frames": 5, "fps": 10, "suffix": suffix, "scale": 2}
    begun = asker.ask("/api/export", wish).json
    assert begun["state"] == "running"
    about = finished(asker)
    assert about == {"number": begun["number"], "state": "done", "made": 5, "total": 5, "problem": ""}
    found = tmp_path / f"found{suffix}"
    sent = asker.ask("/api/export/file")
    assert sent.headers["X-Export"] == str(begun["number"])
    found.write_bytes(sent.body)
    cameras = pv3d.resample(torch.stack([pv3d.frontal(), pv3d.frontal(20, 5)]), 5)
    video = model.video(model.w(model.appearance(3)), model.motion(7), cameras=cameras, truncation=0.7)
    wanted = tmp_path / f"wanted{suffix}"
    video.save(wanted, layers=layers, fps=10, scale=2)
    assert np.array_equal(np.stack(list(read_frames(found))), np.stack(list(read_frames(wanted))))
    assert video_info(found).fps == 10 and SYNTHETIC.encode() in found.read_bytes()


def test_there_is_no_video_before_one_is_made(snapshot):
    with viewer(snapshot) as asker:
        refused = asker.ask("/api/export/file")
        assert refused.status == 400 and "make one first" in refused.json["error"]
        assert asker.state()["export"] is None
        assert asker.ask("/api/export/stop", b"").status == 200


def test_pictures_are_answered_while_a_video_is_made_and_it_can_be_stopped(asker):
    first = asker.ask("/api/export", {**VIDEO_JSON, "frames": 3000}).json
    for _ in range(5):
        assert asker.frame().status == 200
    second = asker.ask("/api/export", VIDEO_JSON)
    assert second.status == 503 and "being made already" in second.json["error"]
    made = asker.state()["export"]["made"]
    assert 0 < made < 3000
    assert asker.ask("/api/export/stop", b"").status == 200
    assert asker.state()["export"] is None and asker.ask("/api/export/file").status == 400
    waited(lambda: not any(thread.name == "viewer-export" for thread in threading.enumerate()), "the encoder to end")
    assert not list(Path(asker.server.service.folder.name).iterdir())
    third = asker.ask("/api/export", VIDEO_JSON).json
    assert third["number"] != first["number"] and finished(asker)["state"] == "done"


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"layers": ["shape"]}, "no shape|no surface|meet no surface"),
        ({"suffix": ".gif", "fps": 60}, "a GIF has up to"),
    ],
)
def test_a_video_that_cannot_be_made_is_said(change, sentence, asker):
    assert asker.ask("/api/export", {**VIDEO_JSON, **change}).status == 200
    about = finished(asker)
    assert about["state"] == "failed"
    assert re.search(sentence, about["problem"]), about
    assert asker.ask("/api/export/file").status == 400 and asker.frame().status == 200


def test_a_video_that_is_too_large_is_refused_at_once(asker, monkeypatch):
    monkeypatch.setattr("viewer.drawing.MAX_WIDTH", 32 * 16)
    refused = asker.ask("/api/export", {**VIDEO_JSON, "scale": 16, "layers": ["rgb", "normals"]})
    assert refused.status == 400 and "1024 pixels wide" in refused.json["error"]


def test_cameras_that_are_opposite_are_refused_at_once(asker):
    refused = asker.ask("/api/export", {**VIDEO_JSON, "labels": [FRONT, {**FRONT, "yaw": 180}], "frames": 9})
    assert refused.status == 400 and "opposite" in refused.json["error"]


def test_nothing_is_left_behind(snapshot):
    with viewer(snapshot) as asker:
        waited(lambda: asker.state()["panels"][0]["version"], "the model")
        folder = Path(asker.server.service.folder.name)
        asker.ask("/api/export", {**VIDEO_JSON, "frames": 3000})
        waited(lambda: asker.state()["export"]["made"] > 2, "some frames")
    assert not folder.exists()
    names = {"viewer-worker", "viewer-export", "viewer-follower"}
    own = [thread for thread in threading.enumerate() if thread.name in names]
    assert len(own) <= 2, "those of the viewer that other tests use"
