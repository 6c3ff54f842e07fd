"""Ops modes, the cache of compiled kernels, and one builder among many processes."""

import contextlib
import ctypes
import errno
import fcntl
import multiprocessing
import os
import signal
import time
import warnings

import pytest
import torch

from dnnlib.errors import UserError
from tests.helpers import device_kernels
from torch_utils import custom_ops, kernel_builder
from torch_utils.kernel_builder import BuildProblem, build_once

FORK = multiprocessing.get_context("fork")  # the children only touch files


@pytest.fixture(autouse=True)
def fresh_state(monkeypatch):
    """No library loaded, none examined, mode auto; restored afterwards."""
    monkeypatch.setattr(custom_ops, "_libraries", {})
    monkeypatch.setattr(
        custom_ops, "disagreement", lambda name, library, device: custom_ops._libraries.update({name: library})
    )
    monkeypatch.setattr(custom_ops, "_mode", "auto")


class OnGpu:
    """Looks like a CUDA tensor to the dispatch."""

    device, dtype = torch.device("cuda", 0), torch.float32

    @staticmethod
    def numel() -> int:
        return 1


def problem(*_):
    raise BuildProblem("No compiler.", "Install one.")


# --- Modes ------------------------------------------------------------------------------------------------------------


def test_unknown_mode():
    with pytest.raises(UserError, match="auto, native, cuda"):
        custom_ops.set_ops_mode("fast")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_cuda_without_gpu_is_an_error():
    with pytest.raises(UserError, match="needs a CUDA GPU"):
        custom_ops.set_ops_mode("cuda")
    assert custom_ops.ops_mode() == "auto"


def test_cuda_that_does_not_build_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(custom_ops, "load_library", problem)
    with pytest.raises(UserError, match="No compiler. Install one."):
        custom_ops.set_ops_mode("cuda")


def test_auto_falls_back_with_one_warning(monkeypatch):
    monkeypatch.setattr(custom_ops, "load_library", problem)
    with pytest.warns(UserWarning, match="No compiler.*several times longer.*Install one.") as caught:
        for name in (*kernel_builder.OPS, *kernel_builder.OPS):
            assert custom_ops.library_for(name, OnGpu()) is None
    assert len(caught) == 1


def test_native_and_cpu_tensors_never_build(monkeypatch):
    monkeypatch.setattr(custom_ops, "load_library", lambda name, device: pytest.fail("it tried to build"))
    assert custom_ops.library_for("bias_act", torch.zeros(1)) is None
    custom_ops.set_ops_mode("native")
    assert custom_ops.library_for("bias_act", OnGpu()) is None


def test_library_is_loaded_once(monkeypatch):
    loaded = []
    monkeypatch.setattr(custom_ops, "load_library", lambda name, device: loaded.append(name) or name)
    assert [custom_ops.library_for("bias_act", OnGpu()) for _ in range(3)] == ["bias_act"] * 3
    assert loaded == ["bias_act"]


# --- Cache ------------------------------------------------------------------------------------------------------------


