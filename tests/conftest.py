"""Fixtures of the whole suite, and the order of its tests."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.helpers import tiny
from torch_utils import runtime
from training import synthetic
from training.checkpoints.snapshots import save_snapshot
from training.data.dataset import ClipDataset
from training.data.frames import encode_png
from training.data.pairs import camera_bank
from training.data.writer import ClipRecord, write_dataset


def pytest_configure(config):
    """Give the suite a cache of its own, before modules take the environment for the processes that they start."""
    folder = tempfile.mkdtemp(prefix="pv3d-tests-")
    os.environ["PV3D_CACHE_DIR"] = folder
    config.add_cleanup(partial(shutil.rmtree, folder, ignore_errors=True))


def pytest_collection_modifyitems(items):
    """Put the tests that look back on all others last."""
    items.sort(key=lambda item: item.path.name == "test_golden.py")


@pytest.fixture(scope="session", autouse=True)
def bfloat16_works() -> None:
    """Keep oneDNN off matrix units that would crash; before it computes anything, for it looks only once."""
    if not runtime.amx_works():
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_FP16"


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_works() -> None:
    """Let processes react to Ctrl-C, which tests send; shells start what runs in the background so that it does not."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread: tiny tensors are not worth two, least of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def heads(tmp_path_factory) -> Path:
    """A dataset of three procedural heads of 16 frames, 32 x 32; no test changes it."""
    path = tmp_path_factory.mktemp("heads") / "heads"
    with write_dataset(path) as writer:
        for seed in range(3):
            clip = synthetic.render_clip(seed, 32, 16)
            frames = [(f"{index:05d}.png", encode_png(frame)) for index, frame in enumerate(clip.frames)]
            writer.add(ClipRecord(name=f"{seed:05d}", frames=frames, cameras=clip.cameras, fps=25.0))
    return path


@pytest.fixture(scope="session")
def snapshot(heads, tmp_path_factory) -> Path:
    """A snapshot of tiny untrained networks that 2000 clips have been shown to, with the cameras of `heads`."""
    path = tmp_path_factory.mktemp("snapshot") / "network-snapshot-000002.000.pkl"
    options = tiny.config()
    bank = camera_bank(ClipDataset(heads), seed=0)
    save_snapshot(path, options, tiny.networks(options), bank, {"kimg": 2.0})
    return path
