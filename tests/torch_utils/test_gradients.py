"""torch_utils.gradients: when sums over processes begin, in which buckets; what alone becomes of gradients.

Two real processes: test_distributed.py.
"""

import pytest
import torch

from tests.helpers.tiny import normal, seeded
from torch_utils import distributed, gradients
from torch_utils.gradients import GradientAverage, average_gradients

# --- Alone ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["apart", "packed"])
def is_packed(request, monkeypatch) -> bool:
    """Whether small gradients are packed, as on a GPU."""
    monkeypatch.setattr(gradients, "_is_worth_a_copy", lambda parameter: request.param)
    return request.param


def test_gradients_become_finite_over_several_buckets(monkeypatch, is_packed):
    monkeypatch.setattr(gradients, "BUCKET_BYTES", 16)
    params = [torch.nn.Parameter(torch.zeros(n)) for n in (2, 1, 9, 0, 3)]
    for seed, param in enumerate(params):
        param.grad = normal(seed, *param.shape)
    params[2].grad[:3] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    params[4].grad[0] = 3e38  # finite
    expected = [param.grad.clone() for param in params]
    expected[2][:3] = torch.tensor([0.0, 1e5, -1e5])
    assert average_gradients(params) == 3
    for param, grad in zip(params, expected, strict=True):
        assert torch.equal(param.grad, grad)


def test_what_is_worth_a_copy():
    small, large = (torch.nn.Parameter(torch.empty(n, device="meta")) for n in (2**20 - 1, 2**20))
    assert gradients._is_worth_a_copy(small) and not gradients._is_worth_a_copy(large)
    assert not gradients._is_worth_a_copy(torch.nn.Parameter(torch.zeros(1))), "a CPU has no launches to save"


def test_a_large_gradient_stays_where_it_is(monkeypatch):
    monkeypatch.setattr(gradients, "_is_worth_a_copy", lambda parameter: parameter.nbytes < 64)
    params = [torch.nn.Parameter(torch.zeros(n)) for n in (16, 2, 3)]
    for param in params:
        param.grad = torch.full_like(param, float("nan"))
    places = [param.grad.data_ptr() for param in params]
    assert average_gradients(params) == 21
    assert params[0].grad.data_ptr() == places[0] and torch.equal(params[0].grad, torch.zeros(16))
    assert params[1].grad.untyped_storage().data_ptr() == params[2].grad.untyped_storage().data_ptr()
    assert params[2].grad.data_ptr() % 16 == 0, "fused optimisers read 16 bytes at once"


def test_parameters_without_gradients():
    assert average_gradients([torch.nn.Parameter(torch.zeros(1))]) == 0


def test_half_precision_gradients_stay_finite():
    param = torch.nn.Parameter(torch.zeros(2, dtype=torch.float16))
    param.grad = torch.tensor([float("inf"), 1.0], dtype=torch.float16)
    assert average_gradients([param]) == 1
    assert param.grad.dtype == torch.float16
    assert torch.isfinite(param.grad).all()


@pytest.mark.parametrize("size", [(3, 4, 5, 6), (4, 1, 3, 3), (4, 7, 1, 1)])
def test_gradients_keep_their_layout(size, is_packed):
    params = [torch.nn.Parameter(normal(seed, *size).contiguous(memory_format=torch.channels_last)) for seed in (0, 1)]
    params.append(torch.nn.Parameter(normal(2, 4, 5)))
    for param in params:
        param.grad = param.detach() * 2
    params[2].grad = (normal(2, 5, 4) * 2).t()  # neither layout: becomes the parameter's
    expected = [param.grad.clone() for param in params]
    average_gradients(params)
    for param, grad in zip(params, expected, strict=True):
        assert torch.equal(param.grad, grad) and param.grad.stride() == param.stride()


# --- Beside the backward passes ---------------------------------------------------------------------------------------


class Sums(list):
    """The sums that were started, as sizes; two processes that have the same gradients."""

    def start(self, memory: torch.Tensor):
        self.append(memory.numel())
        memory *= 2  # what would come later
        return lambda: None


@pytest.fixture
def sums(monkeypatch) -> Sums:
    found = Sums()
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "start_sum", found.start)
    monkeypatch.setattr(gradients, "BUCKET_BYTES", 1024)
    return found


