"""Calls of dataset_tool.py from tests, in this process."""

from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

import dataset_tool
from training.data.frames import encode_png

SYNTH = ("synth", "--clips", 2, "--frames", 16, "--resolution", 16, "--workers", 1)


def run(*args: object) -> Result:
    """Run dataset_tool.py in this process."""
    words = [str(arg) for arg in args]
    return CliRunner().invoke(dataset_tool.main, words)


def done(*args: object) -> str:
    """Return what a command prints that ends well."""
    result = run(*args)
    assert result.exit_code == 0, result.output
    return result.output


def synth(dest: Path, *more: object) -> str:
    """Make a small dataset of procedural heads."""
    return done(*SYNTH, "--dest", dest, *more)


def black_png(side: int) -> bytes:
    """Return a black picture."""
    return encode_png(np.zeros([3, side, side], np.uint8))
