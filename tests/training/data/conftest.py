"""Datasets of noise for the tests of this folder."""

import shutil
from pathlib import Path

import pytest

from tests.helpers import noise


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """A dataset of noise that no test changes."""
    return noise.make(tmp_path_factory.mktemp("data") / "clips")


@pytest.fixture
def folder(clips, tmp_path) -> Path:
    """A copy of the dataset, to damage."""
    return Path(shutil.copytree(clips, tmp_path / "clips"))
