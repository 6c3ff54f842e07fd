"""Training with images beside clips: who judges what, under whose cameras, with which weight.

The image discriminator judges images and frames of clips, the video discriminator the clips of a run without images.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import softplus
from torch.testing import assert_close

from benchmarks.counting import Counting
from benchmarks.meta_gpu import as_on_a_gpu
from benchmarks.roofline import GPUS
from dnnlib.options import override
from tests.helpers import tiny
from tests.helpers.noise import edit_frame, make
from tests.helpers.phases_apart import gradients
from tests.helpers.recording import spy
from tests.helpers.tiny import CALM
from tests.helpers.trainers import assert_same, iterate, make_trainer, moments, weights
from training.data.image_share import ImageShare
from training.judged import Frames
from training.training_loop import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE = tiny.SIZES["generator.img_resolution"]
HALF = {"images__share": 0.5}
FADING = {"images__share": 0.9, "images__share_end": 0.3, "images__share_fade_kimg": 0.016}


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("data") / "clips", lengths=(16, 18, 20), size=SIDE)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Images whose cameras and pixels are no clip's."""
    return make(tmp_path_factory.mktemp("data") / "images", lengths=[1] * 5 + [3], size=SIDE, seed=7)


def cameras_of(trainer: Trainer) -> tuple[set[bytes], set[bytes]]:
    """Return all cameras of clips, and of images."""
    return tuple({camera.tobytes() for camera in data.cameras} for data in (trainer.dataset, trainer.images))


def named(cameras: torch.Tensor) -> list[bytes]:
    return [camera.numpy().tobytes() for camera in cameras]


# --- The law of cameras -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reuse", [False, True])
def test_each_discriminator_is_told_cameras_of_its_own_data(clips, images, tmp_path, monkeypatch, reuse):
    trainer = make_trainer(
        clips,
        tmp_path / "run",
        images=images,
        training__batch=4,
        training__mirror=False,
        training__reuse_fakes=reuse,
        images__share=0.75,
    )
    of_clips, of_images = cameras_of(trainer)
    assert not of_clips & of_images
    judged = spy(monkeypatch, trainer.networks.D_img, "forward")
    of_videos = spy(monkeypatch, trainer.networks.D_vid, "forward")
    iterate(trainer)
    assert [len(call.inputs[2]) for call in judged] == [8, 16, 8], "of g_main, d_main with reals, R1: as without images"
    for call in judged:
        for told in call.inputs[2].split(8):  # fakes, reals
            names = named(told)
            assert set(names[:6]) <= of_images and set(names[6:]) <= of_clips
    assert [len(call.inputs[1]) for call in of_videos] == [8, 16, 8]
    assert {name for call in of_videos for name in named(call.inputs[1])} <= of_clips


@pytest.mark.parametrize("swap", [0.0, 1.0])
def test_fakes_are_mapped_and_rendered_with_cameras_of_the_data_that_they_are_judged_with(
    clips, images, tmp_path, monkeypatch, swap
):
    trainer = make_trainer(clips, tmp_path / "run", images=images, training__batch=4, training__mirror=False, **HALF)
    of_clips, of_images = cameras_of(trainer)
    mapped = spy(monkeypatch, trainer.networks.G, "mapping")
    rendered = spy(monkeypatch, trainer.networks.G, "synthesis")
    fakes = trainer.fakes.draw((0, 0, 0), slice(None), places=2)
    trainer.loss.synthesise(fakes, replace(CALM, swap_probability=swap))
    seen = [call.inputs[1] for call in mapped], [call.inputs[1] for call in rendered]
    for of_fakes, of_image_fakes in seen:
        assert len(of_fakes) == 8 and set(named(of_fakes)) <= of_clips
        assert len(of_image_fakes) == 4 and set(named(of_image_fakes)) <= of_images


def test_densities_are_regularised_under_the_cameras_of_both(clips, images, tmp_path, monkeypatch):
    trainer = make_trainer(clips, tmp_path / "run", images=images, training__batch=4, training__mirror=False, **HALF)
    of_clips, of_images = cameras_of(trainer)
    fakes = trainer.fakes.draw((0, 0, 1), slice(None), places=2)
    mapped = spy(monkeypatch, trainer.networks.G, "mapping")
    trainer.networks.G.requires_grad_(True)
    trainer.loss.g_reg(fakes, CALM)
    (call,) = mapped
    names = named(call.inputs[1])
    assert set(names[:4]) <= of_images and set(names[4:]) <= of_clips and len(names) == 8
    assert fakes.with_image_cameras().times is fakes.times


