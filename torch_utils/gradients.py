"""Gradients of a phase of training: averaged over all processes while its backward passes run, and made finite."""

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from torch_utils import distributed

GRADIENT_LIMIT = 1e5  # what +-infinity becomes in a gradient (PV3D section 4)
BUCKET_BYTES = 32 * 2**20  # of one sum over all processes: large enough to fill the link, small beside all gradients
ALONE_BYTES = 4 * 2**20  # of a gradient on a GPU whose copy costs more than the launches that it saves
ALIGNMENT = 64  # bytes that gradients in a bucket begin at multiples of, as optimisers read 16 at once

Parameters = list[torch.nn.Parameter]


@dataclass
class _Bucket:
    """Neighbouring parameters, and how many more times backward passes will add to their gradients."""

    parameters: Parameters
    additions: int


class GradientAverage:
    """The gradients of some parameters, averaged over all processes again and again.

    A run is all backward passes between two steps of an optimiser. From the second run on, a bucket of gradients is
    summed as soon as they are complete, beside the backward pass that goes on: when passes have added to them as often
    as in the run before. The first run counts these additions, and sums at its end. Buckets and their order, the last
    parameters' first, are the same in every run and on every process: so is every bit of the result.

    Args:
        parameters: in the order in which a forward pass uses them. In each run the same of them must get gradients, on
            every process; the others are passed over.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter]):
        self.parameters = list(parameters)
        self._additions: Counter[torch.nn.Parameter] = Counter()  # of the last run
        self._seen: Counter[torch.nn.Parameter] = Counter()  # of this one
        self._waiting: deque[_Bucket] = deque()
        self._buckets: dict[torch.nn.Parameter, _Bucket] = {}  # those that wait or are being summed
        self._sums: list[tuple[torch.Tensor, Callable[[], object]]] = []  # started: memory, what waits for it

    @contextlib.contextmanager
    def overlapping(self) -> Iterator[None]:
        """Sum what becomes complete in the block, which does all backward passes of a run; `finish` has to follow."""
        if distributed.world_size() == 1:
            yield
            return
        self._seen = Counter()
        known = [parameter for parameter in reversed(self.parameters) if parameter in self._additions]
        for parameters in _divided(known):
            bucket = _Bucket(parameters, sum(self._additions[parameter] for parameter in parameters))
            self._waiting.append(bucket)
            self._buckets |= dict.fromkeys(parameters, bucket)
        handles = [parameter.register_post_accumulate_grad_hook(self._added) for parameter in self.parameters]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        self._additions = self._seen

    def _added(self, parameter: torch.nn.Parameter) -> None:
        """Take note that a backward pass has added to a gradient; start the sums that need wait no more."""
        self._seen[parameter] += 1
        bucket = self._buckets.get(parameter)
        if bucket is None:
            return
        if bucket.additions == 0:
            raise RuntimeError("A backward pass adds to a gradient that is being averaged: it has more than before.")
        bucket.additions -= 1
        while self._waiting and self._waiting[0].additions == 0:
            self._start(self._waiting.popleft().parameters)

    @torch.no_grad()
    def _start(self, parameters: Parameters) -> None:
        memory = _joined(parameters)
        self._sums.append((memory, distributed.start_sum(memory)))

    @torch.no_grad()
    def finish(self) -> torch.Tensor:
        """Average all gradients, then make them finite: NaN -> 0, +-infinity -> +-1e5.

        Gradients keep their dtype and memory layout.

        Returns:
            How many averaged values were not finite: int64 [] on the device, the same on every process.
        """
        waiting = {parameter for bucket in self._waiting for parameter in bucket.parameters}
        rest = []
        for parameter in reversed(self.parameters):
            is_started = parameter in self._buckets and parameter not in waiting
            if parameter.grad is not None and not is_started:
                rest.append(parameter)
        for parameters in _divided(rest):
            self._start(parameters)
        sums = self._sums
        self._sums = []
        self._waiting.clear()
        self._buckets = {}

        counts = []
        processes = distributed.world_size()
        for memory, wait in sums:
            wait()
            if processes > 1:
                memory /= processes
            counts.append(torch.count_nonzero(memory - memory))  # NaN where one is not finite; faster than isfinite
            limit = min(GRADIENT_LIMIT, torch.finfo(memory.dtype).max)
            torch.nan_to_num(memory, nan=0.0, posinf=limit, neginf=-limit, out=memory)
        return torch.stack(counts).sum() if counts else torch.zeros([], dtype=torch.int64)


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> torch.Tensor:
    """Average gradients that are there over all processes (`GradientAverage.finish`)."""
    return GradientAverage(parameters).finish()


# --- Buckets ----------------------------------------------------------------------------------------------------------


def _divided(parameters: Sequence[torch.nn.Parameter]) -> Iterator[Parameters]:
    """Yield neighbours of one dtype and device, up to BUCKET_BYTES together; a larger one goes alone.

    In a process that is alone nothing is sent, so buckets only save launches.
    """
    is_alone = distributed.world_size() == 1
    bucket: Parameters = []
    size = 0
    for parameter in parameters:
        if is_alone and not _is_worth_a_copy(parameter):
            yield [parameter]
            continue
        if bucket:
            first = bucket[0]
            same_kind = (parameter.dtype, parameter.device) == (first.dtype, first.device)
            if not same_kind or size + parameter.nbytes > BUCKET_BYTES:
                yield bucket
                bucket = []
                size = 0
        bucket.append(parameter)
        size += parameter.nbytes
    if bucket:
        yield bucket


def _is_worth_a_copy(parameter: torch.nn.Parameter) -> bool:
    """Return whether a gradient that no other process waits for is better treated together with others."""
    return parameter.device.type != "cpu" and parameter.nbytes < ALONE_BYTES


def _joined(parameters: Parameters) -> torch.Tensor:
    """Let the gradients of a bucket be views of one memory, and return that, flat.

    A single one's memory is its own in a process that is alone. In several it is copied as well, since autograd may
    give one memory to two parameters, and a sum over processes in place would count twice.
    """
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if len(grads) == 1 and distributed.world_size() == 1 and _is_dense(grads[0]):
        return _in_memory_order(grads[0])
    pieces = []
    places = []
    begin = 0
    step = ALIGNMENT // grads[0].element_size()
    padding = grads[0].new_zeros(step)
    for grad in grads:
        dense = grad if _is_dense(grad) else grad.contiguous()
        gap = -dense.numel() % step
        pieces += [_in_memory_order(dense), padding[:gap]]
        places.append((begin, dense.shape, dense.stride()))
        begin += dense.numel() + gap
    memory = torch.cat(pieces)
    for parameter, (begin, shape, strides) in zip(parameters, places, strict=True):
        parameter.grad = memory.as_strided(shape, strides, begin)
    return memory


def _is_dense(grad: torch.Tensor) -> bool:
    """Return whether a tensor fills its memory in one of the two orders that layers have."""
    return grad.is_contiguous() or grad.is_contiguous(memory_format=torch.channels_last)


def _in_memory_order(grad: torch.Tensor) -> torch.Tensor:
    """Return a dense tensor's memory, flat."""
    return grad.as_strided([grad.numel()], [1])
