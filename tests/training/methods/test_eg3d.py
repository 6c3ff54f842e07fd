"""The method eg3d: single frames are drawn, made, and judged with their cameras; nothing knows of motion or time."""

import collections

import numpy as np
import pytest
import torch

from tests.helpers import tiny
from tests.helpers.recording import recorded, spy
from tests.helpers.tiny import CALM
from torch_utils.random_numbers import Streams
from training.checkpoints.snapshots import Networks
from training.data.dataset import ClipDataset
from training.data.pairs import training_batches
from training.fakes import FakeSource
from training.loss import Schedule
from training.phases import build_phases
from training.sampling.clips import STATIC, clip_spec, slow_motion, whole

CONFIG = tiny.config(method="eg3d")


@pytest.fixture
def networks() -> Networks:
    """Tiny networks that all want gradients."""
    networks = tiny.networks(CONFIG)
    for module in (networks.G, networks.D_img):
        module.requires_grad_(True)
    return networks


# --- Samples ----------------------------------------------------------------------------------------------------------


def test_reals_are_single_frames_of_whole_clips_all_as_likely(heads):
    """300 draws of 48 frames: each clip 100 times, each frame about 6 (standard deviation 2.5)."""
    dataset = ClipDataset(heads)
    options = CONFIG.training
    stream = training_batches(
        dataset, 100, seed=3, workers=0, window=options.window, frames=options.frames, mirror=False
    )
    drawn: collections.Counter = collections.Counter()
    for _ in range(3):
        batch = next(stream)
        assert set(batch) == {"frames", "times", "cameras"}
        assert batch["frames"].shape == (100, 1, 3, 32, 32)
        assert batch["times"].shape == (100, 1) and (batch["times"] == 0).all()
        assert batch["cameras"].shape == (100, 1, 25)
        for image, camera in zip(batch["frames"][:, 0].numpy(), batch["cameras"][:, 0].numpy(), strict=True):
            drawn[_place(dataset, image, camera)] += 1
    stream.close()
    clips = collections.Counter(clip for clip, _ in drawn.elements())
    assert set(clips.values()) == {100}
    assert len(drawn) == 48
    assert max(drawn.values()) <= 6 + 4 * 2.5


def _place(dataset: ClipDataset, image: np.ndarray, camera: np.ndarray) -> tuple[int, int]:
    """Return clip and number of the frame that this is, with its own camera."""
    for clip in range(dataset.num_clips):
        cameras = dataset.clips[clip].cameras
        for frame in np.flatnonzero((cameras == camera).all(axis=1)):
            if np.array_equal(dataset.read_frame(clip, int(frame)), image):
                return clip, int(frame)
    raise AssertionError("this frame has another one's camera")


def test_fakes_are_single_frames_with_cameras_of_the_data(heads):
    paths = ClipDataset(heads).camera_paths
    source = FakeSource(paths, tiny.config(method="eg3d", training__batch=64), torch.device("cpu"))
    fakes = source.draw((0, 1, 2), slice(None))
    assert fakes.times.shape == (64, 1) and (fakes.times == 0).all()
    assert fakes.cameras.shape == fakes.others.shape == (64, 1, 25)
    assert fakes.stand_ins is None
    known = np.concatenate(list(paths))
    mirrored = 0
    for camera in fakes.cameras[:, 0].numpy():
        mirrored += not (known == camera).all(axis=1).any()
    assert 16 <= mirrored <= 48, "about half are mirrored"


# --- Phases -----------------------------------------------------------------------------------------------------------


def test_the_image_discriminator_judges_frame_and_raw_image_with_their_camera(networks, monkeypatch):
    seen = spy(monkeypatch, networks.D_img, "logits")
    loss = tiny.loss(networks, CONFIG)
    fakes = tiny.fakes(CONFIG, clips=4)
    loss.g_main(fakes, CALM)
    (call,) = seen
    assert call.inputs[0].shape == (4, 6, 32, 32)
    assert torch.equal(call.inputs[1], fakes.cameras.flatten(0, 1))


def test_phases_train_two_networks():
    g_main, g_reg, d_main, d_reg = build_phases(CONFIG)
    assert g_main.networks == g_reg.networks == ("G",)
    assert d_main.networks == d_reg.networks == ("D_img",)


def test_gradients_reach_all_of_the_generator(networks):
    loss = tiny.loss(networks, CONFIG, noise_mode="random", deterministic=False)
    loss.g_main(tiny.fakes(CONFIG, clips=4), Schedule(blur_sigma=1.0, swap_probability=0.5))
    missing = [name for name, value in networks.G.named_parameters() if value.grad is None or not value.grad.any()]
    # Super-resolution has no noise.
    assert len(missing) == 4 and all(name.endswith("noise_strength") for name in missing)
    assert all(name.startswith("superresolution.") for name in missing)


def test_the_raw_image_is_the_first_features(networks):
    G = networks.G_ema
    with recorded(G, "superresolution") as calls:
        G.forward(tiny.normal(0, 2, 8), tiny.labels(1, 2), torch.zeros(2, 8), torch.zeros(2, 1))
    raw, given, *_ = calls["superresolution"][0].inputs
    assert given.shape == (2, 4, 8, 8)
    assert torch.equal(raw, given[:, :3])


# --- Videos -----------------------------------------------------------------------------------------------------------


def test_videos_stand_still_but_for_the_camera():
    G = tiny.generator(method="eg3d")
    cameras = tiny.labels(0, 3)
    moving = clip_spec(G, 0, 1, cameras)
    other = clip_spec(G, 0, 2, cameras)
    assert torch.equal(whole(G, moving)["image"], whole(G, other)["image"]), "motion codes do nothing"
    still = clip_spec(G, 0, 1, cameras[:1].expand(3, -1))
    frames = whole(G, still)["image"]
    torch.testing.assert_close(frames, frames[:1].expand_as(frames), rtol=0, atol=1e-6)
    assert not torch.allclose(whole(G, moving)["image"][0], whole(G, moving)["image"][2])
    assert slow_motion(G, 1, 16) == STATIC


def test_streams_are_shared_by_as_many_frames_as_there_are(networks):
    """Noise and jitter of a clip do not depend on which others are in the batch."""
    loss = tiny.loss(networks, CONFIG, noise_mode="random", deterministic=False)
    fakes = tiny.fakes(CONFIG, clips=4)
    fakes.random = Streams.seeded((5,), 4)
    together = loss.synthesise(fakes, CALM).image
    fakes.random = Streams.seeded((5,), 4)
    alone = loss.synthesise(fakes.rows([2]), CALM).image
    torch.testing.assert_close(alone, together[2:3], rtol=1e-4, atol=1e-5)
