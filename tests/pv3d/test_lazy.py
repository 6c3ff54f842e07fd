"""`import pv3d` is cheap: what is in it is imported when it is first used."""

import subprocess
import sys

import pytest

import pv3d
from tests.helpers.imports import ROOT


def test_importing_it_imports_no_torch():
    script = "import sys, pv3d; before = 'torch' in sys.modules; pv3d.load; print(before, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_all_that_is_named_is_there():
    assert set(pv3d.__all__) == set(pv3d._HOMES) and set(pv3d.__all__) <= set(dir(pv3d))
    for name in pv3d.__all__:
        assert getattr(pv3d, name).__name__ == name
        assert name in vars(pv3d), "found at once from the second time on"
    with pytest.raises(AttributeError, match="module 'pv3d' has no attribute 'laod'"):
        _ = pv3d.laod
