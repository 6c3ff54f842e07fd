"""detectors.torchscript: tensors out of real TorchScript files; what is not one; code that must not run."""

import io
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from detectors.torchscript import read_script, rename
from detectors.weights import Source, put_into
from dnnlib.errors import UserError
from tests.helpers.tiny import seeded, uniform

SMALL = Source(network="a small network", file="small.pt", origin="released with these tests")
ORDER = ("first", "second")
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


class Layer(nn.Module):
    """A convolution and its BatchNorm."""

    def __init__(self, channels: int, outputs: int, eps: float = 1e-3):
        super().__init__()
        self.conv = nn.Conv3d(channels, outputs, 1, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x))


class Network(nn.Module):
    """Two layers and a head."""

    def __init__(self, names: tuple[str, str] = ORDER, widths: tuple[int, int] = (4, 5), eps: float = 1e-3):
        super().__init__()
        self.add_module(names[0], Layer(3, widths[0], eps))
        self.add_module(names[1], Layer(widths[0], widths[1]))
        self.head = nn.Conv3d(widths[1], 2, 1)


class Wrapped(nn.Module):
    """A network as an attribute of what is exported."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.model = network

    def forward(self, x: torch.Tensor, rescale: bool = False) -> torch.Tensor:
        return self.model.head(self.model.second(self.model.first(x * 2 if rescale else x)))


class Other(nn.Module):
    """The same under other names."""

    def __init__(self, widths: tuple[int, int] = (4, 5)):
        super().__init__()
        self.conv_a, self.conv_b = Layer(3, widths[0]), Layer(widths[0], widths[1])
        self.last = nn.Conv3d(widths[1], 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.conv_b(self.conv_a(x)))


def scripted(module: nn.Module, path: Path) -> Path:
    torch.jit.script(module.eval()).save(str(path))
    return path


def load(path: Path) -> tuple[Network, float | None]:
    """What a file gives a network."""
    network = Network()
    state, eps = read_script(SMALL, path)
    put_into(network, rename(state, network, SMALL, path), SMALL, path)
    return network, eps


def same(network: nn.Module, other: nn.Module) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), other.state_dict().values(), strict=True)
    )


@pytest.fixture(autouse=True)
def drawn_from_a_seed():
    """Networks get their first weights from a seed."""
    with seeded(0):
        yield


def test_names_coincide_behind_a_prefix(tmp_path):
    network = Network()
    network.first.bn.running_var.copy_(uniform(0, 4))
    loaded, eps = load(scripted(Wrapped(network), tmp_path / "small.pt"))
    assert same(loaded, network)
    assert eps == 1e-3


def test_layers_coincide_under_other_names(tmp_path):
    other = Other()
    path = scripted(other, tmp_path / "small.pt")
    loaded, eps = load(path)
    assert same(loaded, other)
    assert eps == 1e-3
    torch.jit.trace(other, uniform(0, 1, 3, 2, 2, 2)).save(str(path))
    loaded, eps = load(path)
    assert same(loaded, other) and eps is None, "traces do not state it"


OTHERS = [
    lambda: Other((5, 4)),
    lambda: Other((4, 6)),
    lambda: Layer(3, 4),
    lambda: Wrapped(Network(widths=(6, 5))),
]


@pytest.mark.parametrize("build", OTHERS)
def test_other_networks_are_refused(build, tmp_path):
    with pytest.raises(UserError, match="holds the weights of another network than a small network.*small.pt"):
        load(scripted(build(), tmp_path / "small.pt"))


def test_frozen_files_have_no_names_and_are_refused(tmp_path):
    path = tmp_path / "small.pt"
    torch.jit.freeze(torch.jit.script(Other().eval())).save(str(path))
    with pytest.raises(UserError, match="another network"):
        load(path)


def test_files_that_disagree_about_epsilon_are_refused(tmp_path):
    with pytest.raises(UserError, match="is damaged, or not the file"):
        load(scripted(Wrapped(Network(eps=1e-5)), tmp_path / "small.pt"))


def test_what_is_no_torchscript_is_refused(tmp_path):
    path = tmp_path / "small.pt"
    whole = scripted(Other(), path).read_bytes()
    plain = io.BytesIO()
    torch.save(Network().state_dict(), plain)
    for content in (whole[: len(whole) // 2], b"", b"<html>", plain.getvalue()):
        path.write_bytes(content)
        with pytest.raises(UserError, match="is damaged, or not the file of a small network's weights"):
            load(path)


class Attack:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def forge(path: Path, content: bytes) -> None:
    """A file that has what marks TorchScript."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("small/data.pkl", content)
        archive.writestr("small/constants.pkl", b"")


def test_pickles_that_run_code_do_not_run_it(tmp_path):
    path = tmp_path / "small.pt"
    globals_of_python = (
        b"cbuiltins\neval\n(X\x01\x00\x00\x001tR.",
        b"c__torch__\nbuiltins\n(X\x01\x00\x00\x001tR.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(tR.",
        b"ctorch.hub\nload\n(tR.",
        b"N.",
    )
    for content in (pickle.dumps(Attack(tmp_path / "ran")), *globals_of_python):
        forge(path, content)
        with pytest.raises(UserError, match="is damaged, or not the file"):
            load(path)
    assert not (tmp_path / "ran").exists()


def test_tensors_stay_within_their_storage(tmp_path):
    path = scripted(Other(), tmp_path / "small.pt")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content[:-4] if name.endswith("data/0") else content)
    with pytest.raises(UserError, match="is damaged, or not the file"):
        load(path)
