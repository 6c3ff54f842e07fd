"""Pictures of a clip: the mesh lies on the face that the camera sees, and dots are where landmarks were found."""

import numpy as np

from preprocessing.head_model import head_model
from preprocessing.head_pose import FRONTAL
from preprocessing.pictures import FOUND, SMOOTH, TILE_SIDE, contact_sheet, crop_sheet
from training.cameras import FOCAL, RADIUS
from training.data.frames import decode_frame

MIDDLE = (TILE_SIDE - 1) / 2
GREY = np.full([TILE_SIDE, TILE_SIDE, 3], 128, dtype=np.uint8)
MISSING = np.full([1, 68, 2], np.nan)


def test_the_mesh_lies_where_the_camera_sees_the_face():
    black = np.zeros([TILE_SIDE, TILE_SIDE, 3], dtype=np.uint8)
    shape = head_model("dlib").shape
    data = crop_sheet([black], shape, FRONTAL[None], np.array([[0, 0, RADIUS]]))
    drawn = decode_frame(data).max(axis=0) > 60
    rows, columns = np.nonzero(drawn)
    brow = MIDDLE - FOCAL * TILE_SIDE * shape[17:27, 1].max() / (RADIUS - shape[19, 2])
    assert abs(columns.min() - MIDDLE + FOCAL * TILE_SIDE * shape[26, 0] / (RADIUS - shape[26, 2])) < 4
    assert rows.min() <= brow + 4


def test_faces_that_were_not_found_have_no_dots():
    picture = decode_frame(contact_sheet([GREY], MISSING, MISSING))
    assert np.ptp(picture) < 3


def test_dots_are_where_landmarks_are_in_a_colour_of_their_own():
    """All landmarks at one point, of frames of twice a tile's side: what is drawn is around half of it."""
    frame = np.full([2 * TILE_SIDE, 2 * TILE_SIDE, 3], 128, dtype=np.uint8)
    points = np.full([1, 68, 2], (120.0, 300.0))
    for found, smooth, colour in ((points, MISSING, FOUND), (MISSING, points, SMOOTH)):
        picture = decode_frame(contact_sheet([frame], found, smooth)).astype(int)
        changed = abs(picture - 128).max(axis=0) > 40
        rows, columns = np.nonzero(changed)
        assert abs(columns.mean() - 60) < 1 and abs(rows.mean() - 150) < 1
        assert abs(picture[:, 150, 60] - colour).max() < 90, "about the colour, as far as a JPEG holds it in a dot"


def test_frames_stand_side_by_side():
    dark, bright = np.zeros_like(GREY), np.full_like(GREY, 255)
    none = np.concatenate([MISSING, MISSING])
    picture = decode_frame(contact_sheet([dark, bright], none, none))
    assert picture.shape == (3, TILE_SIDE, 2 * TILE_SIDE)
    assert picture[:, :, : TILE_SIDE - 8].max() < 8 and picture[:, :, TILE_SIDE + 8 :].min() > 247
