"""The page shows what the report says, escapes what files are called, and opens in a browser without errors."""

import shutil
import subprocess

import numpy as np
import pytest

from preprocessing.head_model import head_model
from preprocessing.head_pose import FRONTAL
from preprocessing.pictures import TILE_SIDE, contact_sheet, crop_sheet
from preprocessing.report import ClipReport, Report, SourceReport, StageReport
from preprocessing.report_page import MOST_SHOWN, write_page
from training.cameras import FOCAL, RADIUS
from training.data.frames import decode_frame

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


def clip(name: str, fault: str | None = None, frames: int = 30) -> ClipReport:
    yaw = tuple((20 * np.sin(np.arange(frames) / 5)).round(2).tolist())
    return ClipReport(
        name=name,
        source="video",
        first=7,
        frames=frames,
        fps=25.0,
        fault=fault,
        identity="somebody",
        bridged=(3,),
        noisy=(4, 6),
        yaw=yaw,
        pitch=yaw,
        roll=yaw,
        residual=0.004,
        flip_error=0.6,
    )


def report(*clips: ClipReport) -> Report:
    return Report(
        source="/videos/<b>&",
        dest="talks.zip",
        options={"finding": {"landmarks": "dlib"}},
        licences=("A model: a licence.",),
        stages=(StageReport(stage="scan", frames=100, seconds=4.0),),
        sources=(
            SourceReport(name="video", path="video.mp4", frames=100, faces=1, notes=("It breaks off.",)),
            SourceReport(name="bad", path="bad.mp4", failed="Cannot read the video bad.mp4."),
        ),
        clips=clips,
    )


def sheet(tiles: int = 2) -> bytes:
    grey = np.full([256, 256, 3], 128, dtype=np.uint8)
    points = np.random.default_rng(0).uniform(40, 200, size=[tiles, 68, 2])
    return contact_sheet([grey] * tiles, points, points + 1)


def test_the_page_has_clips_reasons_and_escaped_names(tmp_path):
    path = tmp_path / "page.html"
    clips = [
        clip("<script>alert(1)</script>"),
        clip("b", "too short: 3 frames (--min-frames=32)"),
        clip("c", "too short: 4"),
    ]
    write_page(path, report(*clips), lambda _: [(sheet(), "Landmarks")])
    text = path.read_text(encoding="utf-8")
    assert "1 of 3 clips were taken" in text
    assert "<td>too short</td><td>2</td>" in text
    assert "<script>" not in text and "&lt;script&gt;" in text
    assert "Cannot read the video bad.mp4." in text and "It breaks off." in text
    assert "25.0" in text  # frames a second of the scan
    assert "http" not in text.replace("http://www.w3.org", "")  # nothing is fetched


def test_thousands_of_clips_are_listed_and_the_first_ones_shown(tmp_path):
    path = tmp_path / "page.html"
    write_page(path, report(*(clip(f"clip{number}", frames=2) for number in range(MOST_SHOWN + 5))), lambda _: [])
    text = path.read_text(encoding="utf-8")
    assert text.count("<details") == MOST_SHOWN
    assert f"clip{MOST_SHOWN + 4}" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (apt-get install chromium)")
def test_the_page_opens_in_a_browser_without_errors(tmp_path):
    path = tmp_path / "page.html"
    write_page(path, report(clip("a"), clip("b", "blurred: 1")), lambda _: [(sheet(), "Landmarks")])
    shot = tmp_path / "page.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=1100,900"]
    command = [CHROMIUM, *options, f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}", path.as_uri()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0 and "CONSOLE" not in ended.stderr, ended.stderr
    pixels = decode_frame(shot.read_bytes())
    assert pixels.std() > 10  # something is on it


def test_the_mesh_lies_where_the_camera_sees_the_face():
    black = np.zeros([TILE_SIDE, TILE_SIDE, 3], dtype=np.uint8)
    shape = head_model("dlib").shape
    data = crop_sheet([black], shape, FRONTAL[None], np.array([[0, 0, RADIUS]]))
    drawn = decode_frame(data).max(axis=0) > 60
    rows, columns = np.nonzero(drawn)
    brow = (TILE_SIDE - 1) / 2 - FOCAL * TILE_SIDE * shape[17:27, 1].max() / (RADIUS - shape[19, 2])
    assert abs(columns.min() - (TILE_SIDE - 1) / 2 + FOCAL * TILE_SIDE * shape[26, 0] / (RADIUS - shape[26, 2])) < 4
    assert rows.min() <= brow + 4


def test_faces_that_were_not_found_have_no_dots():
    grey = np.full([TILE_SIDE, TILE_SIDE, 3], 128, dtype=np.uint8)
    missing = np.full([1, 68, 2], np.nan)
    picture = decode_frame(contact_sheet([grey], missing, missing))
    assert np.ptp(picture) < 3
