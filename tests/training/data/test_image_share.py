"""training.data.image_share and the stream with images: how many there are, and which; nothing else changes."""

from pathlib import Path

import pytest
import torch

from tests.helpers import tiny
from tests.helpers.noise import make
from training.data.dataset import ClipDataset
from training.data.image_share import ImageShare
from training.data.pairs import ImageData, PairStream, training_batches
from training.data.streams import First

WINDOW = 16


def share(start: float, end: float | None = None, kimg: float | None = None, batch: int = 8) -> ImageShare:
    options = {"images__share": start, "images__share_end": end, "images__share_fade_kimg": kimg}
    return ImageShare.of(tiny.config(training__batch=batch, **options))


# --- How many ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 0.1, 0.29, 0.5, 0.7, 0.99])
@pytest.mark.parametrize("batch", [1, 3, 8, 16])
def test_a_constant_share_is_kept_to_the_clip(value, batch):
    """Behind c clips there have been floor(share * c) places; in binary 0.29 * 100 would be less than 29."""
    images = share(value, batch=batch)
    total = 0
    for clips in range(0, 100 * batch, batch):
        places = images.places(clips)
        assert 0 <= places <= batch
        total += places
        assert total == round(value * 100) * (clips + batch) // 100
        assert images.at(clips) == value


@pytest.mark.parametrize("start, end", [(0.8, 0.2), (0.0, 0.5), (0.25, 0.75)])
@pytest.mark.parametrize("batch", [1, 8])
def test_places_of_a_changing_share_sum_to_its_integral(start, end, batch):
    """A trapezium, then a rectangle; at the end of the fade, and wherever else, to less than one place."""
    fade = 400
    images = share(start, end, fade / 1000, batch)
    total = 0
    for clips in range(0, 800, batch):
        total += images.places(clips)
        seen = clips + batch
        slope = (end - start) / fade
        inside = min(seen, fade)
        integral = start * inside + slope * inside**2 / 2 + end * (seen - inside)
        assert integral - 1 < total <= integral + 1e-9
    assert total == round((start + end) / 2 * fade + end * 400)
    assert images.at(0) == start and images.at(200) == pytest.approx((start + end) / 2)
    assert images.at(400) == images.at(10**9) == end


def test_statistics_count_images_and_are_silent_without_any():
    assert share(0.0).statistics(800) == {}
    assert share(0.8, 0.2, 0.4).statistics(200) == {"schedule/image_share": 0.5, "schedule/image_kimg": 0.26}
    assert share(0.0, 0.5, 0.4).statistics(0) == {"schedule/image_share": 0.0, "schedule/image_kimg": 0.0}


def test_images_are_taken_one_after_the_other_in_the_first_places():
    images = share(0.8, 0.2, 0.4)
    numbers: list[int] = []
    for clips in range(0, 800, 8):
        in_place = [list(images.images_in_place_of(clips + row)) for row in range(8)]
        places = images.places(clips)
        assert [len(found) for found in in_place] == [2] * places + [0] * (8 - places)
        numbers += sum(in_place, [])
    assert numbers == list(range(2 * images.places_before(800)))


# --- Which ones -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> ClipDataset:
    return ClipDataset(make(tmp_path_factory.mktemp("data") / "clips"))


@pytest.fixture(scope="module")
def stills(tmp_path_factory) -> ClipDataset:
    """Images of three people, of whom one is on four."""
    return ClipDataset(make(tmp_path_factory.mktemp("data") / "stills", lengths=(1, 4, 1), seed=1))


def batches(clips: ClipDataset, images: ImageData | None, count: int, **options) -> list[dict[str, torch.Tensor]]:
    choices = {"seed": 3, "workers": 0, "window": WINDOW, "mirror": True, "batch": 8} | options
    stream = training_batches(clips, choices.pop("batch"), images=images, **choices)
    return [next(stream) for _ in range(count)]


def beside(stills: ClipDataset, begin: int = 0) -> ImageData:
    return ImageData(dataset=stills, share=share(0.7, 0.3, 0.08), begin=begin)


def test_clips_are_those_of_a_run_without_images(clips, stills):
    for plain, mixed in zip(batches(clips, None, 4), batches(clips, beside(stills), 4), strict=True):
        for name, value in plain.items():
            assert torch.equal(mixed[name], value)


@pytest.mark.parametrize("begin", [0, 24])
def test_images_are_frames_of_their_stream_in_order(clips, stills, begin):
    """In a run from weights behind all that these can have seen."""
    images = beside(stills, begin)
    alone = PairStream(stills, seed=3, window=1, mirror=True, frames=1, streams=(First.IMAGES, First.IMAGE_EPOCHS))
    number = 2 * begin
    for index, batch in enumerate(batches(clips, images, 12, start=begin)):
        places = images.share.places(8 * index)
        assert batch["image_frames"].shape[:2] == (places, 2) and batch["image_cameras"].shape == (places, 2, 25)
        for frame, camera in zip(
            batch["image_frames"].flatten(0, 1), batch["image_cameras"].flatten(0, 1), strict=True
        ):
            expected = alone[number]
            assert torch.equal(frame, torch.from_numpy(expected.frames[0]))
            assert torch.equal(camera, torch.from_numpy(expected.cameras[0]))
            number += 1


def test_each_clip_of_images_counts_alike_and_any_frame_of_it(stills):
    stream = PairStream(stills, seed=0, window=1, mirror=False, frames=1, streams=(First.IMAGES, First.IMAGE_EPOCHS))
    people = [stream.clip_index(item) for item in range(300)]
    assert [people.count(person) for person in range(3)] == [100, 100, 100]
    numbers = [int(stream[item].frames[0, 0, 0, 0]) for item in range(300) if people[item] == 1]
    assert all(10 < numbers.count(frame) < 40 for frame in range(4))


def test_the_stream_is_the_same_for_any_ranks_workers_and_resumption(clips, stills):
    whole = batches(clips, beside(stills), 6)
    later = batches(clips, beside(stills), 3, start=24, workers=1)
    ranks = [batches(clips, beside(stills), 6, batch=4, rank=rank, world=2) for rank in range(2)]
    for index, batch in enumerate(whole):
        for name, value in batch.items():
            assert index < 3 or torch.equal(later[index - 3][name], value)
            for rank, own in enumerate(ranks):
                assert torch.equal(own[index][name], value[rank::2])


def test_a_batch_without_images_has_no_field_of_them(clips, stills):
    images = ImageData(dataset=stills, share=share(0.05, batch=8), begin=0)
    present = ["image_frames" in batch for batch in batches(clips, images, 5)]
    assert present == [False, False, True, False, True]


def test_a_broken_image_ends_the_stream(clips, tmp_path):
    folder = make(tmp_path / "stills", lengths=(1, 1), seed=1)
    for frame in Path(folder).glob("*/*.png"):
        frame.write_bytes(frame.read_bytes()[:60])
    with pytest.raises(Exception, match="00000.png of .*stills is unreadable or truncated"):
        batches(clips, beside(ClipDataset(folder)), 1)
