"""docs/conventions.md, line by line: cameras, time, counting, and that every line of the page names existing tests."""

import ast
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers import tiny
from tests.helpers.views import ray, turned
from training import cameras, config
from training.camera_checks import views
from training.camera_checks.judgement import judge
from training.cameras import condition_cameras
from training.checkpoints.snapshots import build_networks
from training.data.dataset import ClipDataset
from training.data.frames import encode_png
from training.data.pairs import CameraSampler, draw_pair, training_batches
from training.data.streams import Stream
from training.data.writer import ClipRecord, write_dataset
from training.rendering.rays import camera_rays
from training.runs.folder import RunFolder, stamp
from training.runs.hooks import Hooks
from training.sampling import pictures
from training.sampling.clips import clip_spec, generate, latent_code
from training.sampling.options import SamplingOptions
from training.synthetic import render_clip
from training.training_loop import Trainer

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "conventions.md"
HOLDERS = [ROOT / "tests" / f"test_conventions{part}.py" for part in ("", "_of_pictures")]
PI = math.pi
WINDOW = config.TrainingConfig().window


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> ClipDataset:
    """Clips of 20, 16 and 1 frames of 16 pixels; red is the frame's number, the other colours are 200."""
    folder = tmp_path_factory.mktemp("conventions") / "clips"
    with write_dataset(folder) as writer:
        for index, length in enumerate((20, 16, 1)):
            frames = np.full([length, 3, 16, 16], 200, dtype=np.uint8)
            frames[:, 0] = np.arange(length)[:, None, None]
            files = [(f"{i:05d}.png", encode_png(frame)) for i, frame in enumerate(frames)]
            path = cameras.orbit_labels(length).numpy()
            writer.add(ClipRecord(name=f"{index:05d}", frames=files, cameras=path, fps=25.0))
    return ClipDataset(folder)


@pytest.fixture(scope="module")
def G():
    """A tiny generator."""
    return tiny.generator()


# --- Cameras ----------------------------------------------------------------------------------------------------------


def test_label_layout():
    pose, k = torch.arange(16.0).reshape(4, 4), torch.arange(16.0, 25.0).reshape(3, 3)
    label = cameras.make_label(pose, k)
    assert cameras.CAMERA_DIM == 25 and label.tolist() == list(range(25))
    assert all(torch.equal(a, b) for a, b in zip(cameras.split_label(label), (pose, k), strict=True))


def test_camera_axes():
    at_home = cameras.make_label(torch.eye(4))
    torch.testing.assert_close(ray(at_home, 4, 4), torch.tensor([0.0, 0.0, 1.0]))
    assert ray(at_home, 8, 4)[0] > 0 and ray(at_home, 8, 4)[1] == 0, "right in the picture is +x"
    assert ray(at_home, 4, 8)[1] > 0 and ray(at_home, 4, 8)[0] == 0, "down in the picture is +y"


def test_cam2world_direction():
    pose, _ = cameras.split_label(turned())
    origins, _ = camera_rays(turned()[None], 3)
    torch.testing.assert_close(origins[0], pose[:3, 3].expand(9, 3))
    ahead = pose @ torch.tensor([0.0, 0.0, 1.0, 1.0])
    torch.testing.assert_close(ahead[:3], pose[:3, 3] + ray(turned(), 4, 4))


def test_intrinsics_are_in_image_sizes():
    _, k = cameras.split_label(cameras.canonical_label())
    assert k.tolist() == cameras.intrinsics_matrix().tolist() and k[0, 2] == k[1, 2] == 0.5
    for side in (4, 64):
        left, right = (ray(cameras.make_label(torch.eye(4)), u, 0, side) for u in (0, side - 1))
        width = (right[0] / right[2] - left[0] / left[2]) * side / (side - 1)  # of whole pixels
        torch.testing.assert_close(width, torch.tensor(1 / 4.2647))


def test_world_axes():
    front = cameras.canonical_label()
    assert ray(front, 4, 0)[1] > 0, "up in the picture is +y"
    assert ray(front, 8, 4)[0] > 0, "right in the picture is +x"
    clip = render_clip(0, 32, 1)
    pose, _ = cameras.split_label(torch.from_numpy(clip.cameras[0]))
    assert pose[2, 3] > 0, "the camera that sees a face is on the +z side"
    depth = torch.from_numpy(clip.depth[0])[16, 16]
    assert 2 < depth < 2.7, "the face is before the origin"