def test_cache_key_names_everything_that_matters(monkeypatch, tmp_path):
    monkeypatch.setenv("PV3D_CACHE_DIR", str(tmp_path))
    folder = kernel_builder.library_folder(["80", "90"])
    assert tmp_path in folder.parents
    assert torch.__version__ in folder.name and "sm80_90" in folder.name and str(torch.version.cuda) in folder.name
    assert folder == kernel_builder.library_folder(["80", "90"]) != kernel_builder.library_folder(["90"])
    changed = tmp_path / "sources"
    changed.mkdir()
    for path in kernel_builder.source_files():
        (changed / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(kernel_builder, "SOURCES", changed)
    assert kernel_builder.library_folder(["80", "90"]) == folder
    (changed / "portable.h").write_text("// changed")
    assert kernel_builder.library_folder(["80", "90"]) != folder


def test_bad_time_limit(monkeypatch):
    monkeypatch.setenv("PV3D_BUILD_TIMEOUT", "soon")
    with pytest.raises(UserError, match="PV3D_BUILD_TIMEOUT"):
        kernel_builder.build_limit()
    monkeypatch.setenv("PV3D_BUILD_TIMEOUT", "2.5")
    assert kernel_builder.build_limit() == 2.5


def test_unwritable_cache_names_the_variable(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildProblem, match="PV3D_CACHE_DIR"):
        build_once("op", tmp_path / "file" / "folder", lambda target: None, limit=1)


def test_a_cache_without_locks_names_the_variable(monkeypatch, tmp_path):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(BuildProblem, match="without locks.*PV3D_CACHE_DIR"):
        build_once("op", tmp_path, slow_compile(tmp_path, 0), limit=1)


# --- Compiling --------------------------------------------------------------------------------------------------------


@device_kernels.needs_nvcc
@pytest.mark.parametrize("op", kernel_builder.OPS)
def test_sources_compile_for_ampere_and_hopper(op, monkeypatch):
    """The whole way to a loaded library; where there is no GPU it ends with the explanation that it does not run."""
    device_kernels.use_shared_cache(monkeypatch)
    monkeypatch.setattr(kernel_builder, "architectures", lambda: device_kernels.ARCHS)
    if torch.cuda.is_available():
        library = custom_ops.load_library(op, 0)
    else:
        monkeypatch.setattr(torch.cuda, "device", lambda index: contextlib.nullcontext())
        with pytest.raises(BuildProblem, match=f"The compiled {op} does not run on GPU 0: .*(driver|device)"):
            custom_ops.load_library(op, 0)
        library = ctypes.CDLL(str(kernel_builder.library_folder(device_kernels.ARCHS) / f"{op}.so"))
    assert hasattr(library, f"pv3d_{op}")


@device_kernels.needs_nvcc
def test_unsupported_gpu_is_explained(tmp_path):
    with pytest.raises(BuildProblem, match="supports this GPU"):
        kernel_builder.compile_library("bias_act", tmp_path / "bias_act.so", ["20"])


@pytest.mark.parametrize(
    "tool, hint", [("find_nvcc", "CUDA_HOME"), ("find_host_compiler", "g\\+\\+"), ("find_ninja", "pip install ninja")]
)
def test_missing_tool_is_explained(tool, hint, monkeypatch, tmp_path):
    for name in ("find_nvcc", "find_host_compiler", "find_ninja"):
        monkeypatch.setattr(kernel_builder, name, lambda: "/bin/true")
    monkeypatch.setattr(kernel_builder, tool, lambda: None)
    with pytest.raises(BuildProblem, match=hint):
        kernel_builder.compile_library("bias_act", tmp_path / "bias_act.so", ["90"])


@pytest.mark.skipif(kernel_builder.find_ninja() is None, reason="needs ninja")
@pytest.mark.parametrize(
    "output, hint",
    [
        ("error: unsupported GNU version! gcc versions later than 12", "CXX"),
        ("fatal error: No space left on device", "PV3D_CACHE_DIR"),
        ("error: something else", "something else"),
    ],
)
def test_compiler_errors_are_explained(output, hint, monkeypatch, tmp_path):
    fake = tmp_path / "nvcc"
    fake.write_text(f'#!/bin/sh\necho "{output}"\nexit 1\n')
    fake.chmod(0o755)
    monkeypatch.setattr(kernel_builder, "find_nvcc", lambda: str(fake))
    monkeypatch.setattr(kernel_builder, "find_host_compiler", lambda: "/bin/true")
    with pytest.raises(BuildProblem, match=hint):
        kernel_builder.compile_library("bias_act", tmp_path / "bias_act.so", ["90"])


# --- One builder among many processes ---------------------------------------------------------------------------------


def slow_compile(folder, seconds, fail=False):
    """A compile function that notes its start in `folder`/log and writes half of its file before it is done."""

    def compile(target):
        with open(folder / "log", "a") as log:
            log.write(f"{os.getpid()}\n")
        target.write_text("half")
        time.sleep(seconds)
        if fail:
            problem()
        target.write_text("whole")

    return compile


def build_in_child(folder, seconds, results, limit=20.0, rank=0, fail=False):
    try:
        results.put(build_once("op", folder, slow_compile(folder, seconds, fail), limit, rank).read_text())
    except (BuildProblem, UserError) as error:
        results.put(f"{type(error).__name__}: {error}")


def start(*args, **options):
    child = FORK.Process(target=build_in_child, args=args, kwargs=options, daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on forking with threads
        child.start()
    return child


def wait_for_start(folder, builders=1):
    deadline = time.monotonic() + 20
    while not (folder / "log").exists() or len((folder / "log").read_text().split()) < builders:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_builds_and_all_get_the_whole_file(tmp_path):
    results = FORK.Queue()
    children = [start(tmp_path, 0.5, results) for _ in range(4)]
    assert [results.get(timeout=30) for _ in children] == ["whole"] * 4
    assert len((tmp_path / "log").read_text().split()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "op.lock", "op.so"]


def test_killed_builder_is_replaced(tmp_path):
    results = FORK.Queue()
    builder = start(tmp_path, 100, results)
    wait_for_start(tmp_path)
    waiting = start(tmp_path, 0, results)
    time.sleep(0.3)
    assert waiting.is_alive() and not (tmp_path / "op.so").exists()
    os.kill(builder.pid, signal.SIGKILL)
    assert results.get(timeout=30) == "whole"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "op.lock", "op.so"]  # no half-made folder


def test_waiting_ends_at_the_limit(tmp_path):
    results = FORK.Queue()
    builder = start(tmp_path, 100, results)
    wait_for_start(tmp_path)
    with pytest.raises(UserError, match="compiling op for 0 seconds"):
        build_once("op", tmp_path, slow_compile(tmp_path, 0), limit=0.3)
    builder.kill()


def test_failure_reaches_those_who_wait(tmp_path):
    results = FORK.Queue()
    children = [start(tmp_path, 1.0, results, fail=True) for _ in range(3)]
    assert [results.get(timeout=30) for _ in children] == ["BuildProblem: No compiler. Install one."] * 3
    assert len((tmp_path / "log").read_text().split()) == 1
    assert build_once("op", tmp_path, slow_compile(tmp_path, 0), limit=1).read_text() == "whole"  # it compiles now
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "op.lock", "op.so"]


