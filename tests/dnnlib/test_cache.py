"""Where the cache lies."""

from pathlib import Path

import pytest

from dnnlib.cache import cache_root


@pytest.mark.parametrize(
    "setting, folder",
    [("", "home/.cache/pv3d"), ("~/kept", "home/kept"), ("/scratch/kept", "/scratch/kept"), ("kept", "kept")],
)
def test_root(monkeypatch, setting, folder):
    monkeypatch.setenv("HOME", "home")
    monkeypatch.setenv("PV3D_CACHE_DIR", setting)
    assert cache_root() == Path(folder)