@pytest.fixture
def layers() -> torch.nn.Sequential:
    """Layers of 1024 bytes each, so of a bucket each; none has a bias."""
    with seeded(0):
        return torch.nn.Sequential(*[torch.nn.Linear(16, 16, bias=False) for _ in range(4)])


def run(layers: torch.nn.Sequential, average: GradientAverage, backwards: int = 1, skipped: int = 0) -> torch.Tensor:
    """Do a run, in which the first layers may be left out; leave the gradients."""
    layers.zero_grad()
    with average.overlapping():
        for seed in range(backwards):
            layers[skipped:](normal(seed, 3, 16)).square().sum().backward()
    return average.finish()


def gradients_of(layers: torch.nn.Sequential) -> list[torch.Tensor]:
    return [layer.weight.grad.clone() for layer in layers if layer.weight.grad is not None]


def started_inside(layers: torch.nn.Sequential, sums: Sums, average: GradientAverage, backwards: int) -> list[int]:
    """Return how many sums had started when each backward pass of a run had come to an end."""
    layers.zero_grad()
    sums.clear()
    ends = []
    with average.overlapping():
        for seed in range(backwards):
            layers(normal(seed, 3, 16)).square().sum().backward()
            ends.append(len(sums))
    average.finish()
    return ends


@pytest.mark.parametrize("backwards", [1, 2, 3])
def test_sums_begin_in_the_last_backward_pass_of_the_second_run(layers, sums, backwards):
    average = GradientAverage(layers.parameters())
    assert started_inside(layers, sums, average, backwards) == [0] * backwards
    first = gradients_of(layers)
    expected = [0] * (backwards - 1) + [4]
    assert started_inside(layers, sums, average, backwards) == expected
    assert sums == [256] * 4
    assert all(torch.equal(a, b) for a, b in zip(first, gradients_of(layers), strict=True))


def test_a_sum_begins_as_soon_as_its_bucket_is_complete(layers, sums):
    """The last layers' gradients come first."""
    average = GradientAverage(layers.parameters())
    run(layers, average)
    before = []
    layers[1].weight.register_hook(lambda grad: before.append(len(sums)))
    sums.clear()
    run(layers, average)
    assert before == [2] and len(sums) == 4


def test_buckets_start_in_one_order_however_they_complete(layers, sums):
    """Another order of the parameters than that of their use: the bucket in front holds up all."""
    order = [layer.weight for layer in reversed(layers)]
    average = GradientAverage(order)
    run(layers, average)
    waiting = []
    layers[0].weight.register_hook(lambda grad: waiting.append(len(sums)))
    sums.clear()
    run(layers, average)
    assert waiting == [0] and len(sums) == 4


def test_what_gets_no_gradient_is_passed_over_and_may_get_one_later(layers, sums):
    average = GradientAverage(layers.parameters())
    for skipped in (1, 1, 0, 0, 2, 1):
        sums.clear()
        run(layers, average, skipped=skipped)
        assert len(sums) == 4 - skipped
        found = gradients_of(layers)
        layers.zero_grad()
        layers[skipped:](normal(0, 3, 16)).square().sum().backward()
        assert all(torch.equal(a, b) for a, b in zip(found, gradients_of(layers), strict=True))


def test_gradients_that_share_memory_are_summed_apart(sums):
    shared = normal(0, 16, 16)
    params = [torch.nn.Parameter(torch.zeros(16, 16)) for _ in range(2)]
    for param in params:
        param.grad = shared.detach()
    expected = shared.clone()
    average_gradients(params)
    assert params[0].grad.data_ptr() != params[1].grad.data_ptr()
    assert all(torch.equal(param.grad, expected) for param in params)


def test_fewer_backward_passes_than_before_end_in_the_same(layers, sums):
    average = GradientAverage(layers.parameters())
    run(layers, average, backwards=2)
    sums.clear()
    assert started_inside(layers, sums, average, 1) == [0] and len(sums) == 4


def test_more_backward_passes_than_before_are_an_error(layers, sums):
    average = GradientAverage(layers.parameters())
    run(layers, average)
    with pytest.raises(RuntimeError, match="adds to a gradient that is being averaged"):
        run(layers, average, backwards=2)


def test_hooks_stay_no_longer_than_a_run(layers, sums):
    average = GradientAverage(layers.parameters())
    run(layers, average)
    run(layers, average)
    sums.clear()
    for _ in range(2):
        layers(normal(0, 3, 16)).sum().backward()
    assert sums == []
