"""What datasets can be made from, as plain values: options of commands name them, so this module does without torch."""

from training.data.streams import Stream

POSES = ("world2cam", "cam2world")  # what the R and t of a file of cameras are

# Of procedural heads.
YAW_RANGE = 0.45  # radians either side of the frontal camera, unless said otherwise
MAX_YAW = 75  # degrees either side at which cameras see nothing of the room outside the box
# Streams of people and of their motions; no seed brings somebody of one split into another.
SPLITS = {
    "train": (Stream.IDENTITY, Stream.EXPRESSIONS),
    "test": (Stream.TEST_IDENTITY, Stream.TEST_EXPRESSIONS),
}
