"""torch_utils.runtime: devices that exist, memory that is reused, numerics that are fp32."""

import contextlib
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dnnlib.errors import UserError
from torch_utils import runtime

ROOT = Path(__file__).parents[2]

# Counts page faults of one large tensor, and of the second of two equal smaller ones, in a process that has imported
# everything that a command imports: a module that makes a tensor when imported would switch large pages off. (The least
# of three sizes: something small may come to lie behind a first one, whose place is then too short for the second.)
FAULTS = """
import importlib, pathlib, resource
import torch
for path in sorted(pathlib.Path().glob('t*/**/*.py')):
    if path.parts[0] in ('training', 'torch_utils') and path.stem not in ('__init__', '__main__'):
        importlib.import_module('.'.join(path.with_suffix('').parts))
from torch_utils.runtime import tune_cpu_allocator
tune_cpu_allocator()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
start = faults(); big = torch.ones(64 * 2 ** 20 // 4); print(faults() - start)
def second(megabytes):
    small = torch.ones(megabytes * 2 ** 20 // 4); del small
    start = faults(); small = torch.ones(megabytes * 2 ** 20 // 4)
    return faults() - start
print(min(map(second, (8, 16, 31))))
"""


def test_devices():
    assert runtime.select_device("cpu") == torch.device("cpu")
    assert runtime.select_device(torch.device("cpu")) == torch.device("cpu")
    assert runtime.select_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "cuda:", "cuda:x", "cuda:-1", ""):
        with pytest.raises(UserError, match="Unknown device"):
            runtime.select_device(name)


def test_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:1", torch.device("cuda", 1)):
        with pytest.raises(UserError, match=f"{name} is not there"):
            runtime.select_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert runtime.select_device("cuda:1") == torch.device("cuda", 1)
    assert runtime.select_device("auto") == torch.device("cuda")
    with pytest.raises(UserError, match="cuda:0 to cuda:1"):
        runtime.select_device("cuda:2")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_memory_is_reused():
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    big, again = map(int, done.stdout.split())
    # Far above what is seen on a quiet machine (32 and 0): one short of memory takes pages back, or has no large ones.
    assert again < 1000, "a freed tensor of 8 MB or more (2,048 pages) is used again"
    assert big < 17_000, "a 64 MB tensor has 16,384 small pages, 32 large ones"


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(runtime.ctypes, "CDLL", lambda name: object())
    assert runtime.tune_cpu_allocator() is False


@pytest.fixture
def keep_switches():
    yield
    runtime.allow_tf32(False)
    runtime.search_convolutions(False)


def tf32_switches() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def test_tf32_is_allowed_or_not(keep_switches):
    for allowed in (True, False):
        runtime.allow_tf32(allowed)
        assert tf32_switches() == (allowed, allowed)
        assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
        assert not torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction


def test_what_is_measured_is_so_without_tf32(keep_switches):
    seen = runtime.full_float32()(tf32_switches)
    runtime.allow_tf32(True)
    assert seen() == (False, False) and tf32_switches() == (True, True)
    with contextlib.suppress(ZeroDivisionError), runtime.full_float32():
        _ = 1 / 0
    assert tf32_switches() == (True, True)


def test_every_switch_is_as_before_behind_it(keep_switches):
    for products, convolutions, half in ((False, True, True), (True, False, False)):
        torch.backends.cuda.matmul.allow_tf32 = products
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = half
        with runtime.full_float32():
            assert tf32_switches() == (False, False)
        assert tf32_switches() == (products, convolutions)
        assert torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction == half


def test_the_search_for_convolutions_is_a_choice(keep_switches):
    for wanted in (True, False):
        runtime.search_convolutions(wanted)
        assert torch.backends.cudnn.benchmark == wanted


def test_the_search_is_left_out_in_a_block_whatever_happens_there(keep_switches):
    for wanted in (True, False):
        runtime.search_convolutions(wanted)
        with contextlib.suppress(ZeroDivisionError), runtime.without_search():
            assert not torch.backends.cudnn.benchmark
            _ = 1 / 0
        assert torch.backends.cudnn.benchmark == wanted


@pytest.mark.parametrize("capability, best", [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp16")])
def test_a_gpu_computes_in_bfloat16_if_it_has_it(monkeypatch, capability, best):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert runtime.best_precision(torch.device("cuda")) == best


@pytest.fixture
def keep_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("quota, cores", [("200000 100000", 2), ("50000 100000", 1), ("max 100000", 5), ("", 5)])
def test_threads_stay_within_a_containers_quota(tmp_path, monkeypatch, keep_threads, quota, cores):
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(runtime, "CPU_QUOTA", tmp_path / "cpu.max")
    torch.set_num_threads(5)
    assert runtime.set_threads() == torch.get_num_threads() == cores


def test_threads_by_number(keep_threads):
    assert runtime.set_threads(2) == torch.get_num_threads() == 2
    with pytest.raises(UserError, match="too few"):
        runtime.set_threads(0)


@pytest.mark.parametrize(
    "device, flags, survives, best",
    [
        ("cpu", {"amx_bf16", "avx512_bf16"}, True, "bf16"),
        ("cpu", {"amx_bf16", "avx512_bf16"}, False, "fp32"),
        ("cpu", {"avx512_bf16"}, True, "fp32"),
        ("cpu", set(), True, "fp32"),
    ],
)
def test_the_precision_that_a_machine_is_fastest_in(monkeypatch, device, flags, survives, best):
    monkeypatch.setattr(runtime, "cpu_flags", lambda: flags)
    monkeypatch.setattr(runtime, "_survives", lambda action: survives)
    assert runtime.best_precision(torch.device(device)) == best


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("works", [True, False])
@pytest.mark.parametrize(
    "precision, dtype", [("fp32", None), ("tf32", None), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_precision_means_the_same_everywhere(monkeypatch, device, works, precision, dtype):
    monkeypatch.setattr(runtime, "amx_works", lambda: works)
    found, note = runtime.compute_dtype(precision, torch.device(device))
    assert found == dtype
    is_fast = precision == "fp32" or device == "cuda" or (precision == "bf16" and works)
    assert (note is None) == is_fast


@pytest.mark.parametrize(
    "flags, survives, limit",
    [({"amx_tile"}, False, "AVX512_CORE_FP16"), ({"amx_bf16"}, True, None), ({"avx512_bf16"}, True, None)],
)
def test_matrix_units_that_crash_are_left_alone(monkeypatch, flags, survives, limit):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(runtime, "cpu_flags", lambda: flags)
    monkeypatch.setattr(runtime, "_survives", lambda action: survives)
    runtime.avoid_broken_amx()
    assert os.environ.get("ONEDNN_MAX_CPU_ISA") == limit
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)


@pytest.mark.parametrize(
    "action, survives",
    [(lambda: None, True), (lambda: os.kill(os.getpid(), signal.SIGILL), False), (lambda: 1 / 0, False)],
)
def test_a_crash_is_survived_by_the_process_that_tries(action, survives):
    assert runtime._survives(action) is survives


def test_bfloat16_that_is_promised_does_not_crash():
    code = (
        "import torch; from torch_utils.runtime import compute_dtype; torch.set_num_threads(1)\n"
        "dtype, _ = compute_dtype('bf16', torch.device('cpu'))\n"
        "a = torch.ones(64, 64, dtype=dtype); print((a @ a).sum().item())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "262144.0\n"), done.stderr[-2000:]
