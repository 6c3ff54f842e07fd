"""detectors: loaded from public files and with random weights."""

from pathlib import Path

import pytest
import torch
from torch import nn

from detectors import load_arcface, load_i3d_stylegan_v, load_i3d_videogpt, load_lpips, random_weights, weights
from detectors.i3d import MIN_FRAMES, PYTORCH_EPS, TENSORFLOW_EPS, InceptionI3D
from dnnlib.errors import UserError
from dnnlib.files import file_checksum
from tests.helpers.detector_weights import write_channel_weights, write_lpips
from tests.helpers.tiny import pixels, seeded

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
]
PUBLIC = {"kind": "public", "device": "cpu"}
RANDOM = {"kind": "random", "folder": None, "device": "cpu"}


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch) -> None:
    """An empty cache, and nothing to download from."""

    def urlopen(*arguments, **options):
        raise OSError("no network here")

    monkeypatch.setenv("PV3D_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("urllib.request.urlopen", urlopen)


class ModulesOnly(nn.Module):
    """The modules of a network, without what it does."""

    def __init__(self, network: nn.Module):
        super().__init__()
        for name, child in network.named_children():
            is_leaf = isinstance(child, nn.Conv3d | nn.BatchNorm3d)
            self.add_module(name, child if is_leaf else ModulesOnly(child))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def save_script(network: nn.Module, path: Path) -> None:
    """Write the modules of a network as a TorchScript file."""
    script = torch.jit.script(ModulesOnly(network))
    script.save(str(path))


def assert_same(network: nn.Module, other: nn.Module) -> None:
    """Weights are equal to the last bit."""
    state = network.state_dict()
    other_state = other.state_dict()
    assert list(state) == list(other_state)
    for name, value in state.items():
        assert torch.equal(value, other_state[name]), name


# --- Public weights ---------------------------------------------------------------------------------------------------


def test_i3d_of_videogpt(i3d, tmp_path):
    path = tmp_path / weights.I3D.file
    state = i3d.state_dict()
    without_counters = {name: value for name, value in state.items() if not name.endswith(weights.COUNTER)}
    torch.save(without_counters, path)
    detector = load_i3d_videogpt(folder=tmp_path, **PUBLIC)
    assert detector.name == "i3d"
    assert detector.dim == 400
    assert detector.checksum == file_checksum(path)
    assert detector.network.Mixed_3b.b0.bn.eps == PYTORCH_EPS
    assert_same(detector.network, i3d)


@pytest.mark.parametrize("eps", [TENSORFLOW_EPS, PYTORCH_EPS])
def test_i3d_of_stylegan_v(eps, i3d, tmp_path):
    exported = InceptionI3D(eps)
    exported.load_state_dict(i3d.state_dict())
    save_script(exported, tmp_path / weights.I3D_STYLEGAN_V.file)
    detector = load_i3d_stylegan_v(folder=tmp_path, **PUBLIC)
    assert detector.name == "i3d-stylegan-v"
    assert detector.network.Mixed_3b.b0.bn.eps == eps, "as the file states"
    assert_same(detector.network, i3d)


def test_arcface(arcface, tmp_path):
    path = tmp_path / weights.ARCFACE.file
    torch.save(arcface.state_dict(), path, _use_new_zipfile_serialization=False)
    embedder = load_arcface(folder=tmp_path, **PUBLIC)
    assert embedder.name == "arcface"
    assert embedder.checksum == file_checksum(path)
    assert_same(embedder.network, arcface)


def test_lpips(any_checksum, lpips, tmp_path):
    write_lpips(lpips, tmp_path)
    loaded = load_lpips(folder=tmp_path, **PUBLIC)
    assert loaded.name == "lpips-vgg"
    assert len(loaded.checksum) == 64
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert_same(loaded, lpips)


def test_the_checksum_of_lpips_is_of_both_files(any_checksum, lpips, tmp_path):
    write_lpips(lpips, tmp_path)
    checksums = [load_lpips(folder=tmp_path, **PUBLIC).checksum]
    for source in (weights.LPIPS, weights.VGG16):
        path = tmp_path / source.file
        path.write_bytes(path.read_bytes() + b"more, which nothing reads")
        checksums.append(load_lpips(folder=tmp_path, **PUBLIC).checksum)
    assert len(set(checksums)) == 3


def test_other_files_than_the_public_ones_of_lpips_are_refused(lpips, tmp_path):
    write_lpips(lpips, tmp_path)
    with pytest.raises(UserError, match="vgg.pth is damaged or another file.* a78928a0.*pip download --no-deps lpips"):
        load_lpips(folder=tmp_path, **PUBLIC)
    with pytest.raises(UserError, match="vgg16-397923af.pth is damaged or another file.* 397923af.*torchvision"):
        weights.locate(weights.VGG16, tmp_path)


LOADERS = [
    (load_i3d_videogpt, weights.I3D.file),
    (load_i3d_stylegan_v, weights.I3D_STYLEGAN_V.file),
    (load_arcface, weights.ARCFACE.file),
    (load_lpips, weights.LPIPS.file),
    (load_lpips, weights.VGG16.file),
]


@pytest.fixture
def folder(any_checksum, lpips, tmp_path) -> Path:
    """A folder with the file of LPIPS that is read first."""
    write_channel_weights(lpips, tmp_path)
    return tmp_path


@pytest.mark.parametrize("load, file", LOADERS)
def test_missing_files_are_named(load, file, folder):
    (folder / file).unlink(missing_ok=True)
    with pytest.raises(UserError, match=f"are missing.*get {file}"):
        load(folder=folder, **PUBLIC)


@pytest.mark.parametrize("load, file", LOADERS)
def test_damaged_files_are_named(load, file, folder):
    path = folder / file
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UserError, match=f"{file} is damaged, or not the file"):
        load(folder=folder, **PUBLIC)


