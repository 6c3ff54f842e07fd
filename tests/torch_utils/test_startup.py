"""torch_utils.startup: what a command's options about the machine set, and that it leaves the other processes."""

import pytest
import torch

from dnnlib.errors import UserError
from torch_utils import custom_ops, distributed, machine_options, runtime
from torch_utils.startup import Machine, prepared_machine


@pytest.fixture(autouse=True)
def calls(monkeypatch) -> list[str]:
    """Names of the functions that were called, in order; they set nothing."""
    called: list[str] = []

    def note(module, name, result=None):
        def replacement(*arguments):
            called.append(name)
            return arguments[0] if result is None and arguments else result

        monkeypatch.setattr(module, name, replacement)

    note(runtime, "tune_cpu_allocator")
    note(runtime, "set_threads")
    note(runtime, "disable_tf32")
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
    assert set(calls[:4]) == {"tune_cpu_allocator", "set_threads", "disable_tf32", "set_ops_mode"}
    assert calls[4:] == ["init", "body", "shutdown"]


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
    assert {*machine_options.PRECISIONS} == {"fp32", *runtime.HALF_PRECISION}
