"""Cameras of other trackers are read from their files, and belong to frames by name alone."""

import json
import re

import numpy as np
import pytest
import scipy.io
import torch

from dnnlib.errors import UserError
from dnnlib.video import write_video
from tests.helpers.dataset_command import done, run
from training.cameras import RADIUS, canonical_label, frontal_label, split_label
from training.data.camera_files import read_cameras
from training.data.dataset import ClipDataset
from training.data.frames import encode_png

LABELS = frontal_label(torch.linspace(-0.4, 0.4, 5)).double().numpy()


def pose_of(label: np.ndarray, pose: str) -> tuple[np.ndarray, np.ndarray]:
    """Return R and t of a label."""
    matrix = split_label(torch.from_numpy(label))[0].numpy()
    if pose == "world2cam":
        matrix = np.linalg.inv(matrix)
    return matrix[:3, :3], matrix[:3, 3]


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


def names(count: int = 5) -> list[str]:
    return [f"clip/{number:05d}" for number in range(count)]


@pytest.mark.parametrize("pose", ["world2cam", "cam2world"])
@pytest.mark.parametrize("kind", ["eg3d", "list", "object", "rt", "csv25", "csv12"])
def test_every_format_gives_the_same_cameras(kind, pose, tmp_path):
    rows = [label.tolist() for label in LABELS]
    poses = [pose_of(label, pose) for label in LABELS]
    if kind.startswith("csv"):
        flat = rows if kind == "csv25" else [[*rotation.ravel(), *shift] for rotation, shift in poses]
        header = ",".join(["name", *(f"c{number}" for number in range(len(flat[0])))])
        lines = [
            ",".join([f"{name}.png", *map(repr, map(float, row))]) for name, row in zip(names(), flat, strict=True)
        ]
        path = tmp_path / "cameras.csv"
        path.write_text("\n".join([header, *lines]))
    else:
        content = {
            "eg3d": {"labels": [[f"{name}.png", row] for name, row in zip(names(), rows, strict=True)]},
            "list": [[name, row] for name, row in zip(names(), rows, strict=True)],
            "object": dict(zip(names(), rows, strict=True)),
            "rt": {n: {"R": r.tolist(), "t": t.tolist()} for n, (r, t) in zip(names(), poses, strict=True)},
        }[kind]
        path = write_json(tmp_path / "cameras.json", content)
    found = read_cameras(path, pose)
    assert list(found) == names()
    np.testing.assert_allclose(np.stack(list(found.values())), LABELS, atol=1e-6)


def test_deep3d_cameras_stand_where_it_says(tmp_path):
    """No angles: in front. A face that looks to the picture's left is seen from its +x side."""
    for name, angle in (("front", [0, 0, 0]), ("left", [0, -0.5, 0]), ("down", [0.3, 0, 0])):
        scipy.io.savemat(tmp_path / f"{name}.mat", {"angle": np.array([angle]), "trans": np.zeros([1, 3])})
    found = read_cameras(tmp_path, "world2cam")
    np.testing.assert_allclose(found["front"], canonical_label().numpy(), atol=1e-6)
    eye = {name: split_label(torch.from_numpy(label))[0][:3, 3].numpy() for name, label in found.items()}
    np.testing.assert_allclose(eye["left"], RADIUS * np.array([np.sin(0.5), 0, np.cos(0.5)]), atol=1e-6)
    np.testing.assert_allclose(eye["down"], RADIUS * np.array([0, np.sin(0.3), np.cos(0.3)]), atol=1e-6)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"labels": [["a", [0.0] * 24]]}, "camera has shape [24], not 25 numbers"),
        ({"labels": [["a.png", [0.0] * 25], ["a.jpg", [0.0] * 25]]}, "two cameras of a"),
        ({"labels": []}, "There are no cameras"),
        ({"a": {"R": np.diag([1, 1, -1]).tolist(), "t": [0, 0, 1]}}, "R is no rotation"),
        ({"a": {"R": (2 * np.eye(3)).tolist(), "t": [0, 0, 1]}}, "R is no rotation"),
        ({"a": {"R": np.eye(3).tolist()}}, 'a camera is 25 numbers, or {"R": 3 x 3, "t": [3]}'),
        ([1, 2, 3], "is no list of [frame name, camera]"),
    ],
)
def test_impossible_cameras_get_a_sentence(content, words, tmp_path):
    path = write_json(tmp_path / "cameras.json", content)
    with pytest.raises(UserError, match=re.escape(words)):
        read_cameras(path, "world2cam")


def aligned(folder, frames: int = 5):
    """Make a folder with a video `clip` and a folder of pictures `stills`; return their frames."""
    random = np.random.default_rng(0)
    video = random.integers(0, 255, [frames, 32, 32, 3], dtype=np.uint8)
    write_video(folder / "clip.mp4", video, 25.0)
    (folder / "stills").mkdir()
    for name in ("b", "a", "c"):
        (folder / "stills" / f"{name}.png").write_bytes(encode_png(np.full([3, 32, 32], ord(name), np.uint8)))


def test_pictures_get_their_own_cameras_whatever_their_order(tmp_path):
    aligned(tmp_path / "in")
    labels = {"c": LABELS[0], "a": LABELS[1], "b": LABELS[2]}
    entries = [[f"stills/{name}.png", label.tolist()] for name, label in labels.items()]
    entries += [[f"stills/{name}_mirror.png", label.tolist()] for name, label in labels.items()]
    entries += [[name, label.tolist()] for name, label in reversed(list(zip(names(), LABELS, strict=True)))]
    cameras = write_json(tmp_path / "cameras.json", {"labels": entries})
    dest = tmp_path / "data.zip"
    printed = done("convert", "--source", tmp_path / "in", "--cameras", cameras, "--dest", dest, "--workers", 1)
    assert "cameras of mirrored copies, which training makes itself (3)" in printed
    clip, stills = ClipDataset(dest).clips
    assert (clip.name, stills.name) == ("clip", "stills")
    np.testing.assert_allclose(clip.cameras, LABELS, atol=1e-6)
    np.testing.assert_allclose(stills.cameras, LABELS[[1, 2, 0]], atol=1e-6)  # a, b, c


def test_a_missing_and_a_surplus_camera_are_named(tmp_path):
    aligned(tmp_path / "in")
    entries = [[f"stills/{name}", LABELS[0].tolist()] for name in ("a", "b", "lost")]
    cameras = write_json(tmp_path / "cameras.json", entries)
    words = ("convert", "--source", tmp_path / "in", "--cameras", cameras, "--dest", tmp_path / "data.zip")
    result = run(*words)
    assert result.exit_code == 2
    assert "no camera of 2 files, clip.mp4, stills/c.png" in result.output
    printed = done(*words, "--skip-broken", "--workers", 1)
    assert "cameras of nothing that is there (1): stills/lost" in printed
    assert [len(clip.frames) for clip in ClipDataset(tmp_path / "data.zip").clips] == [2]


def test_a_video_needs_a_camera_for_each_frame(tmp_path):
    aligned(tmp_path / "in")
    cameras = write_json(tmp_path / "cameras.json", [[name, LABELS[0].tolist()] for name in names(4)])
    words = ("convert", "--source", tmp_path / "in", "--cameras", cameras, "--dest", tmp_path / "data.zip")
    result = run(*words, "--skip-broken", "--workers", 1)
    assert result.exit_code == 2 and "has 5 frames but" in result.output
