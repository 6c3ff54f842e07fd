"""Several processes, of `torchrun` or forked by the command. Nothing else in the code asks torch.distributed.

Every function is a no-op, or its one-process equivalent, when the process is alone.
"""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from dnnlib.cli import USAGE_STATUS
from dnnlib.errors import UserError
from dnnlib.files import shown

TIME_LIMIT = timedelta(minutes=20)  # longest wait for another process, which may be building ops
PATIENCE = timedelta(days=7)  # longest wait for what the main process does for all
# Seconds before a group goes. Torch 2.4 holds Python's lock while it waits for the group's threads to end; one that has
# yet to drop the tensors of its last work needs that lock, and both wait for ever. Here it gets it.
LAST_WORK = 0.2
# What other launchers than torchrun tell a process: how many there are of it, and which one it is. SLURM_NTASKS counts
# the allocation's, which a batch script that starts one process has, too.
LAUNCHERS = {
    "srun": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    "mpirun": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    "mpiexec": ("PMI_SIZE", "PMI_RANK"),
}
# How gloo and NCCL say that another process is gone.
PEER_GONE = re.compile("closed by peer|reset by peer|Broken pipe|remote process exited")
LOOPBACK = "lo"  # Linux's name of the network of this machine alone

Value = TypeVar("Value")

# --- Start and end ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Where the processes of one command on one machine meet (`torch_utils.processes`)."""

    rank: int
    world: int
    path: str  # of an empty file that all of them can write


def init(device: torch.device, time_limit: timedelta = TIME_LIMIT, meeting: Meeting | None = None) -> torch.device:
    """Join the other processes of this command or this `torchrun`, if there are any.

    Args:
        device: what the user asked for; `cuda` becomes this process's own GPU.
        time_limit: how long any later call waits for the other processes before it raises RuntimeError.
        meeting: None: what torchrun says in the environment.

    Returns:
        The device of this process.

    Raises:
        UserError: the environment is not torchrun's or incomplete, its port is taken, the others cannot be reached, or
            this machine has fewer GPUs than processes.
    """
    if dist.is_initialized() or (meeting is None and _processes() == 1):
        return device
    device = _own_device(device)
    # Small CPU tensors and objects go over gloo, so that they never wait for the GPU.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    # This module, which torch.optim imports, keeps the group there is at its import as default arguments. It would
    # outlive `shutdown`, and its threads abort Python's exit now and then: so let it be imported while there is none.
    from torch.distributed.nn import functional  # noqa: F401

    place: dict[str, Any] = {}
    if meeting is not None:
        os.environ["GLOO_SOCKET_IFNAME"] = LOOPBACK  # else it takes the network that the machine's name means, if any
        place = {"init_method": f"file://{meeting.path}", "rank": meeting.rank, "world_size": meeting.world}
    try:
        dist.init_process_group(backend, timeout=time_limit, **place)
    except ValueError as error:
        raise UserError(f"The distributed environment is incomplete ({error}): start with torchrun.") from error
    except RuntimeError as error:
        raise _no_meeting(error, meeting) from error
    return device


def is_launched() -> bool:
    """Tell whether a launcher started this process, be it the only one; UserError as of `init`."""
    return _processes() > 1 or "WORLD_SIZE" in os.environ


def _processes() -> int:
    """Return how many processes this torchrun has. UserError if the environment contradicts itself, or is another's."""
    rank = _environment("RANK", 0)
    world = _environment("WORLD_SIZE", 1)
    if "WORLD_SIZE" in os.environ:
        if rank >= world:
            raise UserError(f"RANK={rank} is none of WORLD_SIZE={world} processes: start with torchrun, or unset both.")
        return world
    if "RANK" in os.environ:
        raise UserError(f"RANK={rank} is in the environment without WORLD_SIZE: start with torchrun, or unset it.")
    for launcher, (number, own_rank) in LAUNCHERS.items():
        if own_rank in os.environ and _environment(number, 1) > 1:
            raise UserError(
                f"{launcher} started {os.environ[number]} processes that know nothing of each other ({number}): let it "
                "start one a machine that calls torchrun (examples/slurm.sbatch), or a single one (srun --ntasks=1)."
            )
    return world


def _no_meeting(error: RuntimeError, meeting: Meeting | None) -> UserError:
    """Return why the processes do not come together, in a sentence."""
    address = os.environ.get("MASTER_ADDR", "")
    port = os.environ.get("MASTER_PORT", "")
    reason = shown(str(error).partition("\n")[0])
    if meeting is not None:
        return UserError(f"The processes of this command do not meet ({reason}): --processes=1 keeps to one.")
    if "EADDRINUSE" in reason or "address already in use" in reason.lower():
        return UserError(
            f"MASTER_PORT={port} is taken by another program on this machine: choose another one, with torchrun "
            "--master-port=PORT, or --standalone on a single machine."
        )
    return UserError(
        f"The processes do not meet at {address}:{port} ({reason}): look whether all of them run, and whether all "
        "machines reach that address and port."
    )


