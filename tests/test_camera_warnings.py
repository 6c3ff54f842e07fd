"""Cameras that do not see the head are found by every command that is given some: named, with the cure."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import gen_videos
from dnnlib.video import write_video
from metrics.options import EvaluationSubject
from pv3d.actions import metrics
from tests.helpers import dataset_command, train_command
from tests.helpers.camera_sets import OPENGL, written
from training.cameras import orbit_labels
from training.checkpoints.opener import load_generator

LIKELY = "likely OpenGL camera axes (y up, z backward): negate columns 2 and 3 of each 4 x 4 matrix"
OPENGL_ORBIT = written(orbit_labels(16).numpy(), axes=OPENGL)


@pytest.fixture(scope="module")
def opengl_heads(heads, tmp_path_factory) -> Path:
    """The dataset of three heads with OpenGL axes."""
    folder = tmp_path_factory.mktemp("opengl") / "heads"
    shutil.copytree(heads, folder)
    index = json.loads((folder / "dataset.json").read_text())
    labels = written(np.array([label for _, label in index["labels"]]), axes=OPENGL)
    index["labels"] = [[name, label] for (name, _), label in zip(index["labels"], labels.tolist(), strict=True)]
    (folder / "dataset.json").write_text(json.dumps(index))
    return folder


def warnings(said: str) -> list[str]:
    return [line for line in said.splitlines() if "Warning" in line]


def test_check_errs(opengl_heads):
    result = dataset_command.run("check", opengl_heads, "--workers", 1)
    assert result.exit_code == 1
    assert [line for line in result.output.splitlines() if line.startswith("broken")] == [
        "broken: 00000/00000.png: the head is behind the camera (48 cameras have this fault)",
        "broken: 00000/00000.png: the picture's up is not the world's (+y) (48 cameras have this fault)",
        f"broken: cameras: as a set they are {LIKELY}",
    ]


@pytest.mark.parametrize("labels, expected", [(orbit_labels(16).numpy(), 0), (OPENGL_ORBIT, 1)])
def test_convert_warns(tmp_path, labels, expected):
    source = tmp_path / "source"
    write_video(source / "recrop_faces" / "anna.mp4", np.zeros([16, 32, 32, 3], np.uint8), 25)
    (source / "smoothed_camera2world").mkdir()
    cameras = [[f"{index:05d}.png", label] for index, label in enumerate(labels.tolist())]
    (source / "smoothed_camera2world" / "anna.json").write_text(json.dumps(cameras))
    dest = tmp_path / "made.zip"
    result = dataset_command.run("convert", "--source", source, "--dest", dest, "--workers", 1)
    assert result.exit_code == 0 and dest.exists()
    said = warnings(result.stderr)
    assert len(said) == expected
    if said:
        assert (
            said[0].startswith(f"Warning: 16 of 16 cameras of {dest} look wrong, the head is behind")
            and LIKELY in said[0]
        )


def test_train_warns(heads, opengl_heads, tmp_path):
    result = train_command.run(tmp_path / "runs", opengl_heads, "--dry-run")
    (said,) = warnings(result.stderr)
    assert (
        result.exit_code == 0 and f"Warning: 48 of 48 cameras of {opengl_heads} look wrong" in said and LIKELY in said
    )
    assert not warnings(train_command.run(tmp_path / "runs", heads, "--dry-run").output)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("labels, expected", [(orbit_labels(16).numpy(), 0), (OPENGL_ORBIT, 1)])
def test_gen_videos_warns_of_a_file(snapshot, tmp_path, labels, expected):
    path = tmp_path / "path.json"
    path.write_text(json.dumps(labels.tolist()))
    options = [f"--network={snapshot}", f"--outdir={tmp_path}", "--seeds=0-1", "--device=cpu", f"--cameras={path}"]
    result = CliRunner().invoke(gen_videos.main, options)
    assert result.exit_code == 0 and (tmp_path / "seed0001.mp4").exists()
    said = warnings(result.stderr)
    assert len(said) == expected, "once for all videos"
    if said:
        assert f"16 of 16 cameras of {path} look wrong" in said[0] and LIKELY in said[0]


def test_calc_metrics_warns_if_generated_videos_get_the_cameras(snapshot, heads, opengl_heads, capsys):
    subject = EvaluationSubject(snapshot=load_generator(snapshot))
    metrics.open_dataset(opengl_heads, subject)
    (said,) = warnings(capsys.readouterr().err)
    assert "48 of 48 cameras of" in said and LIKELY in said
    metrics.open_dataset(heads, subject)
    metrics.open_dataset(opengl_heads, EvaluationSubject(video_folder=heads))
    assert not warnings(capsys.readouterr().err)
