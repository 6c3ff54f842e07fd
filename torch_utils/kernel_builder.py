"""Compiles one CUDA library per op, once per machine and set-up, safely among processes.

A library lies in the cache (`dnnlib.cache`), at `ops/<torch>-<CUDA>-<architectures>-<hash of sources>/<op>.so`. It is
compiled in a temporary folder and renamed when it is complete. The process that compiles holds a lock, which the system
releases when it ends, however it ends; the others wait, take over if it dies, and give up after a time limit.
"""

import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from dnnlib.cache import cache_root
from dnnlib.errors import UserError
from dnnlib.files import state_of
from dnnlib.locks import PathLock

SOURCES = Path(__file__).parent / "ops"
OPS = ("upfirdn2d", "bias_act", "scale_act")
FLAGS = ("-O3", "-std=c++17", "-Xcompiler", "-fPIC", "-shared")
BUILD_SECONDS = 600.0  # default time limit for compiling, or for waiting for the process that compiles
_FIRST_RANK_GRACE = 2.0  # seconds for which other ranks leave the compiling to rank 0 of their machine


class BuildProblem(Exception):
    """A reason why the kernels cannot be built or used here, and what to do about it (`fix`). Both are sentences."""

    def __init__(self, reason: str, fix: str):
        super().__init__(f"{reason} {fix}")
        self.reason = reason
        self.fix = fix


# Known complaints of nvcc, as patterns over its output, and what helps.
_REMEDIES = (
    (
        r"unsupported GNU version|unsupported clang version",
        "Install an older g++ and name it in the environment variable CXX, or install a newer CUDA toolkit.",
    ),
    (
        r"Unsupported gpu architecture|is not defined for option .gpu-architecture",
        "Install a CUDA toolkit that supports this GPU and name its folder in CUDA_HOME.",
    ),
    (
        r"No space left on device|Disk quota exceeded",
        "Free some space, or name a folder on another disk in PV3D_CACHE_DIR.",
    ),
    (
        r"cannot find .*(cudart|cudadevrt)|cuda_runtime\.h: No such file|cuda_fp16\.h: No such file",
        "The CUDA toolkit is incomplete: install its development files (cudart), or name a whole one in CUDA_HOME.",
    ),
)
_ECHO = re.compile(r"\s*$|\[|ninja: |FAILED: |.* -gencode=")  # lines of output that say nothing about an error


def architectures() -> tuple[str, ...]:
    """Return the compute capabilities of the visible GPUs, such as ('80', '90'), sorted."""
    found = {torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())}
    return tuple(f"{major}{minor}" for major, minor in sorted(found))


def source_files() -> list[Path]:
    """List the CUDA sources of all ops, sorted."""
    return sorted(path for path in SOURCES.iterdir() if path.suffix in (".cu", ".cuh", ".h"))


def library_folder(archs: Iterable[str]) -> Path:
    """Return the cache folder of this torch, CUDA, set of architectures and state of the sources."""
    digest = hashlib.sha256(" ".join(FLAGS).encode())
    for path in source_files():
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    key = f"torch{torch.__version__}-cuda{torch.version.cuda}-sm{'_'.join(archs)}-{digest.hexdigest()[:12]}"
    return cache_root() / "ops" / re.sub(r"[^\w.+-]", "_", key)


def build_limit() -> float:
    """Return the seconds of PV3D_BUILD_TIMEOUT, by default BUILD_SECONDS."""
    text = os.environ.get("PV3D_BUILD_TIMEOUT") or BUILD_SECONDS
    try:
        return float(text)
    except ValueError:
        raise UserError(f"PV3D_BUILD_TIMEOUT={text!r} is not a number of seconds.") from None


# --- Tools ------------------------------------------------------------------------------------------------------------