def _environment(name: str, default: int) -> int:
    """Read a whole number from the environment."""
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise UserError(f"{name}={text} in the environment is not a number: start with torchrun, or unset it.")
    return int(text)


def _own_device(device: torch.device) -> torch.device:
    """Return this process's own GPU where any is asked for."""
    if device.type != "cuda":
        return device
    local_rank = _environment("LOCAL_RANK", 0)
    count = torch.cuda.device_count()
    if device.index is not None and _environment("LOCAL_WORLD_SIZE", 1) > 1:
        raise UserError(f"--device={device} names one GPU for several processes: use --device=cuda under torchrun.")
    if local_rank >= count:
        raise UserError(
            f"Process {local_rank} of this machine has no GPU (there are {count}): "
            f"start torchrun with --nproc_per_node={count} or less."
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def shutdown() -> None:
    """Leave the group; call it at the end of the program."""
    if dist.is_initialized():
        time.sleep(LAST_WORK)
        dist.destroy_process_group()
        _patient_group.cache_clear()


def rank() -> int:
    """Return the number of this process, 0 to world_size() - 1."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Tell whether this is the process that prints and writes files."""
    return rank() == 0


# --- Objects and failures ---------------------------------------------------------------------------------------------


def is_about_peer(error: BaseException) -> bool:
    """Tell whether an error is the end of another process."""
    return isinstance(error, RuntimeError) and world_size() > 1 and PEER_GONE.search(str(error)) is not None


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        dist.all_reduce(torch.zeros(1))


@contextlib.contextmanager
def fail_together(group: dist.ProcessGroup | None = None) -> Iterator[None]:
    """End all processes with a UserError that any of them raises in the block. Every process must enter the block.

    The main process raises the error, whichever process it came from; the others exit quietly with the status of a
    user's mistake. So it is printed once, and no process waits for another that has ended.

    Args:
        group: as of `gather`.
    """
    problem: UserError | None = None
    try:
        yield
    except UserError as error:
        problem = error
    messages = gather(None if problem is None else str(problem), group)
    first = next((message for message in messages if message is not None), None)
    if first is not None:
        if not is_main():
            raise SystemExit(USAGE_STATUS)
        raise problem or UserError(first)


def gather(value: Value, group: dist.ProcessGroup | None = None) -> list[Value]:
    """Return the values (small picklable objects) of all processes, in order of rank, on every process.

    Args:
        group: of all processes, that waits longer than usual.
    """
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value, group)
    return values


def greatest(*numbers: float) -> tuple[float, ...]:
    """Return of each number the greatest of all processes. Every process must call it.

    It is the cheapest exchange there is: one small reduction, in which hosts wait for each other and for no device.
    """
    if world_size() == 1:
        return numbers
    values = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(values, dist.ReduceOp.MAX)
    return tuple(values.tolist())


def require_same(value: str | None, complaint: str) -> None:
    """Raise a UserError unless all processes have the same value. Every process must call it."""
    with fail_together():
        if len(set(gather(value))) > 1:
            raise UserError(complaint)


def from_main(compute: Callable[[], Value]) -> Value:
    """Return on every process what `compute` returns on the main one, which may take its time. Every process must call.

    Raises:
        UserError: as `compute`; as of `fail_together`.
    """
    if world_size() == 1:
        return compute()
    with fail_together(patient_group()):
        value = compute() if is_main() else None
    return cast(Value, gather(value)[0])


def patient_group() -> dist.ProcessGroup | None:
    """Return a group of all processes that waits for work of others, however long; None where this one is alone."""
    return _patient_group() if world_size() > 1 else None


@cache
def _patient_group() -> dist.ProcessGroup:
    """Return the group, which is made once.

    It stays until `shutdown`, for the reason at LAST_WORK.
    """
    return dist.new_group(timeout=PATIENCE, backend="gloo")


# --- Tensors ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def broadcast(tensors: Iterable[torch.Tensor]) -> None:
    """Overwrite every tensor with that of the main process. Shapes must agree."""
    if world_size() == 1:
        return
    for tensor in tensors:
        flat = tensor.detach().contiguous()
        dist.broadcast(flat, src=0)
        if flat.data_ptr() != tensor.data_ptr():
            tensor.copy_(flat)


@torch.no_grad()
def average(tensors: Iterable[torch.Tensor]) -> None:
    """Replace every tensor by its mean over all processes. Shapes must agree."""
    if world_size() == 1:
        return
    for tensor in tensors:
        flat = tensor.detach().contiguous()
        dist.all_reduce(flat)
        tensor.copy_(flat / world_size())


def start_sum(tensor: torch.Tensor) -> Callable[[], object]:
    """Begin to add a tensor up over all processes, in place; return what waits for the sum.

    On a GPU only the device waits. Every process must call it, for the same tensors in the same order.
    """
    if world_size() == 1:
        return lambda: None
    return dist.all_reduce(tensor, async_op=True).wait