def test_canonical_camera():
    expected = [1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 2.7, 0, 0, 0, 1, 4.2647, 0, 0.5, 0, 4.2647, 0.5, 0, 0, 1]
    torch.testing.assert_close(cameras.canonical_label(), torch.tensor(expected))


def test_cameras_stand_on_a_sphere():
    for label in [*cameras.orbit_labels(5), turned(), cameras.frontal_label()]:
        position = cameras.split_label(label)[0][:3, 3]
        torch.testing.assert_close(position.norm(), torch.tensor(2.7))
        ahead = torch.nn.functional.normalize(torch.tensor([0, 0, 0.2]) - position, dim=0)
        torch.testing.assert_close(ray(label, 4, 4), ahead)


def test_yaw():
    x, _, z = cameras.look_at_pose(PI / 2, PI / 2)[:3, 3]
    assert abs(x) < 1e-5 and z > 0
    x, _, z = cameras.look_at_pose(PI / 2 + 0.3, PI / 2)[:3, 3]
    assert math.atan2(x, z) == pytest.approx(0.3, abs=1e-5)


def test_pitch():
    for pitch in (0.8, PI / 2 - 0.05, PI / 2, 2.0):
        height = cameras.look_at_pose(PI / 2, pitch)[1, 3]
        assert height.item() == pytest.approx(2.7 * (1 - 2 * pitch / PI), abs=1e-5)
    assert cameras.FRONTAL_PITCH == PI / 2 - 0.05


def test_angles_are_offsets_from_the_frontal_camera():
    expected = cameras.make_label(cameras.look_at_pose(PI / 2 + 0.3, PI / 2 - 0.05 + 0.2))
    torch.testing.assert_close(turned(), expected)
    torch.testing.assert_close(cameras.orbit_labels(4, yaw_range=0.3, pitch_range=0)[1], cameras.frontal_label(0.3))


def test_mirroring():
    label, mirrored = turned(), cameras.mirror_label(turned())
    assert (label * mirrored < 0).nonzero().flatten().tolist() == [i for i in (1, 2, 3, 4, 8) if label[i] != 0]
    assert cameras.MIRROR_NEGATES == [1, 2, 3, 4, 8]
    there = torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(ray(mirrored, 1, 2), ray(label, 7, 2) * there)
    label[17:19] = torch.tensor([0.3, 0.7])
    assert cameras.mirror_label(label)[17:19].tolist() == pytest.approx([-0.3, 0.3])


def test_cameras_between_two():
    middle = cameras.resample_labels(torch.stack([cameras.frontal_label(-0.6), cameras.frontal_label(0.6)]), 3)[1]
    pose, _ = cameras.split_label(middle)
    torch.testing.assert_close(pose[:3, 3].norm(), torch.tensor(2.7))
    torch.testing.assert_close(middle, cameras.frontal_label(), atol=0.005, rtol=0)


def test_ranges_of_good_cameras():
    assert (
        views.HEAD.tolist() == [0, 0, 0.1]
        and views.radii(config.RenderingConfig()) == pytest.approx((2.6, 2.9))
        and views.FOCALS == (1.5, 8)
    )
    assert (views.MAX_ASPECT, views.MIDDLE) == (1.1, 0.15) and views.MIN_UP == pytest.approx(math.cos(1.31), abs=0.01)
    label = cameras.canonical_label().numpy()
    assert judge(label[None]).faults == []
    for entry, good, bad in ((11, 2.61, 2.59), (11, 2.89, 2.91), (16, 4.6, 4.8), (18, 0.64, 0.66), (21, 0.36, 0.34)):
        for value, faults in ((good, 0), (bad, 1)):
            changed = label.copy()
            changed[entry] = value
            assert len(judge(changed[None]).faults) == faults, (entry, value)


def test_cameras_of_mapping_and_rendering():
    clip = tiny.labels(0, 1, 3)
    for training, mapped in ((True, clip), (False, clip[:, :1].expand(1, 3, 25))):
        seen, rendered = condition_cameras(clip, config.Config().generator.camera_mode, training)
        assert torch.equal(seen, mapped) and torch.equal(rendered, clip)


