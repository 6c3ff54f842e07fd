"""training.fakes: the same fakes however they are divided; clips of one frame have stand-ins among the others."""

import numpy as np
import pytest
import torch

from benchmarks.counting import Counting
from benchmarks.meta_gpu import as_on_a_gpu
from benchmarks.roofline import GPUS
from tests.helpers import tiny
from torch_utils.random_numbers import normal
from training.cameras import frontal_label
from training.fakes import Fakes, FakeSource

BATCH = 8
KEY = (3, 5, 0)
WHOLE = slice(None)


def source(*lengths: int, **changes) -> FakeSource:
    """Return the source of fakes with cameras of clips of these lengths; a camera's 12th number is its clip's."""
    sequences = []
    for clip, length in enumerate(lengths):
        sequence = frontal_label().expand(length, -1).numpy().copy()
        sequence[:, 11] = clip
        sequences.append(sequence)
    options = tiny.config(training__batch=BATCH, training__mirror=False, **changes)
    return FakeSource(sequences, options, torch.device("cpu"))


def clips_of(fakes: Fakes) -> list[int]:
    """Return which clips the cameras are of."""
    assert torch.equal(fakes.cameras[:, 0, 11], fakes.cameras[:, 1, 11])
    return fakes.cameras[:, 0, 11].int().tolist()


def assert_same(first: Fakes, second: Fakes) -> None:
    for name in ("z", "z_motion", "times", "cameras", "others"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    draws = [normal([len(fakes.random), 3], fakes.random, torch.device("cpu")) for fakes in (first, second)]
    assert torch.equal(*draws)


@pytest.mark.parametrize("lengths", [(20, 5, 16), (1, 1)])
def test_clips_of_one_kind_need_no_stand_ins(lengths):
    assert source(*lengths).draw(KEY, WHOLE).stand_ins is None


def test_clips_of_one_frame_have_stand_ins_of_several():
    seen = set()
    for iteration in range(20):
        fakes = source(1, 20, 1, 4).draw((3, iteration, 0), WHOLE)
        assert fakes.stills() == [row for row, clip in enumerate(clips_of(fakes)) if clip in (0, 2)]
        assert fakes.stand_ins.stills() == []
        seen |= set(clips_of(fakes.stand_ins))
        assert not set(fakes.z.flatten().tolist()) & set(fakes.stand_ins.z.flatten().tolist()), "codes of their own"
    assert seen == {1, 3}


def test_a_window_of_one_frame_has_no_stand_ins():
    fakes = source(1, 20, training__window=1).draw(KEY, WHOLE)
    assert fakes.stand_ins is None
    assert (fakes.times == 0).all()


def test_no_clip_makes_the_host_wait():
    """Which clips are stills is known before times are on the device."""
    fakes = source(1, 20, 1, 4)
    fakes.device = torch.device("meta")
    counting = Counting(GPUS["h200"])
    with as_on_a_gpu(counting), counting:
        drawn = fakes.draw(KEY, WHOLE)
        drawn.stand_ins.rows(drawn.stills())
    assert drawn.times.device.type == "meta" and drawn.stills() and not counting.waits


def test_fakes_do_not_depend_on_their_division():
    fakes = source(1, 20, 1, 4)
    whole = fakes.draw(KEY, WHOLE)
    for own in (slice(0, None, 2), slice(1, None, 2)):
        part = fakes.draw(KEY, own)
        assert_same(part, whole.rows(own))
        assert_same(part.stand_ins, whole.stand_ins.rows(own))
    some = [2, 5]
    assert whole.rows(some).stills() == [place for place, row in enumerate(some) if row in whole.stills()]
    assert np.array_equal(whole.rows(some).stand_ins.times, whole.stand_ins.times[some])
