"""torch_utils.startup: what a command's options about the machine set, and that it leaves the other processes."""

import contextlib

import pytest
import torch

from dnnlib.errors import UserError
from torch_utils import custom_ops, distributed, machine_options, runtime, startup
from torch_utils.startup import Machine, prepared_machine


@pytest.fixture(autouse=True)
def calls(monkeypatch) -> list[str]:
    """Names of the functions that were called, in order; they set nothing."""
    called: list[str] = []

    def note(module, name, result=None):
        def replacement(*arguments, **options):
            called.append(name)
            return arguments[0] if result is None and arguments else result

        monkeypatch.setattr(module, name, replacement)

    note(runtime, "tune_cpu_allocator")
    note(runtime, "set_threads")
    note(runtime, "allow_tf32")
    note(runtime, "search_convolutions")
    note(custom_ops, "set_ops_mode")
    note(distributed, "init")
    note(distributed, "shutdown")
    return called


def test_the_allocator_is_first_and_the_processes_are_left_last(calls):
    with prepared_machine(join=True) as machine:
        assert machine.device == torch.device("cpu") and machine.dtype is None and machine.notes == ()
        calls.append("body")
    first, *_ = calls
    assert first == "tune_cpu_allocator"
    assert set(calls[:4]) == {"tune_cpu_allocator", "set_threads", "search_convolutions", "set_ops_mode"}
    assert calls[4:] == ["init", "allow_tf32", "body", "allow_tf32", "search_convolutions", "shutdown"]


def test_processes_are_joined_only_if_asked(calls):
    with prepared_machine():
        pass
    assert "init" not in calls


def test_processes_are_left_after_an_error(calls):
    with pytest.raises(UserError, match="broken"), prepared_machine(join=True):
        raise UserError("broken")
    assert calls[-1] == "shutdown"


@pytest.mark.parametrize("precision, dtype", [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_a_precision_that_is_slow_comes_with_a_note(monkeypatch, precision, dtype):
    monkeypatch.setattr(runtime, "amx_works", lambda: False)
    with prepared_machine(precision=precision) as machine:
        assert machine.dtype == dtype
        (note,) = machine.notes
        assert f"no fast {precision} arithmetic: it computes in {precision} all the same" in note


def test_a_precision_may_be_chosen_later(monkeypatch):
    monkeypatch.setattr(runtime, "amx_works", lambda: True)
    with prepared_machine() as machine:
        assert machine.best_precision == "bf16" and machine.dtype is None
        assert machine.computing_in("bf16") == Machine(device=torch.device("cpu"), dtype=torch.bfloat16)


def test_every_precision_has_a_meaning():
    assert {*machine_options.PRECISIONS} == {"fp32", "tf32", *runtime.HALF_PRECISION}


@pytest.mark.parametrize("precision, allowed", [("tf32", True), ("fp32", False), ("bf16", False), ("fp16", False)])
def test_tf32_is_allowed_on_a_gpu_where_it_is_asked_for(monkeypatch, precision, allowed):
    """And numbers that are kept say so: a GPU's fp32 and tf32 differ, a CPU's do not."""
    found = []
    monkeypatch.setattr(runtime, "allow_tf32", found.append)
    machine = Machine(device=torch.device("cuda")).computing_in(precision)
    assert found == [allowed] and machine.tf32 == allowed
    assert (machine.number_format == "tf32") == allowed
    on_cpu = Machine(device=torch.device("cpu")).computing_in("tf32")
    assert found[1:] == [False] and on_cpu.number_format == "torch.float32"
    assert on_cpu.notes == ("A CPU has no TF32: it computes in fp32.",)


def test_what_a_command_has_set_ends_with_it(monkeypatch):
    tf32, searches = [], []
    monkeypatch.setattr(runtime, "allow_tf32", tf32.append)
    monkeypatch.setattr(runtime, "search_convolutions", searches.append)
    with prepared_machine(fixed_shapes=True):
        assert searches == [True]
    assert searches == [True, False] and tf32[-1] is False


# --- Several processes ------------------------------------------------------------------------------------------------


@pytest.fixture
def divided(monkeypatch) -> list[int]:
    """The numbers of processes that were asked for; none but this one is started."""
    counts: list[int] = []

    @contextlib.contextmanager
    def forked(count):
        counts.append(count)
        yield None if count == 1 else distributed.Meeting(rank=0, world=count, path="")

    monkeypatch.setattr(startup, "forked", forked)
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(runtime, "cores", lambda: 5)
    return counts


@pytest.mark.parametrize(
    "options, count, note",
    [
        ({}, 1, ()),
        ({"that_pay": lambda cores: cores}, 5, ("Computing in 5 processes of one thread each.",)),
        ({"that_pay": lambda cores: cores // 2}, 2, ("Computing in 2 processes of 2 threads each.",)),
        ({"that_pay": lambda cores: cores, "processes": 1}, 1, ()),
        ({"that_pay": lambda cores: 1, "processes": 7}, 7, ("Computing in 7 processes of one thread each.",)),
    ],
)
def test_a_cpu_is_divided_into_what_is_asked_for_or_pays(divided, options, count, note):
    with prepared_machine(join=True, **options) as machine:
        assert divided == [count] and machine.notes == note


def test_processes_of_a_launcher_are_not_divided(divided, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    with prepared_machine(join=True, that_pay=lambda cores: cores), prepared_machine(join=True, processes=1):
        assert divided == [1, 1]
    with (
        pytest.raises(UserError, match="--processes=2 .* torchrun has started all there are"),
        prepared_machine(join=True, processes=2),
    ):
        pass


def test_a_gpu_takes_one_process(divided, monkeypatch):
    monkeypatch.setattr(runtime, "select_device", lambda name: torch.device("cuda"))
    with prepared_machine(that_pay=lambda cores: cores):
        assert divided == [1]
    with (
        pytest.raises(UserError, match="--processes=2 .* start torchrun for several GPUs"),
        prepared_machine(processes=2),
    ):
        pass


def test_systems_that_cannot_divide_a_command_take_one_process(divided, monkeypatch):
    monkeypatch.setattr(startup, "CAN_FORK", False)
    with prepared_machine(that_pay=lambda cores: cores):
        pass
    with pytest.raises(UserError, match="--processes=2 .* only on Linux"), prepared_machine(processes=2):
        pass
    assert divided == [1]
