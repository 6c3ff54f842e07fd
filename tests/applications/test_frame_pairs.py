"""applications.frame_pairs: pairs that follow from their seed and number, with cameras that differ."""

import numpy as np
import pytest
import torch

from applications.frame_pairs import dataset_pairs, generated_pairs
from dnnlib.errors import UserError
from tests.helpers import tiny
from training import synthetic
from training.cameras import frontal_label
from training.data.dataset import ClipDataset
from training.data.frames import encode_png
from training.data.streams import Stream
from training.data.writer import ClipRecord, write_dataset
from training.sampling.clips import ClipSpec, generate, latent_code
from training.sampling.options import SamplingOptions

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = ("image", "image_raw", "times", "cameras")


@pytest.fixture(scope="module")
def G():
    return tiny.generator()


@pytest.fixture(scope="module")
def bank():
    """Three camera paths of six frames, of which the second stands still."""
    paths = tiny.labels(3, 3, 6)
    paths[1] = paths[1, :1]
    return paths


def generated(G, bank, count=5, seed=0, batch=4):
    """Return the pairs as one batch: a tensor by name."""
    batches = list(generated_pairs(G, bank, count=count, seed=seed, options=SamplingOptions(frames_per_batch=batch)))
    return {name: torch.cat([getattr(frames, name) for frames in batches]) for name in NAMES}


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
def test_generated_pairs_do_not_depend_on_batches(G, bank, batch):
    pairs, others = generated(G, bank), generated(G, bank, batch=batch)
    for name in ("times", "cameras"):
        torch.testing.assert_close(pairs[name], others[name], rtol=0, atol=0)
    for name in ("image", "image_raw"):
        torch.testing.assert_close(pairs[name], others[name], rtol=1e-4, atol=1e-4)


def test_fewer_generated_pairs_are_the_first_ones(G, bank):
    for name, value in generated(G, bank, count=2).items():
        torch.testing.assert_close(value, generated(G, bank)[name][: len(value)], rtol=1e-4, atol=1e-4)


def test_a_generated_pair_is_two_frames_of_the_clip_of_its_seed(G, bank):
    pairs = generated(G, bank, seed=11)
    for number in range(5):
        folded = slice(2 * number, 2 * number + 2)
        clip = ClipSpec(
            z=latent_code(11 + number, 8, Stream.APPEARANCE),
            z_motion=latent_code(11 + number, 8, Stream.MOTION),
            cameras=pairs["cameras"][folded],
            times=pairs["times"][number],
        )
        [out] = generate(G, clip)
        torch.testing.assert_close(pairs["image"][folded], out["image"], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(pairs["image_raw"][folded], out["image_raw"], rtol=1e-4, atol=1e-4)


def test_times_belong_to_different_cameras_of_a_moving_path(bank):
    G = tiny.generator()
    G.max_time = 0.8
    pairs = generated(G, bank, count=24, batch=64)
    paths = set()
    for (first, last), (start, end) in zip(pairs["times"] / 0.8, pairs["cameras"].unflatten(0, (-1, 2)), strict=True):
        assert 0 <= first < last <= 1
        places = [round(5 * moment.item()) for moment in (first, last)]
        found = [path for path in range(3) if torch.equal(bank[path, places], torch.stack([start, end]))]
        assert len(found) == 1
        paths.update(found)
    assert paths == {0, 2}


@pytest.mark.parametrize("frames", [1, 4])
def test_cameras_that_stand_still_are_refused(G, frames):
    with pytest.raises(UserError, match="stand still"):
        generated(G, frontal_label(torch.linspace(-0.1, 0.1, 3)).unsqueeze(1).expand(3, frames, 25))


def test_pairs_of_a_dataset_are_its_frames(heads):
    dataset = ClipDataset(heads)
    options = tiny.config()
    pairs = list(dataset_pairs(dataset, options, count=6, seed=3))
    assert len(pairs) == 6
    clips = set()
    for frames in pairs:
        assert frames.image_raw.shape == (2, 3, 8, 8)
        [places] = (frames.times * 15).round().int().tolist()
        assert places[0] < places[1]
        images = ((frames.image + 1) * 127.5).round().to(torch.uint8).numpy()
        found = [
            index
            for index, clip in enumerate(dataset.clips)
            if np.array_equal(clip.cameras[places], frames.cameras.numpy())
        ]
        assert len(found) == 1
        clips.update(found)
        for image, place in zip(images, places, strict=True):
            np.testing.assert_array_equal(image, dataset.read_frame(found[0], place))
        torch.testing.assert_close(frames.image_raw.mean(), frames.image.mean(), rtol=0, atol=0.02)
    assert len(clips) > 1


def test_a_dataset_of_cameras_that_stand_still_is_refused(tmp_path):
    clip = synthetic.render_clip(0, 32, 3)
    with write_dataset(tmp_path / "still") as writer:
        frames = [(f"{index:05d}.png", encode_png(frame)) for index, frame in enumerate(clip.frames)]
        writer.add(ClipRecord(name="0", frames=frames, cameras=np.repeat(clip.cameras[:1], 3, axis=0), fps=25.0))
    with pytest.raises(UserError, match="No clip of .*still has two different cameras within 16 frames"):
        next(dataset_pairs(ClipDataset(tmp_path / "still"), tiny.config(), count=1, seed=0))
