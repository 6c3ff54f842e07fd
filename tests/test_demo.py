"""demo.py: a page with videos and curves, made with a tiny model; and the model that ships."""

import json
import re

import pytest
import torch
from click.testing import CliRunner

import dataset_tool
import demo
import gen_videos
import train
from dnnlib.errors import UserError
from dnnlib.files import file_checksum
from dnnlib.options import flags_of, override
from dnnlib.page import Page
from training.cameras import orbit_labels
from training.checkpoints.opener import load_generator, open_snapshot
from training.checkpoints.snapshots import build_networks, init_networks, save_snapshot
from training.config import Config, preset

SIZES = {
    "generator.img_resolution": 32,
    "generator.plane_resolution": 16,
    "generator.motion_blocks": 2,
    "generator.channel_base": 128,
    "generator.channel_max": 8,
    "discriminator.channel_base": 128,
    "discriminator.channel_max": 8,
    "generator.rendering.depth_samples": 4,
    "generator.rendering.importance_samples": 4,
    "generator.rendering.resolution": 8,
    "training.batch": 2,
}
COMMANDS = {"train.py": train.main, "gen_videos.py": gen_videos.main, "dataset_tool.py": dataset_tool.main}
FEW_FRAMES = ["--frames=2", "--neural-rendering-resolution=16"]
COARSE = ["--shape-resolution=8", "--shape-level=0"]
MAX_MODEL_BYTES = 8 * 10**6


def tiny_flags() -> list[str]:
    """Return SIZES as flags of train.py."""
    flags = flags_of(Config)
    return ["--workers=0", *(f"{flags[key]}={value}" for key, value in SIZES.items())]


def in_process(arguments: list[str]) -> None:
    """Run one of the demo's commands with few frames and a tiny model: the last one of equal options counts."""
    script, *given = arguments
    if script == "train.py":
        given += tiny_flags()
    if script == "gen_videos.py":
        given += FEW_FRAMES + (COARSE if "--shape-resolution" in given else [])
    result = CliRunner().invoke(COMMANDS[script], given)
    assert result.exit_code == 0, (arguments, result.output)


@pytest.fixture
def tiny_demo(monkeypatch, tmp_path) -> None:
    """The demo with a tiny untrained model, its commands run in this process."""
    options = override(preset("demo"), SIZES)
    networks = build_networks(options, 0, torch.device("cpu"))
    save_snapshot(tmp_path / "tiny.pkl", options, networks, orbit_labels(16)[None], {"kimg": 1.0})
    monkeypatch.setattr(demo, "MODEL", tmp_path / "tiny.pkl")
    monkeypatch.setattr(demo, "run_command", in_process)


def test_the_demo_writes_one_page_with_everything(tiny_demo, tmp_path, one_thread):
    outdir = tmp_path / "out"
    (outdir / "runs" / "tried").mkdir(parents=True)  # what others keep there is no run
    result = CliRunner().invoke(demo.main, [f"--outdir={outdir}", "--kimg=0.006", "--clips=2"])
    assert result.exit_code == 0, (result.output, result.exc_info)
    assert f"Open {outdir / 'index.html'}" in result.stdout
    assert sorted(path.name for path in outdir.iterdir()) == ["before", "heads-2.zip", "index.html", "runs"]
    text = (outdir / "index.html").read_text(encoding="utf-8")
    assert text.count("<video ") == 6 and text.count("data:video/mp4;base64,") == 6
    assert text.count("<svg ") == 2 and text.count("<polyline ") == 6
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "python train.py --outdir" in text


