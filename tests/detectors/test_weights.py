"""detectors.weights: where files are looked for, downloads, and files that are not what they should be."""

import io
import pickle
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from detectors import weights
from detectors.weights import I3D, Source, cache_folder, locate, put_into, read_state
from dnnlib.errors import UserError
from dnnlib.files import file_checksum
from tests.helpers.tiny import seeded

SMALL = Source(network="a small network", file="small.pt", origin="released with these tests")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """The cache's folder, empty; and no network."""
    monkeypatch.setenv("PV3D_CACHE_DIR", str(tmp_path / "cache"))
    return cache_folder()


@pytest.fixture
def network() -> nn.Module:
    with seeded(0):
        return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def put(folder: Path, content: object, **options) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / SMALL.file, **options)
    return folder / SMALL.file


def test_files_are_looked_for_in_the_folder_then_in_the_cache(tmp_path, cache):
    folder = tmp_path / "detectors"
    folder.mkdir()
    in_cache = put(cache, {})
    assert locate(SMALL, None) == locate(SMALL, folder) == in_cache
    in_folder = put(folder, {})
    assert locate(SMALL, folder) == in_folder
    assert file_checksum(in_folder) == file_checksum(in_cache)
    assert len(file_checksum(in_cache)) == 64


def test_a_missing_file_is_told_in_one_sentence(tmp_path, cache):
    with pytest.raises(UserError) as caught:
        locate(SMALL, None)
    message = str(caught.value)
    for part in ("a small network", "small.pt", "released with these tests", str(cache), "--detectors"):
        assert part in message
    assert message.endswith(".")
    assert message.count(". ") == 0
    with pytest.raises(UserError, match=r"\(sha256 abc\)"):
        locate(replace(SMALL, sha256="abc"), None)
    with pytest.raises(UserError, match="there is no folder .*nowhere.* small.pt"):
        locate(SMALL, tmp_path / "nowhere")


def test_a_file_of_another_checksum_is_refused(cache):
    path = put(cache, {})
    assert locate(replace(SMALL, sha256=file_checksum(path)), None) == path
    with pytest.raises(UserError, match="its sha256 is not abc"):
        locate(replace(SMALL, sha256="abc"), None)


def test_downloads_go_into_the_cache(tmp_path, cache):
    published = put(tmp_path / "server", {"a": torch.ones(3)})
    source = replace(SMALL, url=published.as_uri(), sha256=file_checksum(published))
    path = locate(source, None)
    assert path.parent == cache
    assert path.read_bytes() == published.read_bytes()
    published.unlink()
    assert locate(source, None) == path, "not fetched again"


@pytest.mark.parametrize(
    "content, reason",
    [(b"<html>Sign in</html>", "not a file of weights"), (b"", "nothing comes"), (None, "No such file")],
)
def test_downloads_that_fail_leave_nothing(content, reason, tmp_path, cache):
    published = tmp_path / "page"
    if content is not None:
        published.write_bytes(content)
    with pytest.raises(UserError, match=f"cannot be downloaded.*{reason}.*get small.pt, released with these tests"):
        locate(replace(SMALL, url=published.as_uri()), None)
    assert not list(cache.glob("*.pt"))


def test_another_file_at_the_url_is_refused(tmp_path, cache):
    published = put(tmp_path / "server", {})
    with pytest.raises(UserError, match="another file by its checksum"):
        locate(replace(SMALL, url=published.as_uri(), sha256="abc"), None)
    assert not list(cache.glob("*.pt"))


class Answer(io.BytesIO):
    """A server's answer of 100 bytes."""

    headers = {"Content-Length": "100"}


@pytest.mark.parametrize("error", [None, TimeoutError("timed out"), ConnectionResetError("reset")])
def test_downloads_that_are_cut_short_leave_nothing(error, cache, monkeypatch):
    answer = Answer(weights.STARTS[0] + b"x" * 46)
    if error:
        parts = iter([answer.getvalue()])
        answer.read = lambda size: next(parts, None) or (_ for _ in ()).throw(error)
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: answer)
    with pytest.raises(UserError, match=str(error) if error else "50 of 100 bytes came"):
        locate(replace(SMALL, url="https://example.org/small.pt"), None)
    assert not list(cache.glob("*.pt"))
    assert not list(cache.glob(".*.pt"))


@pytest.mark.parametrize("zipped", [True, False])
def test_state_dicts_of_both_formats_fit(zipped, network, cache):
    state = {name: value + 1 for name, value in network.state_dict().items() if not name.endswith(weights.COUNTER)}
    path = put(cache, state, _use_new_zipfile_serialization=zipped)
    put_into(network, read_state(SMALL, path), SMALL, path)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_of_other_names_can_be_left_alone(zipped, cache):
    state = {"body.0": torch.ones(2), "head.0": torch.ones(3), "head.1": "no tensor"}
    path = put(cache, state, _use_new_zipfile_serialization=zipped)
    read = read_state(SMALL, path, prefix="body.")
    assert list(read) == ["body.0"]
    assert torch.equal(read["body.0"], torch.ones(2))
    with pytest.raises(UserError, match="is damaged, or not the file"):
        read_state(SMALL, path)


def test_names_that_are_no_text_are_refused_with_a_prefix_too(cache):
    path = put(cache, {"body.0": torch.ones(2), 7: torch.ones(2)})
    with pytest.raises(UserError, match="is damaged, or not the file"):
        read_state(SMALL, path, prefix="body.")


@pytest.mark.parametrize(
    "change, name",
    [
        (lambda state: state.pop("0.bias"), "0.bias"),
        (lambda state: state.update({"2.weight": torch.ones(1)}), "2.weight"),
        (lambda state: state.update({"0.weight": torch.ones(3, 3)}), "0.weight"),
    ],
)
def test_weights_of_another_network_are_refused(change, name, network, cache):
    state = dict(network.state_dict())
    change(state)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(UserError, match=f"weights of another network than a small network .see '{name}'.*small.pt"):
        put_into(network, state, SMALL, cache / "small.pt")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class Attack:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_files_that_run_code_are_refused_and_do_not_run_it(zipped, tmp_path, cache):
    path = put(cache, {"0.weight": Attack(tmp_path / "ran")}, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="is damaged, or not the file of a small network's weights"):
        read_state(SMALL, path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files_are_refused(zipped, network, cache):
    path = put(cache, {"a": torch.zeros(10000)}, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:50], b"", b"<html>", pickle.dumps([1, 2])):
        path.write_bytes(content)
        with pytest.raises(UserError, match="is damaged, or not the file"):
            read_state(SMALL, path)
    if zipped:  # the older format has no checksums
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + b"?" + whole[middle + 1 :])
        with pytest.raises(UserError, match="is damaged, or not the file"):
            read_state(SMALL, path)


def test_the_public_files_are_named():
    assert I3D.file == "i3d_pretrained_400.pt"
    assert "1mQK8KD8G6UWRa5t87SRMm5PVXtlpneJT" in I3D.origin
    assert weights.ARCFACE.file == "model_ir_se50.pth"
    assert weights.I3D_STYLEGAN_V.file == "i3d_torchscript.pt"
    assert weights.LPIPS.file == "vgg.pth"
    assert "pip download --no-deps lpips" in weights.LPIPS.origin
    assert weights.VGG16.file == "vgg16-397923af.pth"
    assert weights.VGG16.sha256.startswith("397923af"), "the file's name says how it begins"
