"""The one registry of the numbers that name streams of random numbers, so that no two kinds of draws share a stream.

NumPy mixes all numbers of a key into the seed of a generator. Keys are

* [First, seed, ...] for what training draws from a dataset,
* [seed, Stream] or [seed, index, Stream, ...] for what follows from the seed that a user gives,
* (seed, iteration, index of the phase, Draws, number of the draw) for the fakes of training (`training.phases.Phase`).

A changed number changes every result that is drawn with it.
"""

from enum import IntEnum


class First(IntEnum):
    """Numbers with which the keys of training data begin.

    NumPy takes keys as words of 32 bits; no seed (up to 2 ** 63 - 1) begins with two words of which the upper is full,
    nor do seed and iteration. So these differ from all other keys.
    """

    PAIRS = 2**64 - 1
    EPOCHS = 2**64 - 2
    CAMERAS = 2**64 - 3
    BANK = 2**64 - 4
    IMAGES = 2**64 - 5  # beside clips: what PAIRS and EPOCHS are for those
    IMAGE_EPOCHS = 2**64 - 6
    COMPONENTS = 2**64 - 7  # latents of which principal components are those (`training.latent_components`)


class Draws(IntEnum):
    """Which clips of a batch of fakes the numbers are for."""

    CLIPS = 0
    STAND_INS = 1  # for clips of one frame (`training.fakes`)
    IMAGES = 2  # in the place of clips
    FRAMES = 3  # for some frames of a clip by themselves; their number follows (`training.chain_loss`)
    REVERSAL = 4  # for all of them at once: which way time runs


class Stream(IntEnum):
    """Numbers behind a user's seed, or behind the seed and the index of a video."""

    APPEARANCE = 0  # z
    MOTION = 1  # z_motion
    VIDEO_CAMERAS = 2  # of generated videos that are scored
    DATASET_CLIPS = 3  # of real videos that generated ones are compared with
    VIEW_TIMES = 4  # of the renders of ID, CD and WE
    CONTROLS = 5  # pose, diversity, motion; a `Control` follows
    FRAME_PAIRS = 6  # which two frames of a clip discriminators are asked about
    IDENTITY = 0x1D  # a procedural person
    EXPRESSIONS = 0x30  # the motion of a procedural person, and the cameras
    TEST_IDENTITY = 0x31  # the same two for people to test on, whom training never sees
    TEST_EXPRESSIONS = 0x32


class Control(IntEnum):
    """Numbers behind `Stream.CONTROLS`."""

    DIVERSITY = 0
    MOTION = 1
    POSE = 2
    POSE_LEARNING = 3  # procedural frames that the pose regressor learns from
    POSE_HELD_OUT = 4  # and those that it is tested on
    MOUTH_LEARNING = 5  # procedural frames that the mouth regressor learns from
    MOUTH_HELD_OUT = 6  # and the clips that it is tested on
    DEPTH = 7
    DEPTH_LEARNING = 8  # procedural frames that the depth regressor learns from
    DEPTH_HELD_OUT = 9  # and those that it is tested on
    MOTION_SHARE = 10