def test_scores_stand_on_the_page_beside_those_of_true_frames(monkeypatch, tmp_path):
    lines = [
        {"metric": "depth256", "value": 0.87654, "standard_error": 0.0123, "details": {"floor": 0.974, "relief": 1}},
        {"metric": "motion-share64", "value": 0.5, "standard_error": None, "details": {"procedural": 0.746}},
        {"metric": "cd200", "value": 1.2, "standard_error": 0.04, "details": {"reference": 3}},
    ]
    other = {"metric": "we200", "value": 1.0, "standard_error": None, "details": {}}
    for line in lines:
        line["source"] = {"snapshot": f"{file_checksum(demo.MODEL)} torch.float32"}
    lines.append({**other, "source": {"snapshot": f"{'0' * 64} torch.float32"}})
    scores = tmp_path / "x.scores.jsonl"
    page = Page("x")
    monkeypatch.setattr(demo, "SCORES", scores)
    demo.show_scores(page)
    assert page.parts == []
    scores.write_text("\n".join(map(json.dumps, lines)) + "\n")
    demo.show_scores(page)
    cells = re.findall(r"<td>(.*?)</td>", page.parts[-1])
    expected = [
        "depth256",
        "0.877 \u00b1 0.01",
        "0.974",
        "motion-share64",
        "0.5",
        "0.746",
        "cd200",
        "1.2 \u00b1 0.04",
        "",
    ]
    assert cells == expected


def test_the_scores_that_are_shipped_are_of_the_model_that_is():
    checksum = file_checksum(demo.MODEL)
    lines = [json.loads(line) for line in demo.SCORES.read_text(encoding="utf-8").splitlines()]
    assert lines and all(line["source"]["snapshot"].split()[0] == checksum for line in lines)


def test_data_are_made_once(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(demo, "run_command", calls.append)
    path = demo.make_data(tmp_path, 7)
    expected = f"dataset_tool.py synth --dest {path} --clips 7 --frames 16 --resolution 64"
    assert calls == [expected.split()]
    path.write_text("")
    assert demo.make_data(tmp_path, 7) == path and len(calls) == 1


def test_videos_of_an_earlier_demo_give_way(monkeypatch, tmp_path):
    for name in ("grid.mp4", "grid.json"):
        (tmp_path / name).write_text("of another model")
    monkeypatch.setattr(demo, "run_command", lambda _: None)
    assert demo.grid_video(tmp_path, seeds="0") == tmp_path / "grid.mp4"
    assert list(tmp_path.iterdir()) == []


def test_the_demo_needs_its_model(monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "MODEL", tmp_path / "absent.pkl")
    result = CliRunner().invoke(demo.main, [f"--outdir={tmp_path / 'out'}"])
    assert result.exit_code == 2 and not (tmp_path / "out").exists()
    assert result.stderr == f"Error: The demo's model {demo.MODEL} does not exist: check the path.\n"


def test_commands_run_in_the_checkout_and_their_failure_ends_the_demo(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    (tmp_path / "tool.py").write_text("import sys; print(sys.argv[1:]); sys.exit(int(sys.argv[1]))")
    demo.run_command(["tool.py", "0", str(tmp_path / "a b")])
    said = capfd.readouterr().out
    assert "$ python tool.py 0 'a b'" in said and f"['0', '{tmp_path / 'a b'}']" in said
    with pytest.raises(UserError, match="tool.py stopped with status 3"):
        demo.run_command(["tool.py", "3"])


def test_commands_are_shown_as_they_are_called(monkeypatch):
    words = ["gen_videos.py", "--network", f"{demo.ROOT}/models/heads.pkl", "--outdir", "/a b"]
    assert demo.as_typed(words) == "python gen_videos.py --network models/heads.pkl --outdir '/a b'"
    monkeypatch.setattr(demo, "IS_CHECKOUT", False)
    assert demo.as_typed(words) == f"pv3d videos --network {demo.ROOT}/models/heads.pkl --outdir '/a b'"


def test_statistics_become_lines():
    rows = [{"kimg": 1, "loss/g": 2.0}, {"kimg": 2, "loss/g": None}, {"kimg": 3}]
    assert demo.lines(rows, "loss/g") == {"g": [2.0, None, None]}


def test_the_model_that_ships_is_small_and_can_be_trained_on():
    assert demo.MODEL.stat().st_size <= MAX_MODEL_BYTES
    snapshot = load_generator(demo.MODEL)
    assert len(snapshot.camera_bank) > 0 and snapshot.progress["kimg"] > 0
    assert init_networks(build_networks(preset("demo"), 0, torch.device("cpu")), open_snapshot(demo.MODEL)) > 0