def find_nvcc() -> str | None:
    """Find nvcc in CUDA_HOME or CUDA_PATH, on the search path, or in /usr/local/cuda."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")]
    for candidate in [Path(home) / "bin" / "nvcc" for home in homes if home]:
        if os.access(candidate, os.X_OK):
            return str(candidate)
    return shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def find_host_compiler() -> str | None:
    """Find the C++ compiler for nvcc to use: CXX, else g++."""
    return shutil.which(os.environ.get("CXX") or "g++")


def find_ninja() -> str | None:
    """Find ninja beside this Python (installed by pip) or on the search path."""
    return shutil.which("ninja", path=str(Path(sys.executable).parent)) or shutil.which("ninja")


def require_tools() -> tuple[str, str, str]:
    """Return the paths of nvcc, host compiler and ninja. BuildProblem if one is missing."""
    nvcc = find_nvcc()
    compiler = find_host_compiler()
    ninja = find_ninja()
    if nvcc is None:
        raise BuildProblem(
            "The CUDA compiler nvcc was not found.",
            "Install the CUDA toolkit and put nvcc on PATH, or name its folder in CUDA_HOME.",
        )
    if compiler is None:
        raise BuildProblem(
            f"The C++ compiler {os.environ.get('CXX') or 'g++'} was not found.",
            "Install g++ (on Debian and Ubuntu: apt install g++), or name a compiler in CXX.",
        )
    if ninja is None:
        raise BuildProblem("ninja was not found.", "Install it with: pip install ninja.")
    return nvcc, compiler, ninja


# --- Compiling --------------------------------------------------------------------------------------------------------


def compile_library(op: str, target: Path, archs: Iterable[str], limit: float = BUILD_SECONDS) -> None:
    """Compile `<op>.cu` for GPUs of some architectures to the file `target`, in its folder. BuildProblem if it fails.

    Args:
        limit: seconds that it may take.
    """
    nvcc, compiler, ninja = require_tools()
    targets = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    command = shlex.join([nvcc, *FLAGS, "-ccbin", compiler, *targets])
    for path in source_files():  # beside the target: nvcc chokes on odd characters in paths
        shutil.copy(path, target.parent)
    rules = f"rule nvcc\n  command = {command.replace('$', '$$')} -o $out $in\nbuild {target.name}: nvcc {op}.cu\n"
    (target.parent / "build.ninja").write_bytes(os.fsencode(rules))  # paths as they are, in any locale
    try:
        run = subprocess.run(
            [ninja],
            cwd=target.parent,
            encoding="utf-8",
            errors="replace",
            timeout=limit,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except subprocess.TimeoutExpired:
        raise BuildProblem(
            f"Compiling {op}.cu took more than {limit:.0f} seconds.", "Raise PV3D_BUILD_TIMEOUT (seconds)."
        ) from None
    if run.returncode != 0 or not target.is_file():
        raise _explain(op, run.stdout)


def _explain(op: str, log: str) -> BuildProblem:
    """Find the error in the output of ninja and nvcc, and a remedy."""
    fix = "See the compiler's message; python -m torch_utils.doctor shows the set-up."
    for pattern, remedy in _REMEDIES:
        if re.search(pattern, log):
            fix = remedy
            break
    lines = [line.strip() for line in log.splitlines() if not _ECHO.match(line)]
    errors = [line for line in lines if re.search(r"error|fatal|No space", line, re.IGNORECASE)]
    message = " | ".join((errors or lines)[:4]) or "it gave no message"
    return BuildProblem(f"nvcc could not compile {op}.cu: {message}.", fix)


# --- One builder among many processes ---------------------------------------------------------------------------------


def build_once(op: str, folder: Path, compile: Callable[[Path], None], limit: float, rank: int = 0) -> Path:
    """Return the library of `op` in `folder`, compiled by this process or another one.

    Args:
        compile: called with the path of the file to make, in a temporary folder of its own.
        limit: seconds to wait for another process that compiles.
        rank: number of this process on its machine; ranks above 0 leave the first chance to rank 0.

    Raises:
        BuildProblem: it does not compile (here, or since this call in the process that was waited for), or the folder
            cannot be written.
        UserError: still not there after `limit` seconds.
    """
    library = folder / f"{op}.so"
    failed = library.with_suffix(".failed")
    earlier = state_of(failed)  # of a failure that is over; clocks of other machines may not tell
    started = time.monotonic()
    while not library.is_file():
        if state_of(failed) != earlier:
            _raise_failure(failed)
        elapsed = time.monotonic() - started
        if rank == 0 or elapsed > _FIRST_RANK_GRACE:
            with PathLock(library.with_suffix(".lock")) as lock:
                if _take(lock) and not library.is_file():
                    _build(library, compile)
        if library.is_file():
            break
        if elapsed > limit:
            raise UserError(
                f"Another process has been compiling {op} for {limit:.0f} seconds in {folder}; end it, or "
                "raise PV3D_BUILD_TIMEOUT (seconds), or use --ops=native."
            )
        time.sleep(0.1)
    return library


def _take(lock: PathLock) -> bool:
    """Take the lock of a library unless another process holds it, and say so. BuildProblem if the folder has none."""
    folder = lock.path.parent
    try:
        lock.make_file()
        taken = lock.take(wait=False)
    except OSError as error:
        raise BuildProblem(
            f"The cache folder {folder} cannot be written: {error.strerror}.",
            "Name a writable folder in PV3D_CACHE_DIR.",
        ) from None
    if taken is None:
        raise BuildProblem(
            f"The cache folder {folder} is on a file system without locks.",
            "Name a folder on a local disk in PV3D_CACHE_DIR.",
        )
    return taken


def _build(library: Path, compile: Callable[[Path], None]) -> None:
    """Compile in a temporary folder, then rename. The lock is held, so older temporary folders are leftovers."""
    prefix = f".{library.stem}-"
    for leftover in library.parent.glob(f"{prefix}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=library.parent))
    failed = library.with_suffix(".failed")
    try:
        compile(temporary / library.name)
        os.replace(temporary / library.name, library)
        failed.unlink(missing_ok=True)
    except BuildProblem as problem:
        with contextlib.suppress(OSError):  # only a hint for those who wait
            (temporary / failed.name).write_text(json.dumps([problem.reason, problem.fix]), encoding="utf-8")
            os.replace(temporary / failed.name, failed)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _raise_failure(path: Path) -> None:
    """Raise the BuildProblem that another process met, and wrote down, while this one waited."""
    with contextlib.suppress(OSError, ValueError):
        reason, fix = json.loads(path.read_text(encoding="utf-8"))
        raise BuildProblem(reason, fix)