@pytest.mark.parametrize("load, file", LOADERS)
def test_weights_of_other_networks_are_refused(load, file, folder):
    path = folder / file
    if load is load_i3d_stylegan_v:
        with seeded(0):
            other = nn.Sequential(nn.Conv3d(3, 4, 1))
        save_script(other, path)
    else:
        torch.save({"weight": torch.ones(2)}, path)
    with pytest.raises(UserError, match=f"{file} holds the weights of another network"):
        load(folder=folder, **PUBLIC)


# --- Random weights ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [load_i3d_videogpt, load_i3d_stylegan_v, load_arcface, load_lpips])
def test_a_device_that_is_not_there_is_named(load, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(random_weights, "fill", lambda network, gain, **options: "")
    with pytest.raises(UserError, match="The device cuda is not there"):
        load(kind="random", folder=None, device="cuda")


def test_random_i3d_is_fixed(i3d):
    detector = load_i3d_videogpt(**RANDOM)
    again = load_i3d_videogpt(**RANDOM)
    assert detector.name == "random"
    assert detector.checksum == again.checksum
    assert len(detector.checksum) == 64
    assert_same(detector.network, i3d)
    assert_same(again.network, i3d)


def test_random_i3d_sees_something():
    detector = load_i3d_videogpt(**RANDOM)
    noise = pixels(0, 1, MIN_FRAMES, 3, 16, 16)
    features = detector(noise)
    assert features.shape == (1, 400)
    assert features.std() > 0.3, "signals do not fade"
    differences = detector(255 - noise) - features
    assert differences.abs().mean() > 0.05 * features.std()


def test_releases_see_frames_differently():
    wide = pixels(0, 1, MIN_FRAMES, 3, 16, 32)
    cropped = load_i3d_videogpt(**RANDOM)
    stretched = load_i3d_stylegan_v(**RANDOM)
    differences = cropped(wide) - stretched(wide)
    assert differences.abs().max() > 0.05


def test_random_networks_of_different_kinds_have_different_checksums(arcface, lpips):
    embedder = load_arcface(**RANDOM)
    assert embedder.name == "random"
    assert embedder.dim == 512
    assert_same(embedder.network, arcface)
    checksums = {embedder.checksum, load_i3d_videogpt(**RANDOM).checksum, lpips.checksum}
    assert len(checksums) == 3


def test_random_lpips_is_fixed(lpips):
    loaded = load_lpips(**RANDOM)
    assert loaded.name == "random"
    assert loaded.checksum == lpips.checksum
    assert_same(loaded, lpips)
    for weight in lpips.channel_weights.parameters():
        assert weight.min() >= 0
