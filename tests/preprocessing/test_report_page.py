"""The page of a report: it names everything, escapes what it names, and stays light however many clips there are."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from dnnlib.options import to_dict
from preprocessing.head_model import head_model
from preprocessing.head_pose import FRONTAL
from preprocessing.options import STAGES, PreprocessOptions
from preprocessing.pictures import contact_sheet, crop_sheet
from preprocessing.report import ClipReport, Report, SourceReport, StageReport
from preprocessing.report_page import MOST_LEFT_OUT, MOST_OPEN, MOST_TAKEN, write_page
from training.cameras import FOCAL, RADIUS

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = "<script>alert('x')</script> & \"Zoë\""
SIDE = 96
FRAMES = 40


def clip(number: int, fault: str | None = None, **known: object) -> ClipReport:
    """Return a clip that turns from one side to the other."""
    turns = tuple(np.linspace(-20, 20, FRAMES).round(2).tolist())
    fitted = {"yaw": turns, "pitch": turns, "roll": turns, "residual": 0.008, "flip_error": 0.5} | known
    name = f"clip {number:05d}"
    return ClipReport(name=name, source="a", first=100, frames=FRAMES, fps=25.0, fault=fault, **fitted)


def report_of(*clips: ClipReport, sources: tuple[SourceReport, ...] = ()) -> Report:
    """Return the report of a run that found these clips."""
    return Report(
        source="videos",
        dest="data.zip",
        options=to_dict(PreprocessOptions()),
        licences=("A model: free.",),
        stages=tuple(StageReport(stage=stage, frames=100, seconds=10.0) for stage in STAGES),
        sources=sources,
        clips=clips,
    )


def sheets() -> list[tuple[bytes, str]]:
    """Return both pictures of a grey clip whose head is in front of the camera."""
    frames = [np.full([SIDE, SIDE, 3], 128, np.uint8)] * 2
    shape = head_model("dlib").shape
    rotations, translations = np.stack([FRONTAL] * 2), np.array([[0, 0, RADIUS]] * 2)
    seen = shape @ FRONTAL.T + [0, 0, RADIUS]
    pixels = np.stack([FOCAL * SIDE * seen[:, :2] / seen[:, 2:] + (SIDE - 1) / 2] * 2)
    pictures = (
        contact_sheet(frames, np.full_like(pixels, np.nan), pixels),
        crop_sheet(frames, shape, rotations, translations),
    )
    return list(zip(pictures, ("On the video", "The fitted head"), strict=True))


def page_of(folder: Path, report: Report, pictures: list[tuple[bytes, str]] | None = None) -> str:
    """Return the text of a report's page."""
    write_page(folder / "page.html", report, lambda _: pictures or [])
    return (folder / "page.html").read_text(encoding="utf-8")


def block(text: str, name: str) -> str:
    """Return the folded block of a name."""
    found = re.search(rf"<details[^>]*><summary>{re.escape(name)}.*?</details>", text)
    assert found is not None, name
    return found[0]


def test_a_page_says_what_became_of_everything(tmp_path):
    faults = [
        "blurred: sharpness 2.1 (--min-sharpness=4)",
        "blurred: sharpness 3.0 (--min-sharpness=4)",
        "cut off: 40%",
    ]
    failed = SourceReport(name="b", path="b.mp4", failed="b.mp4 is no video.")
    empty = SourceReport(name="wall", path="wall.mp4", frames=77)
    odd = SourceReport(name="c", path="c.mp4", frames=10, faces=1, notes=("Resampled.",))
    clips = [clip(0), clip(1), *(clip(2 + place, fault) for place, fault in enumerate(faults))]
    text = page_of(tmp_path, report_of(*clips, sources=(failed, empty, odd)), sheets())
    assert "2 of 5 clips were taken" in text and "A model: free." in text
    assert "http" not in text, "nothing is fetched from elsewhere"
    assert "<b>80</b><span>frames" in text and "<b>3.2</b><span>seconds" in text
    assert "<td>blurred</td><td>2</td><td>40%</td>" in text and "<td>cut off</td><td>1</td><td>20%</td>" in text
    assert "<td>scan</td><td>100</td><td>10.0</td><td>10.0</td>" in text
    assert "b.mp4 is no video." in block(text, "Could not be read")
    assert "<td>77</td>" in block(text, "Without a face") and "Resampled." in block(text, "Read with a remark")
    assert "<td>choosing.min_frames</td><td>32</td>" in block(text, "Options")
    shown = block(text, "clip 00001")
    assert shown.count("<img ") == 2 and shown.count("<polyline") == 3
    for words in ("frames 100 to 139", "1.60 s at 25 a second", "0.50°", "0.80% of the side", "-20.0° to 20.0°"):
        assert words in shown
    assert "sharpness 3.0" in block(text, "clip 00003")


