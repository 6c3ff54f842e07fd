"""training.checkpoints.opener: whose a file is, read once, and not known to the training loop."""

import subprocess
import sys

import pytest
import torch

from dnnlib.errors import UserError
from tests.helpers import foreign_files, tiny
from torch_utils import checkpoint
from torch_utils.pickles import reader
from training.checkpoints.opener import load_generator, open_checkpoint, open_snapshot

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def files(snapshot, tmp_path_factory):
    """A file of each kind by (origin, kind)."""
    folder = tmp_path_factory.mktemp("files")
    checkpoint.save(folder / "state.pt", {"progress": {}}, "state")
    nets = tiny.networks(tiny.config())
    return {
        (None, "snapshot"): snapshot,
        (None, "state"): folder / "state.pt",
        ("PV3D", "snapshot"): foreign_files.pv3d(nets, folder / "pv3d.pt"),
        ("EG3D", "snapshot"): foreign_files.eg3d(nets, folder / "eg3d.pkl"),
    }


def test_whose_a_file_is(files):
    for (origin, kind), path in files.items():
        opened = open_checkpoint(path)
        assert (opened.origin, opened.kind, opened.path) == (origin, kind, path)


def test_a_state_is_no_snapshot(files):
    with pytest.raises(UserError, match="is a training state .* but a network snapshot .* is needed"):
        open_snapshot(files[None, "state"])


def test_a_file_is_read_once(files, monkeypatch):
    read = reader.read
    paths = []

    def counted(path):
        paths.append(path)
        return read(path)

    monkeypatch.setattr(reader, "read", counted)
    for (_, kind), path in files.items():
        if kind == "snapshot":
            load_generator(path)
            assert paths.pop() == path
            assert paths == []


@pytest.mark.parametrize("device", ["cuda", torch.device("cuda", 0)])
def test_a_device_that_is_not_there_is_named_before_the_file_is_read(tmp_path, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="The device cuda.* is not there .* use cpu"):
        load_generator(tmp_path / "absent.pkl", device)


def test_the_training_loop_knows_no_foreign_formats():
    program = "import sys, training.training_loop; print([name for name in sys.modules if 'foreign' in name])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