def test_image_fakes_are_people_of_their_own_at_times_of_clips(clips, images, tmp_path):
    trainer = make_trainer(clips, tmp_path / "run", images=images, training__batch=1000, **HALF)
    fakes = trainer.fakes.draw((0, 0, 0), slice(None), places=1000)
    still = fakes.images
    assert still.z.shape == (2000, 8) and still.times.shape == (2000, 1) and still.cameras.shape == (2000, 1, 25)
    codes = torch.cat([still.z, still.z_motion, fakes.z, fakes.z_motion]).flatten().tolist()
    assert len(set(codes)) > 0.99 * len(codes)
    for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert still.times.quantile(quantile) == pytest.approx(fakes.times.quantile(quantile).item(), abs=0.03)


# --- What is judged ---------------------------------------------------------------------------------------------------


def test_the_video_discriminator_sees_the_very_clips_of_a_run_without_images(clips, images, tmp_path, monkeypatch):
    seen = []
    for name, choices in {"without": {}, "with": {"images": images, **HALF}}.items():
        trainer = make_trainer(clips, tmp_path / name, training__batch=4, training__glr=1e-30, **choices)
        judged = spy(monkeypatch, trainer.networks.D_vid, "forward")
        iterate(trainer, 2)
        seen.append(judged)
    without, with_images = seen
    assert len(without) == len(with_images) == 5
    for one, other in zip(without, with_images, strict=True):
        for a, b in zip(one.inputs, other.inputs, strict=True):
            assert_close(a, b, atol=1e-6, rtol=0)


def test_pixels_of_images_reach_the_image_discriminator_alone(clips, tmp_path, monkeypatch):
    """No frame of noise is all white."""
    white = white_images(tmp_path / "white")
    trainer = make_trainer(clips, tmp_path / "run", images=white, training__batch=4, loss__blur_sigma=0.0, **HALF)
    judged = spy(monkeypatch, trainer.networks.D_img, "forward")
    assembled = spy(monkeypatch, trainer.networks.D_vid, "assemble")
    iterate(trainer)
    reals = judged[1].inputs[0][8:], judged[2].inputs[0]
    for frames in reals:
        assert [bool((frame == 1).all()) for frame in frames] == [True] * 4 + [False] * 4
    for call in assembled:
        assert not any((frame == 1).all() for frame in call.inputs[0])


def white_images(folder: Path) -> Path:
    """Make images that are all white."""
    make(folder, lengths=[1] * 3, size=SIDE)
    for path in folder.glob("*/*.png"):
        edit_frame(path, lambda pixels: pixels * 0 + 255)
    return folder


def test_statistics_tell_images_from_clips(clips, images, tmp_path):
    options = {"training__batch": 4, "images__share": 0.25}
    trainer = make_trainer(clips, tmp_path / "run", images=images, **options)
    iterate(trainer)
    stats = trainer.stats.collect()
    for kind in ("fake", "real"):
        of_images, of_clips = (stats[f"scores/{kind}_img_{data}"] for data in ("images", "clips"))
        assert (of_images["num"], of_clips["num"]) == (2, 6)
        together = (2 * of_images["mean"] + 6 * of_clips["mean"]) / 8
        assert stats[f"scores/{kind}_img"]["mean"] == pytest.approx(together, rel=1e-4)
    plain = make_trainer(clips, tmp_path / "plain", training__batch=4)
    iterate(plain)
    assert not [name for name in plain.stats.collect() if name.endswith(("_images", "_clips"))]


@pytest.mark.parametrize(
    "choices",
    [{"discriminator__video": False}, {"method": "3dvidgen-eg3d"}, {"generator__motion_generator": "naive"}],
    ids=["no-video", "3dvidgen-eg3d", "naive"],
)
def test_other_models_train_with_images(clips, images, tmp_path, choices):
    trainer = make_trainer(clips, tmp_path / "run", images=images, training__batch=4, **HALF, **choices)
    before = weights(trainer)
    iterate(trainer)
    after = weights(trainer)
    assert all(value.isfinite().all() for value in after.values())
    assert any(not torch.equal(value, before[name]) for name, value in after.items() if name.startswith("D_img"))


