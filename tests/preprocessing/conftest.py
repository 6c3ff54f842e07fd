"""Videos of procedural people for the tests of preprocessing."""

from pathlib import Path

import numpy as np
import pytest

from dnnlib.video import write_video
from preprocessing import alignment
from training.synthetic import render_clip

FACE_SIDE = 224  # pixels of a pasted person
FRAMES = 20
SIZE = (288, 620)  # height and width of the video
FPS = 25.0


@pytest.fixture(scope="session")
def people() -> list[np.ndarray]:
    """Two procedural people, uint8 [F, H, W, 3] each."""
    return [render_clip(seed, FACE_SIDE, FRAMES, FPS).frames.transpose(0, 2, 3, 1) for seed in (0, 5)]


@pytest.fixture(scope="session")
def pasted(people) -> np.ndarray:
    """Both side by side on grey, uint8 [F, H, W, 3]: the left one moves, rolls and grows, the right one sways."""
    frames = np.full([FRAMES, *SIZE, 3], 90, dtype=np.uint8)
    for number in range(FRAMES):
        phase = number / FRAMES
        left = similarity(0.95 + 0.15 * phase, 0.25 * np.sin(6 * phase), 150 + 25 * phase, 140 + 8 * np.sin(9 * phase))
        right = similarity(1.0, -0.1 * phase, 460 + 10 * np.sin(7 * phase), 145)
        for person, place in zip(people, (left, right), strict=True):
            paste(frames[number], person[number], place)
    return frames


@pytest.fixture(scope="session")
def conversation(pasted, tmp_path_factory) -> Path:
    """A folder with the video of both."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "two people.mp4", pasted, FPS)
    return folder


def similarity(scale: float, roll: float, x: float, y: float, side: int = FACE_SIDE) -> np.ndarray:
    """Return the map [2, 3] that brings a person's picture to a place in the video, middle to (x, y)."""
    turn = scale * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    middle = np.full(2, (side - 1) / 2)
    return np.concatenate([turn, ([x, y] - turn @ middle)[:, None]], axis=1)


def paste(frame: np.ndarray, picture: np.ndarray, place: np.ndarray) -> None:
    """Draw a picture into a frame, in place."""
    rows, columns = np.mgrid[0 : frame.shape[0], 0 : frame.shape[1]]
    points = np.stack([columns.ravel(), rows.ravel()], axis=1)[None].astype(float)
    source = alignment.apply(alignment.invert(place[None]), points)[0]
    inside = ((source > 0) & (source < len(picture) - 1)).all(axis=1)
    whole = source[inside].astype(int)
    part = (source[inside] - whole)[:, :, None]
    x, y = whole.T
    picture = picture.astype(float)
    top = picture[y, x] * (1 - part[:, 0]) + picture[y, x + 1] * part[:, 0]
    bottom = picture[y + 1, x] * (1 - part[:, 0]) + picture[y + 1, x + 1] * part[:, 0]
    pixels = top * (1 - part[:, 1]) + bottom * part[:, 1]
    frame.reshape(-1, 3)[inside] = pixels.round().astype(np.uint8)
