"""What a GPU would be asked to do, counted on the meta device: FLOPs, bytes, launches, and where the host would wait.

Operations are seen as PyTorch dispatches them, forwards and backwards, and belong to the component of the model whose
code made them; those of the backward pass to the component of the operation that they are the derivative of. An
operation that is no view is one launch, but for those of LAUNCHES. It moves its inputs and outputs once.
"""

import collections
import contextlib
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import flop_registry

ROOT = Path(__file__).resolve().parents[1]
PASSED_OVER = {str(path) for path in (*Path(__file__).parent.glob("*.py"), ROOT / "torch_utils" / "distributed.py")}
OUTSIDE = "rest"  # the component of what belongs to none
# Operations that touch no element, or only set up memory.
VIEWS = frozenset(
    "view _unsafe_view t transpose permute expand slice select unsqueeze squeeze detach alias as_strided unbind split "
    "split_with_sizes unflatten _reshape_alias lift_fresh empty empty_strided empty_like new_empty new_empty_strided "
    "unfold narrow diagonal set_ is_same_size chunk real _record_function_enter_new _record_function_exit".split()
)
# Operations that write and do not read.
FILLS = frozenset(
    "zeros ones full arange linspace rand randn zero_ fill_ zeros_like ones_like full_like new_zeros new_ones new_full "
    "scalar_tensor".split()
)
LAUNCHES = {"sort": 8, "bincount": 4, "cumsum": 2}  # of operations that are several; radix sort by passes of 8 bits
SORT_PASSES = 8  # in which a sort moves everything
CONVOLUTIONS = {"convolution": 0, "convolution_backward": 1}  # and where their image stands, before the weight
WAITS = frozenset({"_local_scalar_dense", "nonzero", "bincount", "equal"})  # the host needs their result to go on