@pytest.mark.parametrize(
    "known",
    [
        {"yaw": (), "pitch": (), "roll": (), "residual": None, "flip_error": None},
        {"residual": None},
        {"bridged": (1, 2), "noisy": tuple(range(FRAMES)), "identity": HOSTILE},
    ],
)
def test_a_clip_of_which_less_or_more_is_known(known, tmp_path):
    text = page_of(tmp_path, report_of(clip(0, **known), clip(1, fault="no face in it", **known)))
    assert "taken" in block(text, "clip 00000") and "no face in it" in block(text, "clip 00001")
    assert "nan" not in text.lower().replace("name", "")


def test_names_are_text_whatever_they_hold(tmp_path):
    one = ClipReport(name=HOSTILE, source=HOSTILE, first=0, frames=1, fps=25.0, fault=HOSTILE, identity=HOSTILE)
    failed = SourceReport(name=HOSTILE, path=HOSTILE, failed=HOSTILE)
    text = page_of(tmp_path, report_of(one, clip(1, identity=HOSTILE), sources=(failed,)), [(sheets()[0][0], HOSTILE)])
    assert "<script" not in text and '"Zoë"' not in text and "&lt;script&gt;" in text


def test_the_most_doubtful_clips_come_first_and_the_others_in_a_table(tmp_path):
    taken = [clip(number, flip_error=number / 100) for number in range(MOST_TAKEN + 5)]
    others = [clip(1000 + number, fault="too short: 9 frames") for number in range(MOST_LEFT_OUT + 7)]
    text = page_of(tmp_path, report_of(*taken, *others), sheets())
    assert text.count("<img ") == 2 * (MOST_TAKEN + MOST_LEFT_OUT)
    assert text.count("<details open>") == MOST_OPEN
    first = re.search(r"<details[^>]*><summary>(clip \d+)", text)
    assert first is not None and first[1] == taken[-1].name
    assert f"The first {MOST_TAKEN} of {len(taken)} clips are shown" in text
    assert f"The first {MOST_LEFT_OUT} of {len(others)} clips are shown" in text
    named = re.findall(r"<td>(clip \d+)</td>", text)
    assert sorted(named) == [one.name for one in [*taken[:5], *others[-7:]]]


def test_a_browser_opens_the_page_without_complaint(tmp_path):
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser is installed ({', '.join(BROWSERS)})")
    text = page_of(tmp_path, report_of(clip(0), clip(1, fault=HOSTILE)), sheets())
    assert complaints(browser, tmp_path / "page.html") == []
    (tmp_path / "bad.html").write_text(text.replace("</html>", "<script>nowhere()</script></html>"))
    assert complaints(browser, tmp_path / "bad.html"), "what a browser says of a mistake is seen"


def complaints(browser: str, page: Path) -> list[str]:
    """Return the lines of a browser's console when it opens a page."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent / 'browser'}"]
    command = [browser, *options, "--enable-logging=stderr", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "clips were taken" in done.stdout, done.stderr
    return [line for line in done.stderr.split("\n") if "CONSOLE" in line]
