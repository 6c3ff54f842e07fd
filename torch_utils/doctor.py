"""`python -m torch_utils.doctor`: prints everything that decides whether the CUDA ops build, and builds them.

Exit status 0 if everything works that this machine can be expected to do (without a GPU that is plain PyTorch), 1 if
there is a GPU and an op does not build or run.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from dnnlib.errors import UserError
from torch_utils import custom_ops, kernel_builder
from torch_utils.kernel_builder import BuildProblem
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.upfirdn2d import setup_filter, upsample2d

VARIABLES = (
    "CUDA_HOME",
    "CUDA_PATH",
    "CXX",
    "PV3D_CACHE_DIR",
    "PV3D_BUILD_TIMEOUT",
    "LOCAL_RANK",
    "CUDA_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
)
TRIAL_ARCHS = ("80", "90")  # compiled for where there is no GPU to ask
TRIALS = {
    "upfirdn2d": lambda x: upsample2d(x, setup_filter([1, 3, 3, 1], device=x.device)),
    "bias_act": lambda x: bias_act(x, act="lrelu"),
}
TRIAL_ERROR = 1e-5


def main(arguments: list[str] | None = None) -> int:
    """Print the report and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m torch_utils.doctor", description=__doc__.split("\n")[0])
    parser.add_argument("--no-build", action="store_true", help="report only; compile and load nothing")
    build = not parser.parse_args(arguments).no_build
    for section in (describe_python(), describe_gpus(), describe_tools(), describe_cache(), describe_environment()):
        for name, value in section:
            print(f"{name:<20} {value}", flush=True)
        print()
    if not torch.cuda.is_available():
        print("No GPU that torch can use: ops run as plain PyTorch operations, and nothing has to be built.")
        if torch.version.cuda is None and shutil.which("nvidia-smi"):
            print("There seems to be an NVIDIA driver, but this torch is built for CPUs only: install a CUDA build.")
    if not build:
        return 0
    check = try_on_gpu if torch.cuda.is_available() else try_to_compile
    failed = [name for name in kernel_builder.OPS if not report(name, check)]
    if failed and torch.cuda.is_available():
        print("\nUntil this is mended ops run as plain PyTorch operations: the same results, slower, with more memory.")
        return 1
    return 0


def describe_python() -> Iterator[tuple[str, str]]:
    """(what, answer) about the system, Python and torch."""
    yield "system", f"{platform.platform()}, {len(os.sched_getaffinity(0))} CPU cores"
    yield "python", f"{platform.python_version()} ({sys.executable})"
    yield "torch", f"{torch.__version__}, {torch.get_num_threads()} threads ({Path(torch.__file__).parent})"
    yield "torch CUDA", torch.version.cuda or "none: this torch is built for CPUs only"


def describe_gpus() -> Iterator[tuple[str, str]]:
    """(what, answer) about the GPUs that torch can use, and their driver."""
    if not torch.cuda.is_available():
        yield "GPU", "none that torch can use"
        return
    for i in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(i)
        yield f"GPU {i}", f"{gpu.name}, sm_{gpu.major}{gpu.minor}, {gpu.total_memory / 2**30:.1f} GiB"
    yield "driver", first_line("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") or "unknown"


def describe_tools() -> Iterator[tuple[str, str]]:
    """(what, answer) about the compilers and ninja: where they are, and their versions."""
    nvcc, compiler, ninja = kernel_builder.find_nvcc(), kernel_builder.find_host_compiler(), kernel_builder.find_ninja()
    yield "nvcc", f"{nvcc}: {first_line(nvcc, '--version', containing='release')}" if nvcc else "not found"
    yield "C++ compiler", f"{compiler}: {first_line(compiler, '--version')}" if compiler else "not found"
    yield "ninja", f"{ninja}: {first_line(ninja, '--version')}" if ninja else "not found"


def describe_cache() -> Iterator[tuple[str, str]]:
    """(what, answer) about the folder of built ops: where, writable, how full, what is in it."""
    folder = kernel_builder.library_folder(kernel_builder.architectures())
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    access = "writable" if os.access(existing, os.W_OK) else f"NOT WRITABLE: {existing}; set PV3D_CACHE_DIR"
    yield "cache", str(folder)
    yield "", f"{access}, {shutil.disk_usage(existing).free / 2**30:.1f} GiB free"
    yield "", "built: " + (", ".join(sorted(path.stem for path in folder.glob("*.so"))) or "nothing yet")


def describe_environment() -> Iterator[tuple[str, str]]:
    """(name, value) of the environment variables that matter to a build."""
    for name in VARIABLES:
        yield name, os.environ.get(name, "(not set)")


def report(name: str, check: Callable[[str], str]) -> bool:
    """Print what `check` says about an op; False if it fails."""
    try:
        print(f"{name:<20} {check(name)}", flush=True)
    except (BuildProblem, UserError) as problem:
        print(f"{name:<20} FAILED: {problem}", flush=True)
        return False
    return True


def try_on_gpu(name: str) -> str:
    """Build, load and run an op, and compare it with plain PyTorch on the CPU."""
    x = torch.randn(2, 8, 32, 32)
    expected = TRIALS[name](x)
    for device in range(torch.cuda.device_count()):
        path = custom_ops.load_library(name, device)._name
        error = (TRIALS[name](x.to(device)).cpu() - expected).abs().max().item()
        if not error <= TRIAL_ERROR:
            raise BuildProblem(f"On GPU {device} it differs from plain PyTorch by {error:.1e}.", f"Delete {path}.")
    return f"ok ({path})"


def try_to_compile(name: str) -> str:
    """Without a GPU: whether nvcc, if there is one, compiles the op."""
    if kernel_builder.find_nvcc() is None:
        return "not needed here, and there is no nvcc to try"
    with tempfile.TemporaryDirectory() as folder:
        kernel_builder.compile_library(name, Path(folder) / f"{name}.so", TRIAL_ARCHS)
    return f"not needed here, but compiles for sm_{' and sm_'.join(TRIAL_ARCHS)}"


def first_line(*command: str, containing: str = "") -> str:
    """The first line with some text that a command prints; empty if it cannot be run."""
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return next((line.strip() for line in output.splitlines() if containing in line), "")


if __name__ == "__main__":
    sys.exit(main())
