"""The detectors' public weights: where they are found, and how they get into a network without running a file's code.

A file is looked for in the folder of `--detectors`, then in the folder `detectors` of the cache (`dnnlib.cache`); if
its source can be fetched directly, it is downloaded into the cache. The checksums of most public files are not
published: so that of the file at hand goes into every result, and the network's names and shapes decide what fits.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dnnlib.cache import cache_root
from dnnlib.downloads import pieces
from dnnlib.errors import UserError
from dnnlib.files import atomic_path, file_checksum, reading, require_file, shown, storage_errors
from dnnlib.locks import PathLock
from torch_utils.pickles import reader
from torch_utils.pickles.reader import is_finite, read_tensors

STARTS = (b"PK\x03\x04", b"\x80\x02")  # of files by torch.save: a zip; before torch 1.6, a pickle
COUNTER = "num_batches_tracked"  # may be missing in a file


@dataclass(frozen=True, kw_only=True)
class Source:
    """A public file of weights.

    Args:
        network: the network that they are of.
        file: its name.
        origin: who released it, in plain words.
        url: where it can be downloaded directly; None: only by hand.
        sha256: its checksum; None: not published.
    """

    network: str
    file: str
    origin: str
    url: str | None = None
    sha256: str | None = None


I3D = Source(
    network="Inception-I3D",
    file="i3d_pretrained_400.pt",
    origin="released with VideoGPT (Google Drive id 1mQK8KD8G6UWRa5t87SRMm5PVXtlpneJT) and with PV3D (GitHub release "
    "v1.0.0 of bytedance/pv3d)",
    url="https://github.com/bytedance/pv3d/releases/download/v1.0.0/i3d_pretrained_400.pt",
)
I3D_STYLEGAN_V = Source(
    network="Inception-I3D",
    file="i3d_torchscript.pt",
    origin="released with StyleGAN-V",
    url="https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1",
)
ARCFACE = Source(
    network="ArcFace IR-SE-50",
    file="model_ir_se50.pth",
    origin="released with InsightFace_Pytorch (github.com/TreB1eN)",
)
VGG16 = Source(
    network="VGG16",
    file="vgg16-397923af.pth",
    origin="released with torchvision (https://download.pytorch.org/models/vgg16-397923af.pth)",
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
    sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
)
LPIPS = Source(
    network="LPIPS",
    file="vgg.pth",
    origin="released with LPIPS 0.1 (lpips/weights/v0.1/vgg.pth in the wheel that `pip download --no-deps lpips` gets)",
    url="https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/vgg.pth",
    sha256="a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
)


# --- Where a file is --------------------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Return where downloads go, and where files may be put by hand."""
    return cache_root() / "detectors"


def locate(source: Source, folder: Path | None) -> Path:
    """Return the file of a source: in `folder` (`--detectors`), in the cache, or downloaded into the cache.

    Raises:
        UserError: there is no such folder; the file is missing and cannot be fetched; its checksum is another.
    """
    if folder and not folder.is_dir():
        raise UserError(f"--detectors: there is no folder {folder}: give the one that holds {source.file}.")
    path = _at_hand(source, folder) or _fetch(source)
    if source.sha256 and file_checksum(path) != source.sha256:
        raise UserError(
            f"{path} is damaged or another file, as its sha256 is not {source.sha256}: replace it by the "
            f"one {source.origin}."
        )
    return path


def is_at_hand(source: Source, folder: Path | None) -> bool:
    """Return whether the file of a source is there, so that nothing needs to be downloaded."""
    return _at_hand(source, folder) is not None


def _at_hand(source: Source, folder: Path | None) -> Path | None:
    places = [folder, cache_folder()] if folder else [cache_folder()]
    files = [place / source.file for place in places]
    return next((file for file in files if file.is_file()), None)


def _missing(source: Source, reason: str = "") -> UserError:
    known = f" (sha256 {source.sha256})" if source.sha256 else ""
    return UserError(
        f"The weights of {source.network} are missing{reason}: get {source.file}{known}, "
        f"{source.origin}, and put it into {cache_folder()} or a folder named by --detectors."
    )


def _fetch(source: Source) -> Path:
    """Download a file into the cache, one process at a time."""
    if source.url is None:
        raise _missing(source)
    path = cache_folder() / source.file
    with PathLock(path.with_suffix(".lock")) as lock:
        with storage_errors(path.parent):
            lock.make_file()
            lock.take(wait=True)  # without locks, processes may fetch it twice: the last one's file stays
        if not path.is_file():  # else another process has fetched it meanwhile
            with atomic_path(path) as temporary:
                try:
                    _download(source.url, temporary, source.file)
                except EOFError as error:
                    raise _missing(source, f", and {source.url} cannot be downloaded ({error})") from error
                if source.sha256 and file_checksum(temporary) != source.sha256:
                    raise _missing(source, f", and {source.url} is another file by its checksum")
    return path


def _download(url: str, path: Path, label: str) -> None:
    """Write a URL's content to `path`. Raises EOFError if nothing comes, or it is cut short, or no file of weights."""
    with path.open("wb") as file:
        for piece in pieces(url, label):
            if file.tell() == 0 and not piece.startswith(STARTS):
                raise EOFError("what comes is not a file of weights")
            file.write(piece)
        if file.tell() == 0:
            raise EOFError("nothing comes")


# --- What is in it ----------------------------------------------------------------------------------------------------


def reading_weights(source: Source, path: Path) -> AbstractContextManager[None]:
    """Raise a UserError for what goes wrong in the block, which reads the file of a source."""
    require_file(path, "file of weights")
    return reading(
        path,
        f"{path} is damaged, or not the file of {source.network}'s weights",
        f"replace it by {source.file}, {source.origin}",
    )


def read_state(source: Source, path: Path, *, prefix: str = "") -> dict[str, torch.Tensor]:
    """Read a state dict written by torch.save, without running code from it. UserError if it is none.

    Args:
        source: what the file should be.
        path: the file.
        prefix: how the names of tensors begin that are read; the file's others are left alone.
    """
    with reading_weights(source, path):
        state = reader.read(path)
        if type(state) is not dict:
            raise TypeError("not a state dict")
        wanted = {name: value for name, value in state.items() if type(name) is not str or name.startswith(prefix)}
        return read_tensors(wanted, path.stat().st_size)


def put_into(network: nn.Module, state: dict[str, torch.Tensor], source: Source, path: Path) -> None:
    """Load a state dict that has exactly the network's names (counters may be missing) and shapes, else UserError.

    Numbers must be floating-point and finite.
    """
    own = network.state_dict()
    state = without_counters(state)
    wanted = without_counters(own)
    wrong = sorted(wanted.keys() ^ state.keys())
    if not wrong:
        wrong = [name for name in wanted if wanted[name].shape != state[name].shape]
    if wrong:
        raise UserError(
            f"{path} holds the weights of another network than {source.network} (see "
            f"{shown(repr(wrong[0]))}): replace it by {source.file}, {source.origin}."
        )
    for name, tensor in state.items():
        if not tensor.is_floating_point() or not is_finite(tensor, torch.float32):
            raise UserError(
                f"{path} holds something else than finite numbers (see {name!r}): replace it by "
                f"{source.file}, {source.origin}."
            )
    network.load_state_dict(own | state)


def without_counters(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state dict without the counters of BatchNorms, which do not take part in inference."""
    return {name: tensor for name, tensor in state.items() if not name.endswith(COUNTER)}