# --- Time -------------------------------------------------------------------------------------------------------------


def test_times_of_pairs(clips):
    batch = next(training_batches(clips, 32, seed=0, workers=0, window=WINDOW, mirror=True))
    sequences = [clip.cameras for clip in clips.clips]
    fakes, _ = CameraSampler(sequences, window=WINDOW, mirror=True).sample(0, 32)
    for times in (batch["times"], fakes):
        assert times.min() >= 0 and times.max() <= 1 and (times[:, 1] >= times[:, 0]).all()
    x = tiny.networks(tiny.config()).D_vid.assemble(torch.zeros(4, 3, 32, 32), torch.tensor([[0.1, 0.8], [0.3, 0.3]]))
    torch.testing.assert_close(x[:, 6].mean(dim=(1, 2)), torch.tensor([0.7, 0.0]))


def test_times_of_real_frames(clips):
    pair = draw_pair(np.random.default_rng(0), clips, 1, window=WINDOW, mirror=0)  # 16 frames: the clip is the window
    torch.testing.assert_close(pair.times, (pair.frames[:, 0, 0, 0] / 15).astype(np.float32))
    single = draw_pair(np.random.default_rng(0), clips, 2, window=WINDOW, mirror=0)
    assert single.times.tolist() == [0, 0]


def test_times_of_fake_frames(clips):
    path = np.arange(16.0).repeat(25).reshape(16, 25)  # camera number i is i everywhere
    times, labels = CameraSampler([path], window=WINDOW, mirror=False).sample(0, 50)
    assert torch.equal(labels[..., 0], (times * 16).floor()) and (times * 15 % 1 != 0).all()


def test_times_of_videos(G):
    spec = clip_spec(G, 0, 0, cameras.orbit_labels(7))
    torch.testing.assert_close(spec.times, torch.linspace(0, 1, 7))
    short = tiny.generator()
    short.max_time = 0.25
    torch.testing.assert_close(clip_spec(short, 0, 0, cameras.orbit_labels(7)).times, torch.linspace(0, 0.25, 7))


def test_motion_starts_at_time_zero(G):
    first, last = (
        [list(generate(G, clip_spec(G, 0, motion, turned().expand(2, -1))))[0]["image"][i] for motion in (0, 1)]
        for i in (0, 1)
    )
    torch.testing.assert_close(*first)
    assert not torch.allclose(*last)


# --- Counting and chance ----------------------------------------------------------------------------------------------


def test_frames_are_folded_clip_by_clip():
    options = tiny.config()
    frames = torch.arange(4, dtype=torch.uint8).reshape(2, 2, 1, 1, 1).expand(2, 2, 3, 32, 32)
    nets = tiny.networks(options)
    reals = tiny.loss(nets, options).real_frames(frames, torch.zeros(2, 2), tiny.labels(0, 2, 2), tiny.CALM)
    assert pictures.to_uint8(reals.image[:, 0, 0, 0]).tolist() == [0, 1, 2, 3] and reals.times.shape == (2, 2)
    pair = pictures.to_uint8(nets.D_vid.assemble(reals.image, reals.times)[:, :6, 0, 0])
    assert pair.tolist() == [[0] * 3 + [1] * 3, [2] * 3 + [3] * 3]


def trained(clips: ClipDataset, folder: Path, **changes) -> tuple[Trainer, list[float]]:
    """A trainer behind its last iteration, and the kimg of its status lines."""
    options = tiny.config(generator__img_resolution=16, generator__rendering__resolution=8, **changes)
    lines = []
    hooks = Hooks(status=lambda status: lines.append(status.progress.kimg))
    folder.mkdir(exist_ok=True)
    trainer = Trainer(options, clips, RunFolder(folder), torch.device("cpu"), hooks=hooks)
    trainer.train()
    return trainer, lines


def test_kimg_counts_clips(clips, tmp_path):
    trainer, _ = trained(clips, tmp_path, training__batch=2, training__kimg=0.004)
    assert trainer.progress.iteration == 2 and trainer.progress.clips == 4 and trainer.progress.kimg == 0.004
    assert stamp(12800) == "000012.800" and (tmp_path / "network-snapshot-000000.004.pkl").is_file()


