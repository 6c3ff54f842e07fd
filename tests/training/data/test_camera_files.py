"""Cameras of other trackers are read from their files, and belong to frames by name alone."""

import json
import re

import numpy as np
import pytest
import scipy.io
import torch
from scipy.spatial.transform import Rotation

from dnnlib.errors import UserError
from dnnlib.files import MAX_JSON_BYTES
from dnnlib.video import write_video
from tests.helpers.dataset_command import done, run
from training.cameras import RADIUS, canonical_label, frontal_label, split_label
from training.config import FOCAL
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
    found = read_cameras(path, pose, FOCAL)
    assert list(found) == names()
    np.testing.assert_allclose(np.stack(list(found.values())), LABELS, atol=1e-6)


def test_a_focal_length_goes_with_r_and_t_alone(tmp_path):
    rotation, shift = pose_of(LABELS[0], "cam2world")
    content = {"rt": {"R": rotation.tolist(), "t": shift.tolist()}, "whole": LABELS[1].tolist()}
    found = read_cameras(write_json(tmp_path / "cameras.json", content), "cam2world", 5.0)
    assert found["rt"][16:].tolist() == [5, 0, 0.5, 0, 5, 0.5, 0, 0, 1]
    np.testing.assert_allclose(found["rt"][:16], LABELS[0][:16], atol=1e-6)
    np.testing.assert_allclose(found["whole"], LABELS[1], atol=1e-6)


def test_a_point_of_the_face_is_where_deep3d_draws_it(tmp_path):
    """The face is turned and moved, and seen from z = 10 with a focal length of 1015 pixels of 224."""
    angles, shift, point = np.array([0.2, -0.4, 0.1]), np.array([0.1, -0.05, 0.3]), np.array([0.3, 0.5, 0.4])
    scipy.io.savemat(tmp_path / "a.mat", {"angle": angles[None], "trans": shift[None]})
    moved = Rotation.from_euler("xyz", angles).apply(point) + shift
    drawn = 0.5 + 1015 / 224 * np.array([moved[0], -moved[1]]) / (10 - moved[2])
    pose, intrinsics = split_label(torch.from_numpy(read_cameras(tmp_path, "world2cam", 1015 / 224)["a"]))
    scale = RADIUS / np.linalg.norm([shift[0], shift[1], 10 - shift[2]])
    seen = intrinsics @ (pose.inverse() @ torch.tensor([*(scale * point), 1.0]))[:3]
    np.testing.assert_allclose((seen[:2] / seen[2]).numpy(), drawn, atol=1e-6)


def test_deep3d_cameras_stand_where_it_says(tmp_path):
    """No angles: in front. A face that looks to the picture's left is seen from its +x side."""
    for name, angle in (("front", [0, 0, 0]), ("left", [0, -0.5, 0]), ("down", [0.3, 0, 0])):
        scipy.io.savemat(tmp_path / f"{name}.mat", {"angle": np.array([angle]), "trans": np.zeros([1, 3])})
    found = read_cameras(tmp_path, "world2cam", FOCAL)
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
        read_cameras(path, "world2cam", FOCAL)


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


def converted(folder, entries: list, *more: object):
    """Run convert on a folder `in` with these cameras; return what it printed and made, or None."""
    cameras = write_json(folder / "cameras.json", entries)
    dest = folder / "data.zip"
    result = run("convert", "--source", folder / "in", "--cameras", cameras, "--dest", dest, "--workers", 1, *more)
    assert result.exit_code == (0 if dest.exists() else 2), result.output
    return result.output, ClipDataset(dest) if dest.exists() else None


def stills(folder, *files: str) -> None:
    """Write pictures, one grey level each."""
    for number, file in enumerate(files):
        path = folder / "in" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(np.full([3, 16, 16], 10 * number, np.uint8)))


