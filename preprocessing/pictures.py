"""Pictures of how a clip came about, for the report: landmarks on the video, the fitted head on the crops."""

import functools
import io
from collections.abc import Sequence

import cv2
import numpy as np
import PIL.Image
from scipy.spatial import Delaunay

from preprocessing.head_model import head_model
from preprocessing.records import INNER
from training.cameras import FOCAL

TILE_SIDE = 240  # pixels of a frame in a sheet
FOUND = (255, 86, 48)  # landmarks as they were found: orange
SMOOTH = (64, 255, 128)  # after the low-pass: green
MESH = (255, 255, 255)
AXES = ((255, 80, 80), (90, 230, 90), (90, 150, 255))  # the head's x, y and z
AXIS_LENGTH = 0.22  # in the world's units
SHARP = 4  # bits of a pixel's parts in OpenCV's drawing
QUALITY = 85  # of the JPEG


def contact_sheet(frames: Sequence[np.ndarray], found: np.ndarray, smooth: np.ndarray) -> bytes:
    """Return a JPEG of cut-outs of a video side by side, with their landmarks before and after the low-pass.

    Args:
        frames: uint8 [S, S, 3] each.
        found, smooth: [n, 68, 2] in pixels of the cut-outs; NaN where a face was not found.
    """
    tiles = []
    for frame, before, after in zip(frames, found, smooth, strict=True):
        tile, scale = _tile(frame)
        for points, colour, radius in ((before, FOUND, 2.2), (after, SMOOTH, 1.2)):
            if np.isfinite(points).all():
                for point in points * scale:
                    cv2.circle(tile, _fine(point), round(radius * 2**SHARP), colour, -1, cv2.LINE_AA, SHARP)
        tiles.append(tile)
    return _jpeg(tiles)


def crop_sheet(
    crops: Sequence[np.ndarray],
    shape: np.ndarray,
    rotations: np.ndarray,
    translations: np.ndarray,
) -> bytes:
    """Return a JPEG of crops side by side, with the fitted face as a mesh and the head's axes as its camera sees them.

    Args:
        crops: uint8 [S, S, 3] each.
        shape: [68, 3] in the world.
        rotations, translations: [n, 3, 3] and [n, 3] to the camera's axes.
    """
    tiles = []
    nose = shape[INNER][13]  # its tip, where the axes begin
    for crop, rotation, translation in zip(crops, rotations, translations, strict=True):
        tile, _ = _tile(crop)
        points = _project(shape[INNER], rotation, translation)
        overlay = tile.copy()
        for one, other in _edges():
            cv2.line(overlay, _fine(points[one]), _fine(points[other]), MESH, 1, cv2.LINE_AA, SHARP)
        tile = cv2.addWeighted(overlay, 0.6, tile, 0.4, 0)
        start = _project(nose[None], rotation, translation)[0]
        for axis, colour in zip(np.eye(3), AXES, strict=True):
            end = _project((nose + AXIS_LENGTH * axis)[None], rotation, translation)[0]
            cv2.arrowedLine(tile, _fine(start), _fine(end), colour, 2, cv2.LINE_AA, SHARP, 0.15)
        tiles.append(tile)
    return _jpeg(tiles)


@functools.cache
def _edges() -> tuple[tuple[int, int], ...]:
    """Return the edges of a mesh of the inner landmarks: Delaunay's triangles of the mean face from the front."""
    triangles = Delaunay(head_model("dlib").shape[INNER][:, :2]).simplices
    pairs = {tuple(sorted((triangle[i], triangle[(i + 1) % 3]))) for triangle in triangles.tolist() for i in range(3)}
    return tuple((one, other) for one, other in sorted(pairs))


def _project(points: np.ndarray, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Return where points of the world [N, 3] are in a tile, [N, 2] in pixels."""
    seen = points @ rotation.T + translation
    return FOCAL * TILE_SIDE * seen[:, :2] / seen[:, 2:] + (TILE_SIDE - 1) / 2


def _tile(frame: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a frame as large as a tile, to draw on, and by how much it was scaled."""
    tile = cv2.resize(frame, (TILE_SIDE, TILE_SIDE), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(tile), TILE_SIDE / frame.shape[0]


def _fine(point: np.ndarray) -> tuple[int, int]:
    """Return a point as OpenCV draws it, in parts of a pixel; far outside points stay where its integers reach."""
    x, y = np.clip(np.round(point * 2**SHARP), -(2**24), 2**24).astype(int)
    return int(x), int(y)


def _jpeg(tiles: Sequence[np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.concatenate(tiles, axis=1)).save(buffer, format="jpeg", quality=QUALITY)
    return buffer.getvalue()