def test_ticks_and_snapshots(clips, tmp_path):
    _, lines = trained(clips, tmp_path, training__batch=2, training__kimg=0.016, training__tick=0.004, training__snap=2)
    assert lines == [0.004, 0.008, 0.012, 0.016]
    assert [path.name[-7:-3] for path in RunFolder(tmp_path).states()] == [".008", ".016"]


def test_seeds_of_codes():
    appearance, motion = latent_code(3, 512, Stream.APPEARANCE), latent_code(3, 512, Stream.MOTION)
    assert torch.equal(appearance, latent_code(3, 512, Stream.APPEARANCE))
    assert abs(torch.nn.functional.cosine_similarity(appearance, motion, dim=0)) < 0.15
    assert abs(appearance.mean()) < 0.15 and appearance.std().item() == pytest.approx(1, abs=0.1)


def test_inference_does_not_depend_on_the_batch(G):
    spec = clip_spec(G, 1, 2, cameras.orbit_labels(5))
    options = [SamplingOptions(frames_per_batch=n) for n in (1, 5)]
    alone, together = (torch.cat([out["image"] for out in generate(G, spec, each)]) for each in options)
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)


def test_training_seed(clips, tmp_path):
    nets = (build_networks(tiny.config(), seed, torch.device("cpu")) for seed in (1, 1, 2))
    first, again, other = (each.G.state_dict() for each in nets)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["decoder.net.0.weight"], other["decoder.net.0.weight"])
    whole, rest = (
        next(training_batches(clips, 4, seed=0, start=start, workers=0, window=WINDOW, mirror=True)) for start in (0, 2)
    )
    assert torch.equal(whole["cameras"][2:], rest["cameras"][:2])
    first, again = (trained(clips, tmp_path / name, training__kimg=0.002)[0].networks.G.state_dict() for name in "ab")
    assert all(torch.equal(first[name], again[name]) for name in first)


# --- The page ---------------------------------------------------------------------------------------------------------


def lines_of(page: str) -> list[str]:
    """Every line that states something: below the first heading, each bullet with its continuation."""
    body = page[page.index("\n## ") :]
    parts = re.split(r"\n(?=\* |## )|\n\n", body)
    return [" ".join(part.split()) for part in parts if part.strip() and not re.fullmatch(r"## .*", part.strip())]


def functions(path: Path) -> set[str]:
    """Names of the functions at the top of a file."""
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def faults(page: str) -> list[str]:
    """Lines without an anchor of their own or without an existing test."""
    found, anchors = [], []
    for line in lines_of(page):
        anchor = re.match(r'\* <a id="([a-z0-9-]+)"></a>', line)
        tests = re.findall(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)", line)
        anchors.append(anchor.group(1) if anchor else None)
        exist = all((ROOT / file).is_file() and name in functions(ROOT / file) for name, file in tests)
        if not anchor or anchors.count(anchors[-1]) > 1 or not tests or not exist:
            found.append(line)
    return found


def test_every_line_of_the_page_is_held_by_a_test():
    page = PAGE.read_text(encoding="utf-8")
    assert len(lines_of(page)) > 40 and faults(page) == []


def test_every_test_holds_a_line_of_the_page():
    page = PAGE.read_text(encoding="utf-8")
    for file in HOLDERS:
        tests = {name for name in functions(file) if name.startswith("test_") and "page" not in name}
        assert tests == set(re.findall(rf"\[(test_\w+)\]\(\.\./tests/{file.name}\)", page))


@pytest.mark.parametrize(
    "line",
    [
        "* Free-floating.",
        '* <a id="x"></a>No test.',
        '* <a id="x"></a>Gone. [test_gone](../tests/test_conventions.py)',
        '* <a id="x"></a>Elsewhere. [test_label_layout](../tests/test_gone.py)',
        "A line that is no bullet.",
    ],
)
def test_a_line_without_a_test_is_noticed_on_the_page(line):
    sound = '\n## Part\n* <a id="fine"></a>Fine. [test_label_layout](../tests/test_conventions.py)\n'
    assert faults(sound) == [] and len(faults(f"{sound}\n## More\n{line}\n")) == 1
