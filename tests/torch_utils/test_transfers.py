"""torch_utils.transfers: on a CPU nothing is copied; on a GPU copies arrive whole, beside what it computes."""

import contextlib
from collections.abc import Iterator

import pytest
import torch

from tests.helpers.tiny import pixels
from torch_utils.transfers import Uploads, to_device

CPU = torch.device("cpu")
SIZE = 1 << 22
LONG = 200_000_000  # cycles that a GPU is busy with: a tenth of a second


def test_on_a_cpu_everything_stays_where_it_is():
    values = torch.arange(3)
    assert to_device(values, CPU) is values
    upload = Uploads(CPU)
    assert upload({"x": values})["x"] is values
    assert upload.is_idle()


def test_a_gpu_copies_on_another_stream_and_uses_the_copy_after_it(monkeypatch):
    """What the GPU's driver is asked for, in order; `cuda` is played by the CPU."""
    asked: list[str] = []

    class Stream:
        def __init__(self, device: torch.device, name: str = "own"):
            self.name = name

        def wait_stream(self, other: "Stream") -> None:
            asked.append(f"{self.name} waits for {other.name}")

        def query(self) -> bool:
            return False

    @contextlib.contextmanager
    def inside(stream: Stream) -> Iterator[None]:
        asked.append(f"begin {stream.name}")
        yield
        asked.append("end")

    def copied(values: torch.Tensor, device: torch.device, non_blocking: bool) -> torch.Tensor:
        asked.append(f"copy to {device}, {non_blocking=}")
        return values.clone()

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", inside)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(device, "current"))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda values: (asked.append("pin"), values)[1])
    monkeypatch.setattr(torch.Tensor, "to", copied)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda values, stream: asked.append(f"kept for {stream.name}"))
    upload = Uploads(torch.device("cuda", 1))
    batch = {"x": torch.arange(3), "y": torch.arange(4)}
    found = upload(batch)
    copy = ["pin", "copy to cuda:1, non_blocking=True"]
    assert asked == ["begin own", *copy, *copy, "end", "current waits for own", *["kept for current"] * 2]
    assert found.keys() == batch.keys() and torch.equal(found["y"], batch["y"])
    assert not upload.is_idle()


@pytest.fixture
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda", torch.cuda.current_device())


@pytest.mark.gpu
def test_the_host_does_not_wait_for_a_copy(gpu):
    to_device(torch.arange(1000), gpu)  # to pin memory for the first time takes its time
    torch.cuda.synchronize(gpu)
    torch.cuda._sleep(LONG)
    found = to_device(torch.arange(1000), gpu)
    assert not torch.cuda.current_stream(gpu).query(), "the copy waits behind the sleep, the host for neither"
    assert torch.equal(found.cpu(), torch.arange(1000))


@pytest.mark.gpu
def test_uploads_arrive_whole_while_the_gpu_computes(gpu):
    """Batches that are dropped while they are still to be read, in memory that the next ones may take."""
    upload = Uploads(gpu)
    sums = []
    for seed in range(8):
        batch = upload({"x": pixels(seed, SIZE).pin_memory()})
        torch.cuda._sleep(LONG // 10)
        sums.append(batch["x"].sum(dtype=torch.int64))
        del batch
    assert [int(total) for total in sums] == [int(pixels(seed, SIZE).sum(dtype=torch.int64)) for seed in range(8)]


@pytest.mark.gpu
def test_uploads_know_whether_the_gpu_is_idle(gpu):
    upload = Uploads(gpu)
    torch.cuda.synchronize(gpu)
    assert upload.is_idle()
    torch.cuda._sleep(LONG)
    assert not upload.is_idle()
    torch.cuda.synchronize(gpu)