def test_mirrored_copies_are_no_frames(tmp_path):
    """EG3D's sets have them beside the pictures, with cameras; a picture that is only called so is one."""
    files = ("a/0.png", "a/0_mirror.png", "a/1.png", "a/1_mirror.png", "b/hall_mirror.png")
    stills(tmp_path, *files)
    printed, dataset = converted(tmp_path, [[file, LABELS[place].tolist()] for place, file in enumerate(files)])
    assert "mirrored copies of pictures, which training makes itself (2): a/0_mirror.png, a/1_mirror.png" in printed
    assert [clip.name for clip in dataset.clips] == ["a", "b"]
    np.testing.assert_allclose(dataset.clips[0].cameras, LABELS[[0, 2]], atol=1e-6)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("a/0.png", "a/0.jpg"), "a/0.jpg and a/0.png"),
        (("a.mp4", "a.mkv"), "a.mkv and a.mp4"),
    ],
)
def test_two_files_of_one_name_are_refused(files, said, tmp_path):
    stills(tmp_path, *files)
    printed, dataset = converted(tmp_path, [["a/0", LABELS[0].tolist()]], "--skip-broken")
    assert said in printed and dataset is None


def test_the_source_itself_may_be_the_clip(tmp_path, monkeypatch):
    stills(tmp_path, "0.png", "1.png")
    cameras = write_json(tmp_path / "cameras.json", [[f"{place}", LABELS[place].tolist()] for place in range(3)])
    monkeypatch.chdir(tmp_path / "in")
    printed = done("convert", "--source", ".", "--cameras", cameras, "--dest", tmp_path / "data.zip", "--workers", 1)
    assert "cameras of nothing that is there (1): 2." in printed
    assert [clip.name for clip in ClipDataset(tmp_path / "data.zip").clips] == ["in"]


def test_a_video_with_a_gap_in_its_cameras_may_be_left_out(tmp_path):
    aligned(tmp_path / "in")
    entries = [[f"clip/{number}", LABELS[0].tolist()] for number in (0, 1, 3, 4)]
    entries += [[f"stills/{name}", LABELS[0].tolist()] for name in "abc"]
    printed, dataset = converted(tmp_path, entries)
    assert "no camera of frame 2" in printed and dataset is None
    printed, dataset = converted(tmp_path, entries, "--skip-broken")
    assert "videos of some of whose frames there is no camera (1): clip.mp4" in printed
    assert [clip.name for clip in dataset.clips] == ["stills"]


def test_cameras_of_another_convention_are_noticed(tmp_path):
    files = [f"a/{number:02d}.png" for number in range(8)]
    stills(tmp_path, *files)
    labels = frontal_label(torch.linspace(-0.4, 0.4, 8)).double().numpy()
    opengl = [label.copy() for label in labels]
    for label in opengl:
        label[:16].reshape(4, 4)[:, 1:3] *= -1
    printed, _ = converted(tmp_path, [[file, label.tolist()] for file, label in zip(files, opengl, strict=True)])
    assert "8 of 8 cameras" in printed and "OpenGL camera axes" in printed


def test_files_larger_than_other_json_are_read(tmp_path):
    """An index of 140,000 pictures, as those of EG3D, has about 70 MB."""
    row = (LABELS[0] / 3).tolist()
    row[:16] = LABELS[0][:16].tolist()
    entries = [[f"{number:08d}.png", row] for number in range(22_000)]
    path = write_json(tmp_path / "cameras.json", {"labels": entries})
    assert path.stat().st_size > MAX_JSON_BYTES
    assert len(read_cameras(path, "world2cam", FOCAL)) == len(entries)


@pytest.mark.parametrize(
    "text", ["", "name", "x" * 10, "name,a\n" + 200_000 * "y" + ",1", "name,a\nb,c", "name,a\nb,1"]
)
def test_files_that_are_no_cameras_get_a_sentence(text, tmp_path):
    path = tmp_path / "cameras.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(str(path))):
        read_cameras(path, "world2cam", FOCAL)
