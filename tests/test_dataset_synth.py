"""dataset_tool.py synth: the clips that it says, whoever draws them, in splits and from how far round."""

import numpy as np

from tests.helpers.dataset_command import done, synth
from training import synthetic
from training.data.dataset import ClipDataset
from training.synthetic.job import SEED_STRIDE


def test_synth_makes_the_clips_it_says(tmp_path):
    assert "2 clips, 32 frames of 16 x 16 pixels, 2 people" in synth(tmp_path / "heads.zip")
    dataset = ClipDataset(tmp_path / "heads.zip")
    first, second = dataset.clips
    assert (first.name, second.name) == ("00000", "00001")
    clip = synthetic.render_clip(0 * SEED_STRIDE + 1, 16, 16)
    assert np.array_equal(dataset.read_frame(1, 7), clip.frames[7])
    assert np.array_equal(second.cameras, clip.cameras)
    assert second.fps == 25
    assert first.identity != second.identity


def test_synth_is_the_same_for_any_workers_and_container(tmp_path):
    synth(tmp_path / "one.zip")
    synth(tmp_path / "two", "--workers", 2, "--depth")
    synth(tmp_path / "other.zip", "--seed", 1)
    one = ClipDataset(tmp_path / "one.zip")
    two = ClipDataset(tmp_path / "two")
    other = ClipDataset(tmp_path / "other.zip")
    assert one.fingerprint() == two.fingerprint() != other.fingerprint()
    for clip in range(2):
        for frame in range(16):
            assert np.array_equal(one.read_frame(clip, frame), two.read_frame(clip, frame))
    depth = synthetic.render_clip(0, 16, 16).depth
    error = np.abs(two.read_depth(0, 3) - depth[3])
    assert error.max() < 2e-5
    done("check", tmp_path / "two", "--workers", 1)


def test_synth_splits_share_nobody(tmp_path):
    synth(tmp_path / "unsaid.zip")
    synth(tmp_path / "train.zip", "--split", "train")
    assert "2 people" in synth(tmp_path / "test.zip", "--split", "test")
    synth(tmp_path / "again.zip", "--split", "test")
    unsaid, train, test, again = (
        ClipDataset(tmp_path / f"{name}.zip") for name in ("unsaid", "train", "test", "again")
    )
    assert unsaid.fingerprint() == train.fingerprint() != test.fingerprint() == again.fingerprint()
    assert {clip.identity for clip in train.clips} == {"0-00000", "0-00001"}
    assert {clip.identity for clip in test.clips} == {"test-0-00000", "test-0-00001"}
    clip = synthetic.render_clip(1, 16, 16, split="test")
    assert np.array_equal(test.read_frame(1, 7), clip.frames[7])


def test_synth_goes_as_far_round_as_it_says(tmp_path):
    """And the summary tells how far, as `--yaw-range` counts: by where cameras stand."""
    said = synth(tmp_path / "wide.zip", "--yaw-range", 52)
    usual = synthetic.render_clip(0, 16, 16)
    wide = synthetic.render_clip(0, 16, 16, yaw_range=np.radians(52))
    dataset = ClipDataset(tmp_path / "wide.zip")
    assert np.array_equal(dataset.clips[0].cameras, wide.cameras)
    assert wide.identity == usual.identity and not np.array_equal(wide.cameras, usual.cameras)
    assert dataset.clips[0].identity == "0-00000"
    positions = np.concatenate([clip.cameras for clip in dataset.clips])[:, [3, 7, 11]]
    yaw = np.degrees(np.arctan2(positions[:, 0], positions[:, 2]))
    assert np.abs(yaw).max() > 26
    assert f"camera yaw {yaw.min():.0f} to {yaw.max():.0f} degrees" in said
