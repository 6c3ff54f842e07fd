"""The order of names, and which names are left out."""

from pathlib import Path

import numpy as np
import pytest

from dnnlib.names import is_leftover, listed, natural_key


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
