"""`python -m torch_utils.doctor`: prints everything that decides whether the CUDA ops build, and builds them.

Exit status 0 if everything works that this machine can be expected to do (without a GPU that is plain PyTorch), 1 if
there is a GPU and an op does not build or run.
"""

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import torch

from dnnlib import cli
from dnnlib.errors import UserError
from torch_utils import custom_ops, kernel_builder, runtime
from torch_utils.kernel_builder import BuildProblem

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
CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8")
TRIAL_ARCHS = ("80", "90")  # compiled for where there is no GPU to ask

Facts = Iterator[tuple[str, str]]  # (what, answer)


@cli.command()
@cli.option("--no-build", is_flag=True, help="Report only; compile and load nothing.")
def main(no_build: bool) -> None:
    """Print everything that decides whether the CUDA ops build, and build them."""
    for describe in (describe_python, describe_gpus, describe_tools, describe_cache, describe_environment):
        for what, answer in describe():
            print_fact(what, answer)
        click.echo()
    has_gpu = torch.cuda.is_available()
    if not has_gpu:
        click.echo("No GPU that torch can use: ops run as plain PyTorch operations, and nothing has to be built.")
        if torch.version.cuda is None and shutil.which("nvidia-smi"):
            click.echo(
                "There seems to be an NVIDIA driver, but this torch is built for CPUs only: install a CUDA build."
            )
    if no_build:
        return
    check = try_on_gpu if has_gpu else try_to_compile
    works = [report(name, check) for name in kernel_builder.OPS]
    if has_gpu and not all(works):
        click.echo(
            "\nUntil this is solved ops run as plain PyTorch operations: the same results, slower, with more memory."
        )
        raise click.exceptions.Exit(1)


def print_fact(what: str, answer: str) -> None:
    """Print a line of the report."""
    click.echo(f"{what:<20} {answer}")


# --- What is there ---------------------------------------------------------------------------------------------------


def describe_python() -> Facts:
    """Yield facts about the system, Python and torch."""
    yield "system", f"{platform.platform()}, {len(os.sched_getaffinity(0))} CPU cores"
    yield "python", f"{platform.python_version()} ({sys.executable})"
    yield "torch", f"{torch.__version__}, {torch.get_num_threads()} threads ({Path(torch.__file__).parent})"
    yield "torch CUDA", torch.version.cuda or "none: this torch is built for CPUs only"


def describe_cpu() -> Facts:
    """Yield the CPU, what it has for fast arithmetic, and how many threads are used."""
    yield "system", f"{platform.platform()}, {len(os.sched_getaffinity(0))} CPU cores"
    yield "CPU", cpu_model()
    flags = runtime.cpu_flags()
    found = ", ".join(name for name in CPU_FEATURES if name in flags) or "none known"
    announced = "amx_bf16" in flags
    yield "features", found + ("; AMX is announced, but crashes" if announced and not runtime.amx_works() else "")
    yield "threads", f"{runtime.cores()} (torch's own choice, within a container's share)"


