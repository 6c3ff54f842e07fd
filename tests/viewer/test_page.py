"""The page in a browser: what it shows is what pv3d makes, and its controls do what they say."""

import base64
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

import pv3d
from dnnlib.video import read_frames
from tests.helpers import tiny
from tests.helpers.browser import Browser, browser_path, opened, waited
from tests.helpers.viewing import GATE, TOKEN, VIDEO_JSON, Asker, latents_file, viewer
from training.checkpoints.snapshots import save_snapshot
from viewer.drawing import Pace
from viewer.joined_page import Page

BROWSER = browser_path()
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no browser is installed")
SETTLED = (
    "panels.length > 0 && panels.every(panel => panel.isFinal && !panel.isDirty && !panel.underWay) && !isMoving()"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    assert BROWSER is not None
    with opened(BROWSER, tmp_path_factory.mktemp("browser")) as found:
        found.look(1200, 800)
        yield found


@pytest.fixture(scope="module")
def served(snapshot, tmp_path_factory) -> Iterator[tuple[Asker, Path]]:
    """A viewer of a snapshot that a test may replace, and its path."""
    path = tmp_path_factory.mktemp("served") / "network-snapshot-000001.000.pkl"
    shutil.copy(snapshot, path)
    with viewer(path) as asker:
        yield asker, path


@pytest.fixture
def page(browser, served) -> Browser:
    """The page, newly opened, that shows its first picture."""
    asker, _ = served
    browser.complaints.clear()
    browser.open(f"http://127.0.0.1:{asker.server.port}/?token={TOKEN}")
    browser.wait(f"typeof panels !== 'undefined' && {SETTLED}")
    return browser


def pixels(page: Browser) -> np.ndarray:
    """The first picture, uint8 [H, W, 3]."""
    page.wait(SETTLED)
    data = page.run("document.querySelector('canvas').toDataURL('image/png')")
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB"))


def expected(model: pv3d.Model, *, seed: int = 0, motion: int = 0, t: float = 0.0, camera=None) -> np.ndarray:
    """What pv3d makes of it."""
    camera = pv3d.frontal() if camera is None else camera
    video = model.video(model.w(model.appearance(seed)), model.motion(motion), cameras=camera, t=t, frames=1)
    return video.pictures("rgb")[0].permute(1, 2, 0).numpy()


# --- The page as a file -----------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_from_anywhere():
    page = Page()
    assert "/* STYLE */" not in page.html and "/* SCRIPT */" not in page.html
    assert not re.search(r"https?://|url\(|@import|<script src|<link rel=\"stylesheet", page.html)
    assert " style=" not in page.html and not re.search(r"<[^>]+ on\w+=", page.html), "the policy forbids them"
    assert len(page.content()) < 100_000


def test_every_control_has_a_name():
    html = Page().html.partition("<script>")[0]
    labelled = set(re.findall(r'<label[^>]* for="([^"]+)"', html))
    for tag in re.findall(r"<(?:input|select|progress)\b[^>]*>", html):
        found = re.search(r'id="([^"]+)"', tag)
        is_inside = re.search(rf"<label[^>]*>(?:(?!</label>).)*{re.escape(tag)}", html)
        assert "aria-label=" in tag or is_inside or (found and found[1] in labelled), tag
    used = set(re.findall(r'element\("([\w-]+)"\)', Page().html))
    assert used and used <= set(re.findall(r'id="([^"]+)"', html)), "scripts name what is there"


# --- In a browser -----------------------------------------------------------------------------------------------------


@needs_browser
def test_the_page_opens_with_the_picture_of_pv3d(page, model):
    assert np.array_equal(pixels(page), expected(model))
    assert page.run("document.getElementById('status').textContent") == "Ready."
    assert page.complaints == []


@needs_browser
def test_a_drag_is_the_camera_of_pv3d(page, model):
    side = page.run("document.querySelector('canvas').clientWidth")
    page.drag("canvas", -side / 3, side / 9)
    seen = pixels(page)
    assert np.array_equal(seen, expected(model, camera=pv3d.frontal(30, -10)))
    assert page.run("document.getElementById('camera-shown').textContent") == "Yaw 30°, pitch −10°, zoom 1.00"
    label = page.run("panels[0].about.camera")
    assert torch.allclose(torch.tensor(label), pv3d.frontal(30, -10), atol=1e-6)


@needs_browser
def test_what_moves_is_a_preview_and_what_is_still_is_not(page, served, model):
    asker, _ = served
    artist = asker.server.service.panels[0].artist
    artist.paces[("rgb",)] = Pace(full=9.0, a_ray=1e-9)
    page.run(
        "window.seen = []; window.real = Panel.prototype.draw; Panel.prototype.draw = function (blob, about) {"
        "seen.push(this.quality.textContent, about.rays); return real.call(this, blob, about); }; 0"
    )
    side = page.run("document.querySelector('canvas').clientWidth")
    page.drag("canvas", -side / 3, side / 9)
    assert np.array_equal(pixels(page), expected(model, camera=pv3d.frontal(30, -10)))
    seen = page.run("seen")
    assert seen[1] == 8 and "Preview of 8 × 8 rays" in seen and seen[-1] is None
    assert page.run("panels[0].quality.textContent") == "32 × 32"


@needs_browser
def test_keys_and_wheel_turn_and_zoom(page, model):
    page.run("document.querySelector('canvas').focus()")
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        page.press(key)
    assert np.array_equal(pixels(page), expected(model, camera=pv3d.frontal(6, -3)))
    page.run(
        "document.querySelector('canvas').dispatchEvent(new WheelEvent('wheel', {deltaY: -100, cancelable: true}))"
    )
    label = pv3d.frontal(6, -3)
    label[[16, 20]] *= page.run("Math.exp(0.15)")
    seen = pixels(page)
    assert np.abs(seen.astype(int) - expected(model, camera=label)).max() <= 1
    page.press("Home")
    assert np.array_equal(pixels(page), expected(model))


@needs_browser
def test_seeds_time_and_layers(page, model):
    page.fill("#seed", 5)
    page.fill("#motion", 9)
    page.fill("#time", 0.5)
    assert np.array_equal(pixels(page), expected(model, seed=5, motion=9, t=0.5))
    for layer in ("normals", "rgb"):
        page.click(f"#layers input[value={layer}]")
    page.wait(f"{SETTLED} && document.querySelectorAll('canvas').length === 1")
    video = model.video(model.w(model.appearance(5)), model.motion(9), t=0.5, frames=1)
    assert np.array_equal(pixels(page), video.pictures("normals")[0].permute(1, 2, 0).numpy())
    page.fill("#seed", "")
    page.fill("#seed", "-3")
    assert page.run("view.seed") == 5, "what is no seed changes nothing"


@needs_browser
def test_time_plays_and_stops(page, model):
    page.click("#play")
    page.wait("panels[0].shown > 8")
    page.wait("view.share > 0.2 && view.share < 0.9")
    page.click("#play")
    share = page.run("view.share")
    seen = pixels(page)
    assert page.run("view.share") == share and np.array_equal(seen, expected(model, t=share))
    assert not np.array_equal(seen, expected(model, t=0.0))


@needs_browser
def test_playing_goes_back_and_forth_or_round(page):
    def shares(is_swinging):
        return page.run(f"[0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2].map(s => playedShare(2 * s, 2, {is_swinging}))")

    assert shares("true") == pytest.approx([0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0], abs=0.02)
    assert shares("false") == pytest.approx([0, 0.25, 0.5, 0.75, 0, 0.25, 0.5, 0], abs=0.02)


@needs_browser
def test_a_path_is_recorded_saved_opened_and_followed(page, model, tmp_path):
    page.click("#key")
    page.run("turn(20, 5)")
    page.click("#key")
    page.click("#path-save")
    file = page.downloaded("cameras.json")
    labels = torch.stack([pv3d.frontal(), pv3d.frontal(20, 5)])
    assert torch.equal(pv3d.read_cameras(file), labels)
    opened_path = tmp_path / "cameras.json"
    shutil.move(file, opened_path)
    page.click("#path-clear")
    page.choose("#path-file", opened_path)
    page.wait("path.length === 2")
    page.click("#follow")
    page.wait("view.followed && view.followed.length === 240")
    page.fill("#time", 1)
    assert np.array_equal(pixels(page), expected(model, t=1.0, camera=labels[1]))
    page.click("#record")
    page.wait("path.length > 2 && path.length < 500")
    page.click("#record")
    assert page.run("recorder") == 0


@needs_browser
def test_a_picture_and_a_video_are_saved(page, model):
    page.fill("#frames", 4)
    page.click("#snapshot")
    file = page.downloaded("seed0000-motion0000.png")
    assert np.array_equal(np.asarray(PIL.Image.open(file).convert("RGB")), expected(model))
    page.click("#export")
    video = page.downloaded("seed0000-motion0000.mp4")
    page.wait("document.getElementById('export-progress').hidden")
    assert page.run("[...document.getElementById('size').options].map(one => one.text)") == ["32", "64", "128", "256"]
    frames = np.stack(list(read_frames(video))).astype(float)
    wanted = model.video(model.w(model.appearance(0)), model.motion(0), cameras=pv3d.frontal(), frames=4)
    assert len(frames) == 4 and np.abs(frames - wanted.pictures("rgb", scale=8).permute(0, 2, 3, 1).numpy()).mean() < 6


@needs_browser
def test_files_are_named_by_what_was_asked_for(page):
    page.fill("#frames", 2)
    page.fill("#seed", 5)
    page.run("element('snapshot').click(), view.seed = 6, 0")
    assert page.downloaded("seed000[56]*.png").name == "seed0005-motion0000.png"
    page.fill("#blend", 0.5)
    page.run("element('export').click(), view.seed = 7, view.motion = 8, 0")
    assert page.downloaded("seed000[67]*.mp4").name == "seed0006+seed0001-motion0000.mp4"


@needs_browser
def test_a_picture_to_save_is_not_replaced_by_a_newer_one(page):
    page.run("element('snapshot').click(), view.seed = 6, changed(), settled(), element('snapshot').click(), 0")
    for seed in (0, 6):
        assert page.downloaded(f"seed{seed:04d}*.png").name == f"seed{seed:04d}-motion0000.png"


@needs_browser
def test_a_video_of_another_page_is_shown_stopped_and_never_taken_for_ones_own(page, served):
    asker, _ = served
    said = "document.getElementById('status').textContent"
    asker.ask("/api/export", {**VIDEO_JSON, "frames": 3000})
    page.wait(f"{said}.startsWith('Another page makes a video')")
    assert page.run("element('export').disabled && !element('export-stop').hidden")
    page.click("#export-stop")
    page.wait(f"{said} === 'Ready.' && !element('export').disabled && element('export-stop').hidden")
    waited(lambda: asker.state()["export"] is None, "the video to be gone, which is stopped already")
    page.fill("#frames", 3000)
    page.fill("#seed", 9)
    page.click("#export")
    page.wait(f"{said}.startsWith('Making a video')")
    page.run(GATE)
    page.wait("gate.waiting === 2")  # both that look at the state: neither sees it between the next two requests
    asker.ask("/api/export/stop", b"")
    assert asker.ask("/api/export", VIDEO_JSON).status == 200
    page.run("gate.open(), 0")
    page.wait(f"{said} === LOST_VIDEO")
    assert not list(page.downloads.glob("seed0009*"))
    asker.ask("/api/export/stop", b"")


@needs_browser
def test_latents_are_opened(page, model, tmp_path):
    path, own = latents_file(tmp_path, model)
    page.choose("#latents-file", path)
    page.wait("view.latents && view.followed")
    video = model.video(pv3d.W(ws=own.ws), own.z_motion[0], cameras=own.cameras[0], t=0.0, frames=1)
    assert np.array_equal(pixels(page), video.pictures("rgb")[0].permute(1, 2, 0).numpy())
    bad = tmp_path / "bad.pt"
    bad.write_bytes(b"cposix\nsystem\n")
    page.choose("#latents-file", bad)
    page.wait("document.getElementById('status').className === 'bad'")
    assert "bad.pt" in page.run("document.getElementById('status').textContent")
    page.click("#latents-clear")
    assert page.run("document.getElementById('status').textContent") == "Ready."
    page.click("#front")
    assert np.array_equal(pixels(page), expected(model))


@needs_browser
def test_what_is_wrong_is_said_in_one_sentence(browser, snapshot, tmp_path):
    broken = tmp_path / "network-snapshot-000002.000.pkl"
    broken.write_bytes(snapshot.read_bytes()[:5000])
    with viewer(snapshot, broken, tmp_path / "absent") as asker:
        browser.open(f"http://127.0.0.1:{asker.server.port}/?token={TOKEN}")
        browser.wait("panels.length === 3 && panels[0].isFinal && panels[1].problem.textContent")
        said = browser.run("panels.map(panel => panel.problem.textContent)")
        assert said[0] == "" and "damaged" in said[1] and "is not there" in said[2]
        assert browser.run("document.getElementById('status').textContent") == "Ready."
    browser.wait("document.getElementById('status').textContent === LOST")
    browser.complaints.clear()


@needs_browser
def test_a_wrong_token_is_refused(browser, served):
    asker, _ = served
    browser.open(f"http://127.0.0.1:{asker.server.port}/?token=wrong")
    assert "lacks the token" in browser.run("document.body.textContent")
    assert browser.run("typeof panels") == "undefined"


@needs_browser
def test_a_replaced_snapshot_is_picked_up(page, served, model, tmp_path):
    _, path = served
    before = pixels(page)
    options = tiny.config()
    other = tmp_path / "other.pkl"
    save_snapshot(other, options, tiny.networks(options, noise=0.7), tiny.labels(0, 1, 2), {"kimg": 1.0})
    keep = tmp_path / "keep.pkl"
    shutil.copy(path, keep)
    os.replace(other, path)
    page.wait("panels[0].version === 2")
    after = pixels(page)
    assert not np.array_equal(before, after)
    assert np.array_equal(after, expected(pv3d.load(path, device="cpu")))
    path.write_bytes(b"half of a snapshot")
    page.wait("document.getElementById('status').className === 'bad'")
    assert "network-snapshot" in page.run("document.getElementById('status').textContent")
    assert np.array_equal(pixels(page), after), "the model before stays"
    os.replace(keep, path)
    page.wait("panels[0].version === 3 && document.getElementById('status').textContent === 'Ready.'")
    assert np.array_equal(pixels(page), before)


@needs_browser
@pytest.mark.parametrize("width, height", [(360, 640), (760, 900), (1000, 600), (1900, 1000)])
def test_nothing_is_wider_than_the_window(width, height, page, browser):
    browser.look(width, height)
    for layers in (["rgb"], ["rgb", "depth", "normals"]):
        page.run(f"view.layers = {json.dumps(layers)}; arrange(); changed()")
        page.wait(f"{SETTLED} && document.querySelectorAll('canvas').length === {len(layers)}")
        assert page.run("document.documentElement.scrollWidth") <= width
        over = page.run(
            "[...document.querySelectorAll('#controls *')].filter(one => one.offsetParent && "
            "one.getBoundingClientRect().right > document.getElementById('controls').getBoundingClientRect().right)"
            ".map(one => one.id || one.outerHTML)"
        )
        assert over == []
        inside = page.run("[...document.querySelectorAll('canvas')].map(one => one.getBoundingClientRect().right)")
        assert max(inside) <= width
    browser.look(1200, 800)