@dataclass
class Tally:
    """What a component asks for.

    Args:
        flops: by the name of the data type; a multiply-add counts two.
        seconds: ideal time: for each operation the longer of computing and moving.
    """

    flops: dict[str, float] = field(default_factory=lambda: collections.defaultdict(float))
    bytes: float = 0.0
    launches: float = 0.0
    seconds: float = 0.0

    def add(self, other: "Tally", times: float = 1.0) -> None:
        """Add another tally, so many times."""
        for dtype, count in other.flops.items():
            self.flops[dtype] += count * times
        self.bytes += other.bytes * times
        self.launches += other.launches * times
        self.seconds += other.seconds * times


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What a GPU can do: FLOP/s in float32, of its products in TF32, and in half precision; bytes a second."""

    name: str
    full: float
    tf32: float
    half: float
    memory: float

    def seconds(self, flops: float, dtype: torch.dtype | None, size: float) -> float:
        """Return the least time of an operation."""
        rate = self.half if dtype in (torch.float16, torch.bfloat16) else self.full
        return max(flops / rate, size / self.memory)


class Counting(TorchDispatchMode):
    """A context that counts all operations that run in it.

    Attributes:
        tallies: by component.
        operations: by name.
        waits: how often the host would wait, by operation and line of code.
        saved: bytes that are kept for the backward pass, by component.
    """

    def __init__(self, rates: Rates):
        super().__init__()
        self.rates = rates
        self.tallies: dict[str, Tally] = collections.defaultdict(Tally)
        self.operations: dict[str, Tally] = collections.defaultdict(Tally)
        self.waits: collections.Counter = collections.Counter()
        self.saved: collections.Counter = collections.Counter()
        self._components = [OUTSIDE]
        self._owners: dict[int, str] = {}  # by number of the autograd node
        self._next_node = torch._C._autograd._get_sequence_nr()
        self._kept: dict[int, torch.Tensor] = {}

    def clear(self) -> None:
        """Forget all counts so far, but not what is kept for a backward pass."""
        for counts in (self.tallies, self.operations, self.waits):
            counts.clear()

    # --- Components ---

    @contextlib.contextmanager
    def component(self, name: str) -> Iterator[None]:
        """Let what happens in the block belong to a component."""
        self._claim()
        self._components.append(name)
        try:
            yield
        finally:
            self._claim()
            self._components.pop()

    def _claim(self) -> None:
        """Give the autograd nodes that were made since the last call to the present component."""
        upcoming = torch._C._autograd._get_sequence_nr()
        for number in range(self._next_node, upcoming):
            self._owners.setdefault(number, self._current())
        self._next_node = max(upcoming, self._next_node)

    def _current(self) -> str:
        """Return the component that an operation belongs to now.

        In a backward pass that is the owner of the node, unless a checkpoint computes a component's forward pass anew.
        """
        node: Any = torch._C._current_autograd_node()
        if node is None or self._components[-1] != OUTSIDE:
            return self._components[-1]
        return self._owners.get(node._sequence_nr(), OUTSIDE)

    # --- Operations ---

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._overloadpacket.__name__
        self._claim()
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        on_device = any(tensor.device.type == "meta" for tensor in inputs)
        if (name in WAITS and on_device) or _crosses(inputs, kwargs):
            self.wait(name)
        if name == "_local_scalar_dense" and on_device:
            return 1.0  # whatever it would be
        out = _laid_out(name, args, func(*args, **kwargs))
        if name in VIEWS or (inputs and not on_device):  # small things of the host
            return out
        outputs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        flops = _flops(func, args, kwargs, out)
        targets = [kwargs[each.name] for each in func._schema.arguments if each.is_out and each.name in kwargs]
        read = [tensor for tensor in inputs if not any(tensor is target for target in targets)]
        size = _moved(name, args, read, outputs)
        computed_in = inputs if flops else outputs  # a product may return more than it multiplies
        self.add(name, flops, size, _launches(name, args), computed_in[0].dtype if computed_in else None)
        return out

    def add(self, name: str, flops: float, size: float, launches: int, dtype: torch.dtype | None) -> None:
        """Count an operation."""
        one = Tally(bytes=size, launches=launches, seconds=self.rates.seconds(flops, dtype, size))
        if flops:
            one.flops[str(dtype).removeprefix("torch.")] = flops
        self.tallies[self._current()].add(one)
        self.operations[name].add(one)

    def wait(self, name: str) -> None:
        """Count that the host waits, at the innermost line of this project that is not about several processes."""
        for frame in reversed(traceback.extract_stack()):
            path = Path(frame.filename)
            if path.is_relative_to(ROOT) and ".venv" not in path.parts and frame.filename not in PASSED_OVER:
                self.waits[f"{name} at {path.relative_to(ROOT)}:{frame.lineno}"] += 1
                return
        self.waits[f"{name} in the backward pass"] += 1

    # --- Memory ---

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        """Count a tensor that autograd saves, each storage once; parameters are there anyway."""
        if isinstance(tensor, torch.nn.Parameter):
            return tensor
        storage = tensor.untyped_storage()
        if storage._cdata not in self._kept:
            self._kept[storage._cdata] = tensor  # alive, so that no other storage gets its address
            self.saved[self._current()] += storage.nbytes()
        return tensor

    def saving(self) -> contextlib.AbstractContextManager:
        """Return a context in which what autograd saves is counted."""
        return torch.autograd.graph.saved_tensors_hooks(self.keep, lambda tensor: tensor)


def _crosses(inputs: list[torch.Tensor], kwargs: dict[str, Any]) -> bool:
    """Return whether an operation takes numbers from the host to the device: a copy that the host waits for.

    It does not for those of pinned memory, which `torch_utils.transfers` makes.
    """
    if kwargs.get("non_blocking"):
        return False
    devices = {tensor.device.type for tensor in inputs if tensor.ndim > 0}
    target = kwargs.get("device")
    if target is not None and devices == {"cpu"}:
        return torch.device(target).type == "meta"
    return len(devices) > 1


def _flops(func: Any, args: Any, kwargs: Any, out: Any) -> float:
    """Return the FLOPs of an operation."""
    count = flop_registry.get(func._overloadpacket)
    if count is None:
        return 0.0
    if func._overloadpacket is torch.ops.aten.convolution_backward and args[9] > 1:
        return _grouped_backward_flops(args)
    tensors = [arg for arg in args if not isinstance(arg, torch.dtype)]  # that of the result is no part of the formula
    return float(count(*tensors, **kwargs, out_val=out))


def _grouped_backward_flops(args: Any) -> float:
    """Return the FLOPs of a grouped convolution's backward pass.

    PyTorch's formula takes the groups' weights for those of one dense convolution, so many times too many. Each wanted
    gradient costs as much as the convolution itself: a multiply-add for each output (of a transposed one, each input)
    and weight of its group.
    """
    dout, x, weight = args[:3]
    transposed = args[7]
    wanted = args[10]
    places = x if transposed else dout
    taps = weight[0].numel()
    return 2.0 * places.numel() * taps * (bool(wanted[0]) + bool(wanted[1]))


def _laid_out(name: str, args: Any, out: Any) -> Any:
    """Return an operation's results in the memory format that a GPU gives them.

    Convolutions there keep to channels-last images (and weights); on the meta device they forget it.
    """
    if name not in CONVOLUTIONS:
        return out
    image, weight = args[CONVOLUTIONS[name] :][:2]
    if not any(_is_channels_last(tensor) for tensor in (image, weight)):
        return out
    return tree_map_only(
        torch.Tensor,
        lambda tensor: torch.empty_like(tensor, memory_format=torch.channels_last) if tensor.ndim == 4 else tensor,
        out,
    )


def _is_channels_last(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def _launches(name: str, args: Any) -> int:
    """Return how many kernels an operation is."""
    if name == "convolution_backward":
        return sum(map(bool, args[10]))
    return LAUNCHES.get(name, 1)


def _moved(name: str, args: Any, inputs: list[torch.Tensor], outputs: list[torch.Tensor]) -> float:
    """Return the bytes that an operation reads and writes."""
    written = sum(tensor.nbytes for tensor in outputs)
    if name in FILLS:
        return written
    if "embedding_bag" in name and "backward" not in name:
        table, rows = args[:2]
        return 2 * rows.nbytes + rows.numel() * table.shape[1] * table.element_size() + outputs[0].nbytes
    if name == "_embedding_bag_per_sample_weights_backward":
        dout, table, rows = args[:3]
        return 3 * rows.nbytes + rows.numel() * table.shape[1] * table.element_size() + dout.nbytes
    size = sum(map(_read, inputs)) + written
    return size * SORT_PASSES if name == "sort" else size


def _read(tensor: torch.Tensor) -> float:
    """Return the bytes of a tensor that are read: of an expanded one, those that are there."""
    return tensor.untyped_storage().nbytes() if 0 in tensor.stride() else tensor.nbytes


# --- Components of a model -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def labelled(counting: Counting, places: dict[tuple[Any, str], str | Callable[..., str]]) -> Iterator[None]:
    """Let functions and methods be components while the block runs.

    Args:
        places: {(module or class, name): component, or what returns it from the arguments}.
    """
    before = {place: getattr(*place) for place in places}
    try:
        for (owner, name), label in places.items():
            setattr(owner, name, _labelled(before[owner, name], label, counting))
        yield
    finally:
        for (owner, name), function in before.items():
            setattr(owner, name, function)


def _labelled(function: Callable, label: str | Callable[..., str], counting: Counting) -> Callable:
    def call(*args: Any, **kwargs: Any) -> Any:
        with counting.component(label if isinstance(label, str) else label(*args, **kwargs)):
            return function(*args, **kwargs)

    return call