# --- Gradients --------------------------------------------------------------------------------------------------------


@pytest.fixture
def made() -> tuple:
    """Networks, loss, fakes with images in two of four places, reals of both: all in float64."""
    options = override(tiny.config(), {"images.share": 0.5, "loss.lambda_img": 0.7, "loss.lambda_vid": 0.3})
    nets = tiny.networks(options, torch.float64)
    for module in (nets.G, nets.D_img, nets.D_vid):
        module.requires_grad_(True)
    loss = tiny.loss(nets, options)
    one_frame = override(options, {"training.frames": 1})
    fakes = tiny.fakes(options, clips=4, dtype=torch.float64)
    fakes.images = tiny.fakes(one_frame, clips=4, seed=20, dtype=torch.float64)
    clips = tiny.reals(options, clips=4, dtype=torch.float64)
    images = tiny.reals(one_frame, clips=4, seed=70, dtype=torch.float64)
    return nets, loss, fakes, clips, images


def taken(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the gradients of a network, and clear them."""
    found = {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}
    module.zero_grad(set_to_none=True)
    return found


def assert_alike(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys() and found
    for name, value in found.items():
        assert_close(value, expected[name], rtol=1e-9, atol=1e-12)


def judged_by_hand(nets, loss, fakes) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits of image discriminator [8, 1] and video discriminator [4, 1] of fakes."""
    clips = loss._synthesise(fakes, CALM)
    images = loss._synthesise(fakes.images, CALM)
    parts = [torch.cat([getattr(images, name), getattr(clips, name)[4:]]) for name in ("image", "image_raw", "cameras")]
    return nets.D_img(*parts), nets.D_vid(nets.D_vid.assemble(clips.image, clips.times), clips.cameras)


def test_gradients_of_the_discriminators_are_those_of_a_batch_made_by_hand(made):
    nets, loss, fakes, clips, images = made
    loss.d_main(clips.with_images(images), fakes, CALM)
    found = [taken(nets.D_img), taken(nets.D_vid)]
    taken(nets.G)
    with torch.no_grad():
        frames = loss._synthesise(fakes, CALM), loss._synthesise(fakes.images, CALM)
    for sign, (of_clips, of_images) in ((1, frames), (-1, (clips, images))):
        parts = [
            torch.cat([getattr(of_images, name), getattr(of_clips, name)[4:]])
            for name in ("image", "image_raw", "cameras")
        ]
        (0.7 * softplus(sign * nets.D_img(*parts)).mean()).backward()
        pairs = nets.D_vid.assemble(of_clips.image, of_clips.times)
        (0.3 * softplus(sign * nets.D_vid(pairs, of_clips.cameras)).mean()).backward()
    assert_alike(found[0], taken(nets.D_img))
    assert_alike(found[1], taken(nets.D_vid))


def test_gradients_of_the_generator_are_those_of_a_batch_made_by_hand(made):
    nets, loss, fakes, *_ = made
    loss.g_main(fakes, CALM)
    found = taken(nets.G)
    of_frames, of_videos = judged_by_hand(nets, loss, fakes)
    (0.7 * softplus(-of_frames).mean() + 0.3 * softplus(-of_videos).mean()).backward()
    assert_alike(found, taken(nets.G))


def test_images_train_the_generator_through_the_image_discriminator_alone(made):
    nets, loss, fakes, *_ = made
    loss.config = override(loss.config, {"loss.lambda_img": 0.0})
    loss.g_main(fakes, CALM)
    found = {name: value for name, value in taken(nets.G).items() if value.abs().sum() > 0}
    loss.g_main(replace(fakes, images=None), CALM)
    expected = {name: value for name, value in taken(nets.G).items() if value.abs().sum() > 0}
    assert_alike(found, expected)


# --- Resuming and division --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
def test_resuming_in_the_middle_of_a_schedule_is_exact(clips, images, tmp_path, workers):
    options = FADING | {"training__g_reg_interval": 2, "training__d_reg_interval": 3, "training__workers": workers}

    def trainer(folder: str, kimg: float) -> Trainer:
        return make_trainer(clips, tmp_path / folder, images=images, training__kimg=kimg, **options)

    straight = trainer("straight", 0.02)
    straight.train()
    trainer("stopped", 0.01).train()
    resumed = trainer("stopped", 0.02)
    assert resumed.restore() and resumed.progress.clips == 10
    resumed.train()
    assert_same(weights(resumed), weights(straight))
    assert_same(moments(resumed), moments(straight))


@pytest.mark.parametrize("division", [{"training__batch_gpu": 4}, {"ranks": 2}], ids=["passes", "processes"])
def test_images_train_the_same_model_for_any_division(clips, images, tmp_path, monkeypatch, division):
    """With five places of eight, which no two parts share equally."""
    options = {"images": images, "images__share": 0.7}
    whole = gradients(clips, tmp_path, monkeypatch, **options)
    assert whole.keys() == {"g_main", "g_reg", "d_main", "d_reg"}
    divided = gradients(clips, tmp_path, monkeypatch, **options, **division)
    for phase, tensors in whole.items():
        total = torch.cat([tensor.flatten() for tensor in tensors]).norm()
        difference = torch.cat([(a - b).flatten() for a, b in zip(tensors, divided[phase], strict=True)]).norm()
        assert difference < 1e-4 * total, phase


def test_fakes_of_images_do_not_depend_on_their_division(clips, images, tmp_path):
    trainer = make_trainer(clips, tmp_path / "run", images=images, training__batch=8, images__share=0.7)
    source = trainer.fakes
    whole = source.draw((3, 5, 0), slice(None), places=5)
    for rank in range(2):
        own = slice(rank, None, 2)
        part, expected = source.draw((3, 5, 0), own, places=5).images, whole.rows(own).images
        assert len(part.z) == 2 * (3 - rank)
        for name in ("z", "z_motion", "times", "cameras", "others"):
            assert torch.equal(getattr(part, name), getattr(expected, name)), name
    assert source.draw((3, 5, 0), slice(1, None, 2), places=1).images is None
    assert len(whole.rows([1, 4, 7]).images.z) == 4


def test_images_make_no_host_wait(clips, images, tmp_path):
    """Of the whole batch all numbers are drawn in one launch each; how many images there are is known on the host."""
    trainer = make_trainer(clips, tmp_path / "run", images=images, training__batch=8, images__share=0.7)
    source = trainer.fakes
    source.device = torch.device("meta")
    counting = Counting(GPUS["h200"])
    with as_on_a_gpu(counting), counting:
        whole = source.draw((3, 5, 0), slice(None), places=5)
        assert whole.images.random.items == range(10) == whole.rows(slice(0, None, 1)).images.random.items
        half = whole.rows(slice(1, None, 2))
        assert half.images.random.items == [2, 3, 6, 7]
        half.with_image_cameras()
        clip_frames, image_frames = (empty_frames(shape) for shape in ((4, 2), (4, 1)))
        assert clip_frames.with_images(image_frames).images == 4
    assert whole.images.z.device.type == "meta" and not counting.waits


def empty_frames(times: tuple[int, int]) -> Frames:
    """Return frames without content, of so many clips of so many frames."""
    count = times[0] * times[1]
    shapes = {"image": [count, 3, 32, 32], "image_raw": [count, 3, 8, 8], "times": times, "cameras": [count, 25]}
    return Frames(**{name: torch.empty(*shape, device="meta") for name, shape in shapes.items()})


def test_data_and_fakes_agree_on_the_places(clips, images, tmp_path, monkeypatch):
    """In every iteration of a schedule, of a run that starts from weights, too."""
    trainer = make_trainer(clips, tmp_path / "run", images=images, training__batch=4, **FADING)
    trainer.progress.stream_start = 1000
    counts = spy(monkeypatch, trainer.fakes, "draw")
    iterate(trainer, 6)
    share = ImageShare.of(trainer.config)
    places = {clips: share.places(clips) for clips in range(0, 24, 4)}
    assert len(set(places.values())) > 2
    assert [call.inputs[2] for call in counts if call.inputs[0][2] == 0] == list(places.values())
