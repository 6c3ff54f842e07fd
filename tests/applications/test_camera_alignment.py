"""applications.camera_alignment: closed forms, invariances, and what it refuses."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch

from applications.camera_alignment import Alignment, camera_alignment
from applications.frame_pairs import generated_pairs
from dnnlib.errors import UserError
from dnnlib.progress import Counter
from tests.helpers import tiny
from training.checkpoints.opener import Discriminators, load_discriminators, load_generator
from training.judged import Frames
from training.networks.discriminators import VideoDiscriminator
from training.sampling.options import SamplingOptions

pytestmark = pytest.mark.usefixtures("one_thread")

PAIRS = 10  # two groups of four, and two pairs more
POSITION = 3  # entry of a label: where the camera is from left to right
ROUNDING = 1e-6  # logits are about 0.1; the same ones may differ in their last bits, with the place in memory


def networks(**changes):
    nets = tiny.networks(tiny.config(**changes))
    return Discriminators(D_img=nets.D_img, D_vid=nets.D_vid)


@pytest.fixture(scope="module")
def discriminators():
    return networks()


@pytest.fixture(scope="module")
def pairs():
    return Frames(
        image=tiny.normal(0, 2 * PAIRS, 3, 32, 32).clamp(-1, 1),
        image_raw=tiny.normal(1, 2 * PAIRS, 3, 8, 8).clamp(-1, 1),
        times=tiny.uniform(2, PAIRS, 2).sort(dim=1).values,
        cameras=tiny.labels(3, 2 * PAIRS),
    )


def batches(pairs, sizes):
    """Return the first pairs in batches of these sizes."""
    parts = []
    start = 0
    for size in sizes:
        folded = slice(2 * start, 2 * (start + size))
        parts.append(
            Frames(
                image=pairs.image[folded],
                image_raw=pairs.image_raw[folded],
                times=pairs.times[start : start + size],
                cameras=pairs.cameras[folded],
            )
        )
        start += size
    return parts


def measure(discriminators, given):
    with Counter(None, unit="pair", silent=True) as counter:
        alignment = camera_alignment(discriminators, given, counter)
    assert counter.n == len(alignment.video.cosine) == len(alignment.video.margin)
    return alignment


def rows(alignment):
    """Return all numbers [4, N]."""
    return torch.stack([value for part in (alignment.video, alignment.image) for value in vars(part).values()])


# --- What is measured -------------------------------------------------------------------------------------------------


def test_numbers_are_those_of_the_definition(discriminators, pairs):
    """Of the first group, which the discriminators judge as they would a batch of four."""
    [four] = batches(pairs, [4])
    measured = rows(measure(discriminators, [pairs]))[:, :4]
    c_i, c_j = four.cameras[0::2], four.cameras[1::2]
    D = discriminators.D_vid
    x = D.assemble(four.image, four.times)
    right, wrong = torch.cat([c_i, c_j], dim=1), torch.cat([c_j, c_i], dim=1)
    a, b = D.mapping(right), D.mapping(wrong)
    expected = [(a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1)), (D.logits(x, right) - D.logits(x, wrong))[:, 0]]
    D = discriminators.D_img
    a, b = D.mapping(c_i), D.mapping(c_j)
    frames = four.image[0::2], four.image_raw[0::2]
    expected += [(a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1)), (D(*frames, c_i) - D(*frames, c_j))[:, 0]]
    torch.testing.assert_close(measured, torch.stack(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sizes", [[1] * PAIRS, [3, 3, 4], [4, 4, 2], [7, 3], [2, 0, 8]])
def test_batches_do_not_matter(discriminators, pairs, sizes):
    whole = measure(discriminators, [pairs])
    divided = measure(discriminators, batches(pairs, sizes))
    torch.testing.assert_close(rows(divided), rows(whole), rtol=0, atol=ROUNDING)


def test_which_pairs_are_judged_together_matters(discriminators, pairs):
    """So that the invariance above says something."""
    alone = measure(discriminators, batches(pairs, [1]))
    together = measure(discriminators, batches(pairs, [4]))
    for part in ("video", "image"):
        assert (getattr(alone, part).margin - getattr(together, part).margin[:1]).abs() > 100 * ROUNDING


def test_the_last_pairs_are_judged_in_a_whole_group(discriminators, pairs):
    last_four = Frames(
        image=pairs.image[-8:], image_raw=pairs.image_raw[-8:], times=pairs.times[-4:], cameras=pairs.cameras[-8:]
    )
    whole, alone = rows(measure(discriminators, [pairs])), rows(measure(discriminators, [last_four]))
    torch.testing.assert_close(whole[:, -2:], alone[:, -2:], rtol=0, atol=ROUNDING)


def test_fewer_pairs_than_a_group_are_judged_together(discriminators, pairs):
    assert rows(measure(discriminators, batches(pairs, [1, 2]))).isfinite().all()
    assert len(measure(discriminators, batches(pairs, [1])).video.margin) == 1


def test_equal_cameras_cannot_be_told_apart(discriminators, pairs):
    alike = pairs.cameras[0::2].repeat_interleave(2, dim=0)
    alignment = measure(discriminators, [replace(pairs, cameras=alike)])
    for part in (alignment.video, alignment.image):
        assert part.cosine.tolist() == pytest.approx([1] * PAIRS, abs=ROUNDING)
        assert part.margin.tolist() == pytest.approx([0] * PAIRS, abs=ROUNDING)


def test_swapped_cameras_swap_right_and_wrong(discriminators, pairs):
    alignment = measure(discriminators, [pairs])
    swapped = measure(
        discriminators, [replace(pairs, cameras=pairs.cameras.unflatten(0, (-1, 2)).flip(1).flatten(0, 1))]
    )
    for part in ("video", "image"):
        torch.testing.assert_close(getattr(swapped, part).cosine, getattr(alignment, part).cosine)
        torch.testing.assert_close(getattr(swapped, part).margin, -getattr(alignment, part).margin)
        assert getattr(alignment, part).margin.abs().min() > 0


def test_a_discriminator_that_ignores_the_order_has_cosine_one(pairs):
    nets = networks()
    embed = nets.D_vid.mapping.embed
    embed.weight.data[:, 25:] = embed.weight.data[:, :25]
    alignment = measure(nets, [pairs])
    assert alignment.video.cosine.tolist() == pytest.approx([1] * PAIRS, abs=ROUNDING)
    assert alignment.video.margin.abs().max() < 1e-5
    assert alignment.image.margin.abs().max() > 1e-4  # which knows no order


class Exact(VideoDiscriminator):
    """A discriminator of frames whose every pixel says where their camera is: minus how far it is from there."""

    def forward(self, x, camera):
        said = x[:, :6].unflatten(1, (2, 3)).mean(dim=(2, 3, 4))
        return -(said - camera[:, POSITION].unflatten(0, (-1, 2))).abs().sum(dim=1, keepdim=True)


def test_a_discriminator_that_knows_the_cameras_always_prefers_the_right_order(pairs):
    position = pairs.cameras[:, POSITION]
    frames = replace(pairs, image=position[:, None, None, None].expand(-1, 3, 32, 32))
    alignment = measure(Discriminators(D_img=None, D_vid=Exact(32, tiny.config().discriminator)), [frames])
    expected = 2 * position.unflatten(0, (-1, 2)).diff(dim=1).abs().squeeze(1)
    torch.testing.assert_close(alignment.video.margin, expected, rtol=0, atol=ROUNDING)
    assert alignment.video.summary()["right_share"] == 1


def test_the_image_discriminator_may_be_missing(pairs):
    alignment = measure(networks(discriminator__image=False), [pairs])
    assert alignment.image is None
    assert alignment.summary()["image"] is None
    assert list(alignment.charts()) == ["video"]


# --- Summary, pictures, errors ----------------------------------------------------------------------------------------


def test_the_summary_has_means_deviations_and_the_share_of_right_ones():
    part = Alignment(cosine=torch.tensor([1.0, 0.5, 0.0, 0.5]), margin=torch.tensor([3.0, -1.0, 0.0, 2.0]))
    assert part.summary() == pytest.approx(
        {
            "cosine_mean": 0.5,
            "cosine_std": 0.125**0.5,
            "margin_mean": 1.0,
            "margin_std": 2.5**0.5,
            "right_share": 0.5,
        }
    )


def test_a_snapshot_is_measured_from_its_file(snapshot):
    stored = load_generator(snapshot)
    options = SamplingOptions(frames_per_batch=6)
    given = generated_pairs(stored.G, stored.camera_bank, count=5, seed=0, options=options)
    alignment = measure(load_discriminators(snapshot), given)
    summary = json.loads(json.dumps(alignment.summary(), allow_nan=False))
    assert summary["pairs"] == 5
    assert summary["video"].keys() == summary["image"].keys()
    for name, svg in alignment.charts().items():
        title = ElementTree.fromstring(svg).findtext("{http://www.w3.org/2000/svg}title")
        assert title.lower().startswith(f"{name} discriminator")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"discriminator__video": False}, "no video discriminator.* without --no-video-discriminator"),
        ({"discriminator__video_cameras": False}, "not told any cameras.* without --no-video-cameras"),
    ],
)
def test_discriminators_without_cameras_of_pairs_are_refused(pairs, changes, message):
    with pytest.raises(UserError, match=message):
        measure(networks(**changes), [pairs])


def test_no_pairs_are_refused(discriminators):
    with pytest.raises(UserError, match="no pairs of frames"):
        measure(discriminators, [])