def cpu_model() -> str:
    """Return what the CPU calls itself."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, answer = line.partition(":")
            if name.strip() == "model name":
                return answer.strip()
    return platform.processor() or platform.machine()


def describe_gpus() -> Facts:
    """Yield facts about the GPUs that torch can use, and their driver."""
    if not torch.cuda.is_available():
        yield "GPU", "none that torch can use"
        return
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        yield f"GPU {index}", f"{gpu.name}, sm_{gpu.major}{gpu.minor}, {gpu.total_memory / 2**30:.1f} GiB"
    yield "driver", first_line("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") or "unknown"


def unusable_gpu() -> str | None:
    """Return a sentence if the driver sees a GPU that torch cannot use, and that the user has not hidden."""
    if torch.cuda.is_available() or "CUDA_VISIBLE_DEVICES" in os.environ:
        return None
    name = first_line("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    if not name:
        return None
    if torch.version.cuda is None:
        return f"There is an {name}, but torch {torch.__version__} is built for CPUs only: install its build for CUDA."
    driver = first_line("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return (
        f"There is an {name}, but torch {torch.__version__} cannot use it: install a driver newer than {driver}, or a "
        f"torch for an older CUDA than {torch.version.cuda}."
    )


def describe_precisions() -> Facts:
    """Yield what `--precision=auto` means on the CPU, and on each GPU."""
    yield "auto on the CPU", runtime.best_precision(torch.device("cpu"))
    for index in range(torch.cuda.device_count()):
        yield f"auto on GPU {index}", runtime.best_precision(torch.device("cuda", index))


def describe_tools() -> Facts:
    """Yield facts about the compilers and ninja: where they are, and their versions."""
    yield "nvcc", described_tool(kernel_builder.find_nvcc(), containing="release")
    yield "C++ compiler", described_tool(kernel_builder.find_host_compiler())
    yield "ninja", described_tool(kernel_builder.find_ninja())


def described_tool(path: str | None, containing: str = "") -> str:
    """Return where a tool is and the line about its version."""
    if path is None:
        return "not found"
    return f"{path}: {first_line(path, '--version', containing=containing)}"


def describe_cache() -> Facts:
    """Yield facts about the folder of built ops: where, writable, how full, what is in it."""
    folder = kernel_builder.library_folder(kernel_builder.architectures())
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    access = "writable" if os.access(existing, os.W_OK) else f"NOT WRITABLE: {existing}; set PV3D_CACHE_DIR"
    built = sorted(path.stem for path in folder.glob("*.so"))
    yield "cache", str(folder)
    yield "", f"{access}, {shutil.disk_usage(existing).free / 2**30:.1f} GiB free"
    yield "", "built: " + (", ".join(built) or "nothing yet")


def describe_environment() -> Facts:
    """Yield the environment variables that matter to a build."""
    for name in VARIABLES:
        yield name, os.environ.get(name, "(not set)")


def first_line(*command: str, containing: str = "") -> str:
    """Return the first line with some text that a command prints; empty if it cannot be run, or fails."""
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    if done.returncode != 0:
        return ""
    for line in done.stdout.splitlines():
        if containing in line:
            return line.strip()
    return ""


# --- Whether ops build and run ---------------------------------------------------------------------------------------


def report(name: str, check: Callable[[str], str]) -> bool:
    """Print what `check` says about an op; return False if it fails."""
    answer, fault = examined(name, check)
    print_fact(name, answer if fault is None else f"FAILED: {fault}")
    return fault is None


def examined(name: str, check: Callable[[str], str]) -> tuple[str, str | None]:
    """Return what `check` says about an op, and why that fails, or None."""
    try:
        return check(name), None
    except (BuildProblem, UserError) as problem:
        return "failed", str(problem)


def is_built(name: str) -> str:
    """Return whether an op is in the cache, without loading it."""
    library = kernel_builder.library_folder(kernel_builder.architectures()) / f"{name}.so"
    return f"built ({library})" if library.is_file() else "not built yet"


def not_needed(name: str) -> str:
    """Return why no op is needed on a machine without a GPU."""
    return "not needed: without a GPU, ops run as plain PyTorch operations"


def examined_ops(build: bool) -> dict[str, tuple[str, str | None]]:
    """Return {op: (answer, fault or None)} of all ops on this machine.

    Args:
        build: on a GPU, build and load them and compare their results with those of plain PyTorch.
    """
    check = not_needed if not torch.cuda.is_available() else try_on_gpu if build else is_built
    return {name: examined(name, check) for name in kernel_builder.OPS}


def try_on_gpu(name: str) -> str:
    """Build and load an op, and compare its results with those of plain PyTorch, on every GPU."""
    for device in range(torch.cuda.device_count()):
        library = custom_ops.load_library(name, device)
        fault = custom_ops.disagreement(name, library, torch.device("cuda", device))
        if fault:
            raise BuildProblem(f"On GPU {device} {fault}.", f"Delete {library._name}.")
    return f"ok ({library._name})"


def try_to_compile(name: str) -> str:
    """Find out whether nvcc, if there is one, compiles the op, on a machine without a GPU."""
    if kernel_builder.find_nvcc() is None:
        return "not needed here, and there is no nvcc to try"
    with tempfile.TemporaryDirectory() as folder:
        kernel_builder.compile_library(name, Path(folder) / f"{name}.so", TRIAL_ARCHS)
    return f"not needed here, but compiles for sm_{' and sm_'.join(TRIAL_ARCHS)}"


if __name__ == "__main__":
    main()
