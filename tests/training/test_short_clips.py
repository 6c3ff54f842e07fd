"""Training on clips shorter than the window: images train the image discriminator alone, times stay within the data's.

A run that began when fakes' times did not depend on the clips goes on, and says so.
"""

from pathlib import Path

import pytest
import torch

from tests.helpers import tiny
from tests.helpers.noise import make
from tests.helpers.phases_apart import gradients
from tests.helpers.recording import spy
from tests.helpers.trainers import assert_same, iterate, make_trainer, moments, weights
from torch_utils import checkpoint
from training.checkpoints.opener import load_generator
from training.fakes import NO_VIDEOS, OTHER_TIMES
from training.training_loop import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE = tiny.SIZES["generator.img_resolution"]


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Clips of one frame."""
    return make(tmp_path_factory.mktemp("data") / "images", lengths=[1] * 6, size=SIDE)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """Clips of one frame and longer ones."""
    return make(tmp_path_factory.mktemp("data") / "mixed", lengths=(1, 5, 1, 1, 3), size=SIDE)


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    """Clips of five frames."""
    return make(tmp_path_factory.mktemp("data") / "short", lengths=(5, 5, 4), size=SIDE)


def moved(trainer: Trainer, before: dict[str, torch.Tensor]) -> set[str]:
    """Return which networks have changed."""
    now = weights(trainer)
    return {name.split(".")[0] for name, value in before.items() if not torch.equal(value, now[name])}


# --- Clips of one frame -----------------------------------------------------------------------------------------------


def test_images_train_all_but_the_video_discriminator(images, tmp_path):
    trainer = make_trainer(images, tmp_path / "run", training__kimg=0.006, training__d_reg_interval=2)
    assert trainer.notes == [NO_VIDEOS]
    before = weights(trainer)
    trainer.train()
    assert moved(trainer, before) == {"G", "G_ema", "D_img"}
    assert not trainer.optimizers["D_vid"].state
    statistics = (trainer.run.path / "stats.jsonl").read_text()
    assert "scores/real_img" in statistics and "loss/r1_img" in statistics
    assert "_vid" not in statistics

    (file,) = trainer.run.path.glob("network-snapshot*")
    assert load_generator(file).G.max_time == 0
    again = make_trainer(images, tmp_path / "run", training__kimg=0.008)
    assert again.restore()
    assert_same(weights(again), weights(trainer))
    assert_same(moments(again), moments(trainer))
    again.train()


def test_the_image_discriminator_learns_from_images(images, tmp_path):
    """It tells their noise from what an untrained generator makes; nothing of it is about time."""
    still = {"training__glr": 1e-12, "training__dlr": 0.02, "training__batch": 4, "loss__blur_sigma": 0.0}
    trainer = make_trainer(images, tmp_path / "run", **still)
    iterate(trainer, 8)
    trainer.stats.collect()
    iterate(trainer, 2)
    stats = trainer.stats.collect()
    assert stats["scores/real_img"]["mean"] > stats["scores/fake_img"]["mean"] + 1


def test_a_window_of_one_frame_makes_images_of_clips(heads, tmp_path):
    trainer = make_trainer(heads, tmp_path / "run", training__window=1)
    assert trainer.notes == [NO_VIDEOS]
    before = weights(trainer)
    iterate(trainer)
    assert moved(trainer, before) == {"G", "G_ema", "D_img"}


def test_without_a_video_discriminator_nothing_is_said(images, heads, tmp_path):
    assert make_trainer(images, tmp_path / "a", discriminator__video=False).notes == []
    assert make_trainer(heads, tmp_path / "b").notes == []


# --- Clips of one frame among others ----------------------------------------------------------------------------------


def test_the_video_discriminator_sees_no_clip_of_one_frame(mixed, tmp_path, monkeypatch):
    trainer = make_trainer(mixed, tmp_path / "run", training__batch=4, training__mirror=False)
    movies = {camera.tobytes() for clip in trainer.dataset.clips if len(clip.frames) > 1 for camera in clip.cameras}
    judged = spy(monkeypatch, trainer.networks.D_vid, "forward")
    synthesised = spy(monkeypatch, trainer.loss, "_synthesise")
    iterate(trainer, 4)
    clips = [len(call.inputs[0]) for call in judged]
    assert clips == [4, 8, 4, *3 * [4, 8]], "of the generator, fakes with reals; and of R1 in the first iteration"
    for call in judged:
        cameras = call.inputs[1]
        assert {camera.numpy().tobytes() for camera in cameras} <= movies
    assert (trainer.stats.collect()["scores/real_vid"]["num"]) == 4
    extra = [len(call.inputs[0].z) for call in synthesised]
    assert sum(extra) < 2 * 8 * 4, "clips of several frames are synthesised once"


def test_clips_of_several_frames_are_one_pair_for_both(mixed, tmp_path):
    trainer = make_trainer(mixed, tmp_path / "run", training__batch=8)
    fakes = trainer.fakes.draw((0, 0, 0), slice(None))
    frames = trainer.loss.synthesise(fakes, tiny.CALM)
    stills = fakes.stills()
    assert 0 < len(stills) < 8
    assert torch.equal(frames.stand_ins.times[stills], fakes.stand_ins.times[stills])
    rest = [row for row in range(8) if row not in stills]
    for name in ("image", "cameras", "times"):
        own, judged = (getattr(which, name).unflatten(0, (8, -1)) for which in (frames, frames.stand_ins))
        assert torch.equal(own[rest], judged[rest]), name
        assert not torch.equal(own[stills], judged[stills]), name


def test_mixed_data_train_the_same_model_for_any_division(mixed, tmp_path, monkeypatch):
    whole = gradients(mixed, tmp_path, monkeypatch)
    assert whole.keys() == {"g_main", "g_reg", "d_main", "d_reg"}
    for division in ({"training__batch_gpu": 4}, {"ranks": 2}):
        divided = gradients(mixed, tmp_path, monkeypatch, **division)
        for phase, tensors in whole.items():
            total = torch.cat([tensor.flatten() for tensor in tensors]).norm()
            difference = torch.cat([(a - b).flatten() for a, b in zip(tensors, divided[phase], strict=True)]).norm()
            assert difference < 1e-4 * total, (phase, division)


# --- Clips shorter than the window ------------------------------------------------------------------------------------


def test_short_clips_train_within_their_time(short, tmp_path):
    trainer = make_trainer(short, tmp_path / "run")
    assert trainer.notes == []
    assert trainer.networks.G_ema.max_time == trainer.snapshot().G.max_time == 4 / 15
    fakes = trainer.fakes.draw((0, 0, 0), slice(None))
    assert fakes.times.max() <= 4 / 15
    before = weights(trainer)
    iterate(trainer)
    assert moved(trainer, before) == {"G", "G_ema", "D_img", "D_vid"}


# --- Runs from before -------------------------------------------------------------------------------------------------


def old_run(data: Path, folder: Path, **changes) -> list[str]:
    """Train for an iteration, make the state one that an earlier version wrote, go on twice; return what is said."""
    trainer = make_trainer(data, folder, training__kimg=0.002, **changes)
    trainer.train()
    (path,) = trainer.run.states()
    state = checkpoint.load(path, "state")
    assert state.pop("max_time") == trainer.networks.G_ema.max_time
    state["health"]["best"]["health/motion"] = 50.0
    checkpoint.save(path, state, "state")
    said: list[str] = []
    for kimg in (0.004, 0.006):
        again = make_trainer(data, folder, training__kimg=kimg, **changes)
        assert again.restore(said.append)
        kept = again.health.best.get("health/motion", 0.0)
        assert (kept < 50) == bool(said), "what moved over other times is no measure"
        again.train()
    return said


@pytest.mark.parametrize("data", ["short", "mixed"])
def test_a_run_from_before_says_once_that_its_fakes_get_other_times(data, tmp_path, request):
    assert old_run(request.getfixturevalue(data), tmp_path / "run") == [OTHER_TIMES]


def test_a_run_from_before_on_long_clips_has_nothing_to_say(heads, tmp_path):
    assert old_run(heads, tmp_path / "run") == []


def test_states_of_before_hold_a_trained_video_discriminator_that_stays(images, tmp_path):
    trainer = make_trainer(images, tmp_path / "run", training__kimg=0.002)
    trainer.train()
    (path,) = trainer.run.states()
    state = checkpoint.load(path, "state")
    del state["max_time"]
    parameters = dict(enumerate(trainer.networks.D_vid.parameters()))
    state["optimizers"]["D_vid"]["state"] = {
        number: {"step": torch.ones([]), "exp_avg": value.clone(), "exp_avg_sq": value.square()}
        for number, value in parameters.items()
    }
    checkpoint.save(path, state, "state")
    again = make_trainer(images, tmp_path / "run", training__kimg=0.004)
    said: list[str] = []
    assert again.restore(said.append)
    assert said == [OTHER_TIMES]
    before = weights(again) | moments(again)
    again.train()
    after = weights(again) | moments(again)
    assert_same(*({name: value for name, value in found.items() if "D_vid" in name} for found in (before, after)))