def test_a_failure_of_before_does_not_count_though_its_clock_was_ahead(tmp_path):
    """As that of a file server may be."""
    with pytest.raises(BuildProblem):
        build_once("op", tmp_path, slow_compile(tmp_path, 0, fail=True), limit=1)
    later = time.time() + 600
    os.utime(tmp_path / "op.failed", (later, later))
    assert build_once("op", tmp_path, slow_compile(tmp_path, 0), limit=1).read_text() == "whole"


class Clock:
    """A stand-in for the module `time`, whose time passes only while somebody sleeps."""

    def __init__(self):
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("rank, wait", [(0, 0.0), (3, kernel_builder._FIRST_RANK_GRACE)])
def test_rank_zero_goes_first_but_is_not_needed(tmp_path, monkeypatch, rank, wait):
    clock = Clock()
    monkeypatch.setattr(kernel_builder, "time", clock)
    compiled_at = []

    def compile(target):
        compiled_at.append(clock.now)
        target.write_text("whole")

    assert build_once("op", tmp_path, compile, limit=20, rank=rank).read_text() == "whole"
    (begun,) = compiled_at
    assert begun == pytest.approx(wait, abs=0.2)  # it looks every 0.1 seconds


def test_what_is_already_there_is_not_waited_for(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(kernel_builder, "time", clock)
    (tmp_path / "op.so").write_text("whole")
    assert build_once("op", tmp_path, problem, limit=1, rank=3).read_text() == "whole"
    assert clock.now == 0
