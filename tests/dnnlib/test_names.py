"""The order of names, and which names are left out."""

import itertools
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from dnnlib.names import frame_numbers, is_leftover, is_order_doubtful, listed, natural_key, plain


def test_numbers_are_numbers():
    names = [f"{number}.png" for number in range(120)]
    assert sorted(sorted(names), key=natural_key) == names


@pytest.mark.parametrize(
    "names",
    [
        ["a-/0.png", "a.b/0.png", "a/0.png", "a0/0.png", "a:/0.png", "aB/0.png", "ab/0.png"],
        ["a2", "a10", "a10b", "b1"],
        ["01", "1", "002", "2", "10"],  # equal numbers: as text
        ["clip 9/frame 10", "clip 10/frame 9"],
        ["", "0", "9", "a"],
    ],
)
def test_order(names):
    shuffled = np.random.default_rng(1).permutation(names).tolist()
    assert sorted(shuffled, key=natural_key) == names


def test_padded_names_keep_the_order_of_their_text():
    rng = np.random.default_rng(0)
    characters = list("-._/ABZab~é 7")
    names = []
    for number in rng.permutation(2000):
        filling = "".join(rng.choice(characters[:-1], 3))
        names.append(f"{filling}{number:05d}{rng.choice(characters[:-1])}.png")
    assert sorted(names, key=natural_key) == sorted(names)


def test_a_number_longer_than_pythons_limit():
    long = "9" * 5000
    assert sorted([f"{long}1", long, "3"], key=natural_key) == ["3", long, f"{long}1"]


def test_other_scripts_digits_are_no_digits():
    assert sorted(["²", "٣", "1"], key=natural_key) == ["1", "²", "٣"]


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["00000.png", "00002.png", "00001.png"], [0, 2, 1]),
        (["9", "10", "010"], [9, 10, 10]),
        (["id7/frame 3 of 20.png", "id7/frame 12 of 20.png"], [3, 12]),
        (["frame.0001", "frame.0002"], [1, 2]),
        (["x4_5.jp2"], [5]),
        (["3.png", "3.jpg"], [3, 3]),
        (["a", "b"], None),
        (["a1", "b2"], None),
        (["1_1", "2_2"], None),
        (["1", "x"], None),
        (["1", "x1"], None),
        (["9" * 5000, "1"], None),
    ],
)
def test_numbers_of_frames(names, numbers):
    assert frame_numbers(names) == numbers


@pytest.mark.parametrize(
    "names",
    [
        ["-1.png", "0.png", "1.png"],
        ["0.05.png", "0.1.png", "0.15.png"],
        ["0.png", "0.5.png", "1.png"],
        ["IMG_1.png", "img_2.png"],
        ["front.png", "side.png"],
        ["0.png", "0_mask.png"],
        ["0.png", "0.jpg"],
        ["9.png", "a.png"],
    ],
)
def test_names_that_do_more_than_number_frames(names):
    assert is_order_doubtful(names)


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["x.png"],
        ["0.png", "1.PNG", "10.jpg"],
        ["f-1.png", "f-10.png"],
        ["0 front.png", "1 side.png"],
        ["0.5.png", "1.25.png"],
        ["00:59.96.png", "01:00.00.png"],
        ["id1.5/clip_2_frame_9.png", "id1.5/clip_2_frame_10.png"],
        ["17900000000000000000.png", "17900000000000000040.png"],
    ],
)
def test_names_that_just_number_frames(names):
    assert not is_order_doubtful(names)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b.png", "a/b.png"),
        ("./a//b.png", "a/b.png"),
        ("a/./b.png", "a/b.png"),
        ("a/", "a"),
        ("a/../b", "a/../b"),
        ("/a", "/a"),
        ("", ""),
        ("e\u0301.png", "\u00e9.png"),
        ("\ud800", "\ud800"),
        ("cl\udcc3\udcafp/0.png", "cl\u00efp/0.png"),
        ("e\udccc\udc81", "\u00e9"),
        ("\udcff.png", "\udcff.png"),
    ],
)
def test_plain_names(name, expected):
    assert plain(name) == expected


def test_plain_names_are_those_of_the_standard_library():
    for length in range(1, 7):
        for characters in itertools.product("a./", repeat=length):
            name = "".join(characters)
            assert plain(name) == PurePosixPath(name).as_posix()


@pytest.mark.parametrize(
    "name",
    ["._x.png", "a/._x.png", "__MACOSX/a/x.png", ".DS_Store", "Thumbs.db", "a/thumbs.db", "desktop.ini", ".git/x.png"],
)
def test_leftovers(name):
    assert is_leftover(name)
    assert is_leftover(Path(name))


@pytest.mark.parametrize("name", ["x.png", "a.b/x..png", "MACOSX/x.png", "my thumbs.db/x.png"])
def test_data(name):
    assert not is_leftover(name)


def test_listed():
    assert listed(["b/10.png", ".DS_Store", "b/9.png", "a/._1.png", "a/1.png"]) == ["a/1.png", "b/9.png", "b/10.png"]
