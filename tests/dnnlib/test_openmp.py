"""OpenMP's threads do not spin for long, unless the user says so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOW = "import {}, os; print(os.environ.get('GOMP_SPINCOUNT'))"


@pytest.mark.parametrize(
    "given, expected", [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
def test_the_setting_is_there_and_the_user_s_goes_first(given, expected):
    quiet = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", SHOW.format("dnnlib.openmp")],
        cwd=ROOT,
        env=quiet | given,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected


@pytest.mark.parametrize(
    "command",
    ["train.py", "gen_videos.py", "edit_videos.py", "calc_metrics.py", "dataset_tool.py", "benchmarks/phases.py"],
)
def test_commands_import_it_before_everything_that_loads_torch(command):
    lines = [
        line
        for line in (ROOT / command).read_text(encoding="utf-8").splitlines()
        if line.startswith(("import ", "from ")) and line not in ("import sys", "from pathlib import Path")
    ]
    assert lines[0].startswith("from dnnlib import openmp")
