"""training.checkpoints.opener: whose a file is, read once, and not known to the training loop."""

import subprocess
import sys

import pytest
import torch

from dnnlib.errors import UserError
from tests.helpers import foreign_files, tiny
from torch_utils import checkpoint
from torch_utils.pickles import reader
from training.checkpoints.opener import load_discriminators, load_generator, open_checkpoint, open_snapshot
from training.checkpoints.snapshots import compact_snapshot, save_snapshot
from training.networks.discriminators import VideoDiscriminator

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


def test_discriminators_have_the_weights_of_the_snapshot(files):
    for origin in (None, "PV3D"):
        path = files[origin, "snapshot"]
        stored = open_snapshot(path)
        loaded = load_discriminators(path)
        for name in ("D_img", "D_vid"):
            D = getattr(loaded, name)
            torch.testing.assert_close(dict(D.state_dict()), dict(stored.weights[name]), rtol=0, atol=0)
            assert not D.training
            assert not any(parameter.requires_grad for parameter in D.parameters())


def test_a_discriminator_that_a_snapshot_lacks_is_none(files, tmp_path):
    assert load_discriminators(files["EG3D", "snapshot"]).D_vid is None
    options = tiny.config(discriminator__image=False)
    save_snapshot(tmp_path / "video_only.pkl", options, tiny.networks(options), torch.zeros(1, 1, 25), {"kimg": 0.0})
    loaded = load_discriminators(tmp_path / "video_only.pkl")
    assert loaded.D_img is None
    assert isinstance(loaded.D_vid, VideoDiscriminator)


def test_a_discriminator_of_a_compact_snapshot_is_in_single_precision(files, tmp_path):
    compact_snapshot(files[None, "snapshot"], tmp_path / "compact.pkl")
    D = load_discriminators(tmp_path / "compact.pkl").D_vid
    assert {parameter.dtype for parameter in D.parameters()} == {torch.float32}


def test_weights_of_another_discriminator_are_refused(files, tmp_path):
    options = tiny.config()
    nets = tiny.networks(tiny.config(discriminator__channel_max=4))
    save_snapshot(tmp_path / "other.pkl", options, nets, torch.zeros(1, 1, 25), {"kimg": 0.0})
    with pytest.raises(UserError, match="weights of D_img in .* do not fit"):
        load_discriminators(tmp_path / "other.pkl")


def test_the_training_loop_knows_no_foreign_formats():
    program = "import sys, training.training_loop; print([name for name in sys.modules if 'foreign' in name])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
