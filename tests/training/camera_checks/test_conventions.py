"""Sets in wrong conventions are found and named; the cure that is named makes them right."""

import numpy as np
import pytest

from tests.helpers.camera_sets import (
    BACKWARD,
    LEFT_UP,
    OPENGL,
    Z_UP,
    fitted,
    halved,
    orbit,
    procedural,
    written,
)
from training.camera_checks import conventions
from training.camera_checks.judgement import judge
from training.camera_checks.views import matrices

SETS = {
    "procedural": procedural(),
    "one clip": procedural(1),
    "half the turns": halved(),
    "fitted": fitted(),
    "fitted, half the turns": fitted(amplitude=0.5),
    "level": orbit(0.4, 30),
}
WRONG = [
    ({"axes": OPENGL}, "OpenGL camera axes (y up, z backward): negate columns 2 and 3 of each 4 x 4 matrix"),
    ({"inverted": True}, "world2cam matrices: invert each 4 x 4 matrix"),
    ({"world": OPENGL}, "a world with y down: negate rows 2 and 3 of each 4 x 4 matrix"),
    ({"world": BACKWARD}, "a world where faces look along -z: negate rows 1 and 3 of each 4 x 4 matrix"),
    ({"world": Z_UP}, "a world with z up: negate row 2 of each 4 x 4 matrix and swap it with row 3"),
    ({"axes": LEFT_UP}, "camera axes with x left and y up: negate columns 1 and 2 of each 4 x 4 matrix"),
    ({"side": 512}, "intrinsics in pixels: divide the first two rows of intrinsics by the picture's side, 512"),
    ({"axes": OPENGL, "side": 64}, "OpenGL camera axes (y up, z backward) and intrinsics in pixels: "),
    ({"axes": OPENGL, "inverted": True}, "world2cam matrices and OpenGL camera axes (y up, z backward): invert"),
    ({"world": OPENGL, "inverted": True}, "world2cam matrices and a world with y down: "),
    ({"world": OPENGL, "axes": OPENGL}, "OpenGL camera axes (y up, z backward) and a world with y down: "),
    ({"world": Z_UP, "axes": OPENGL}, "OpenGL camera axes (y up, z backward) and a world with z up: "),
    ({"world": OPENGL, "inverted": True, "side": 512}, "world2cam matrices and a world with y down and intrinsics"),
]


@pytest.mark.parametrize("labels", SETS.values(), ids=SETS)
@pytest.mark.parametrize("how, name", WRONG)
def test_wrong_conventions_are_named(labels, how, name):
    wrong = written(labels, **how)
    assert judge(wrong).convention.startswith(name)
    warning = judge(wrong).warning("heads.zip")
    assert f" of {len(labels)} cameras of heads.zip look wrong, " in warning and "\n" not in warning


@pytest.mark.parametrize("labels", SETS.values(), ids=SETS)
def test_our_convention_is_not(labels):
    assert judge(labels).warning("heads.zip") is None


@pytest.mark.parametrize("label", [orbit(0, 1), orbit(0.6, 2)[1:]], ids=["frontal", "turned"])
@pytest.mark.parametrize("how, name", [WRONG[i] for i in (0, 2, 4, 5, 6, 7)])
def test_one_camera_shows_most_conventions(label, how, name):
    """All but world2cam, of which more below, and faces along -z: it may really stand behind the head."""
    assert judge(label).warning("a") is None
    assert judge(written(label, **how)).convention.startswith(name)


def test_one_camera_shows_world2cam_if_it_is_turned():
    """A frontal matrix is its own inverse."""
    assert judge(written(orbit(0.6, 2)[1:], inverted=True)).convention.startswith("world2cam")
    frontal = orbit(0, 1)
    assert np.allclose(written(frontal, inverted=True), frontal, atol=1e-6)


def test_a_set_shows_world2cam_where_no_camera_does():
    """Cameras of small turns: read as cam2world, all stand at one place, and each sees the head."""
    judgement = judge(written(orbit(0.1, 20), inverted=True))
    assert judgement.faults == [] and judgement.convention.startswith("world2cam")
    assert "20 of 20 cameras of a look wrong, as a set they do not face the head: likely" in judgement.warning("a")


def test_a_part_in_another_convention_is_named():
    part = judge(np.concatenate([procedural(6), written(procedural(1), axes=OPENGL)]))
    assert part.convention.startswith("OpenGL")
    assert "16 of 112 cameras of a look wrong, the head is behind the camera: likely OpenGL" in part.warning("a")


def test_one_camera_astray_says_nothing_of_a_convention():
    labels = procedural()
    labels[50] = written(labels[50:51], axes=OPENGL)[0]
    judgement = judge(labels)
    assert judgement.convention == "" and "1 of 96 cameras of a look wrong" in judgement.warning("a")


def test_each_convention_is_undone():
    """What a convention means is tested from the other side: written by hand above, read back here."""
    labels = fitted(2, 10)
    made = {"OURS": {}, "invert": {"inverted": True}, "columns 2 and 3": {"axes": OPENGL}, "row 2 ": {"world": Z_UP}}
    for cure, how in made.items():
        pose, _ = matrices(written(labels, **how))
        found = [changes for changes in conventions.CONVENTIONS if [c.cure for c in changes if cure in c.cure]]
        changes = found[0] if found else conventions.CONVENTIONS[0]
        assert np.allclose(conventions.rewritten(pose, *changes), matrices(labels)[0], atol=1e-5)
