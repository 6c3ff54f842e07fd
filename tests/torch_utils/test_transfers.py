"""torch_utils.transfers: on a CPU nothing is copied; on a GPU copies arrive whole, beside what it computes."""

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


@pytest.fixture
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda", torch.cuda.current_device())


@pytest.mark.gpu
def test_the_host_does_not_wait_for_a_copy(gpu):
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
