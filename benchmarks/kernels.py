"""What nvcc makes of the CUDA kernels, read from their machine code without a GPU: registers, spills, instructions.

    python benchmarks/kernels.py --op upfirdn2d --arch 90

Kernels are named StripKernel<type, channels at a time, up, down>, GenericKernel<type>, BiasActKernel<type, activation,
elements at a time>, activations by their `code` in activations.py, and ScaleActKernel<type, order>. A loop's
instructions are counted over the numbers that one turn of it stores, rare ways through it (the edges of an image)
included. cuobjdump and nvdisasm are parts of the CUDA toolkit and of Triton's wheel (`pip install triton`).
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from dnnlib import cli  # noqa: E402
from dnnlib.errors import UserError  # noqa: E402
from torch_utils import kernel_builder  # noqa: E402
from torch_utils.doctor import TRIAL_ARCHS  # noqa: E402
from torch_utils.kernel_builder import BuildProblem  # noqa: E402

ELEMENT_BYTES = {"__half": 2, "__nv_bfloat16": 2, "float": 4, "double": 8}  # of types in kernels' names
STORED_BYTES = {"128": 16, "64": 8, "U16": 2, "U8": 1}  # by a store with this suffix; without any 4


@dataclass(frozen=True, kw_only=True)
class Loop:
    """An innermost loop that stores results: the instructions of its body, and the numbers that one turn stores."""

    instructions: int
    outputs: int

    @property
    def per_output(self) -> float:
        return self.instructions / self.outputs


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One kernel in machine code.

    Args:
        name: with its template arguments, such as `kernel<StripKernel<float, 4, 1, 1>>`.
        spills: instructions that access local memory.
        instructions: of the whole kernel, without padding.
    """

    name: str
    registers: int
    spills: int
    instructions: int
    loops: Sequence[Loop]


@cli.command()
@cli.option("--op", "ops", multiple=True, type=click.Choice(kernel_builder.OPS), help="Which ones.  [default: all]")
@cli.option("--arch", "archs", multiple=True, default=TRIAL_ARCHS, help="Compute capabilities.")
def main(ops: Sequence[str], archs: Sequence[str]) -> None:
    """Compile the CUDA kernels and print what they cost."""
    tools = find_tools()
    for op in ops or kernel_builder.OPS:
        library = compiled(op, archs)
        for arch in archs:
            click.echo(f"\n{op}, sm_{arch}")
            click.echo(_columns("kernel", ("registers", "spills", "instructions"), "per output, in its loops"))
            for kernel in examine(library, arch, tools):
                costs = sorted(f"{loop.per_output:5.1f}" for loop in kernel.loops)
                numbers = (kernel.registers, kernel.spills, kernel.instructions)
                click.echo(_columns(kernel.name, numbers, "  ".join(costs)))


def _columns(name: str, numbers: Sequence[int | str], loops: str) -> str:
    return f"{name:40s}" + "".join(f"{number:>14}" for number in numbers) + f"   {loops}"


def compiled(op: str, archs: Sequence[str]) -> Path:
    """Return the library of an op for GPUs of some architectures, from the cache if it is there.

    Raises:
        UserError: it cannot be compiled.
    """
    limit = kernel_builder.build_limit()
    folder = kernel_builder.library_folder(archs)
    try:
        return kernel_builder.build_once(
            op, folder, lambda target: kernel_builder.compile_library(op, target, archs, limit), limit
        )
    except BuildProblem as problem:
        raise UserError(str(problem)) from None


# --- Tools ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tools:
    """Paths of what reads machine code and names."""

    cuobjdump: str
    demangler: str


def find_tools() -> Tools:
    """Find cuobjdump on the search path, in the toolkit's folder, or in an installed Triton; and c++filt.

    Raises:
        UserError: there is none.
    """
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    folders = [str(Path(home) / "bin") for home in homes if home]
    triton = importlib.util.find_spec("triton")
    if triton is not None and triton.origin is not None:
        folders.append(str(Path(triton.origin).parent / "backends" / "nvidia" / "bin"))
    cuobjdump = shutil.which("cuobjdump") or shutil.which("cuobjdump", path=os.pathsep.join(folders))
    if cuobjdump is None:
        raise UserError(
            "cuobjdump was not found: pip install triton, or put the CUDA toolkit's on PATH or name its folder in "
            "CUDA_HOME."
        )
    demangler = shutil.which("c++filt")
    if demangler is None:
        raise UserError("c++filt was not found: install binutils (on Debian and Ubuntu: apt install binutils).")
    return Tools(cuobjdump, demangler)


def _output(*command: str, given: str | None = None) -> str:
    """Return what a tool prints. UserError if it fails."""
    run = subprocess.run(command, input=given, capture_output=True, encoding="utf-8", errors="replace")
    if run.returncode != 0:
        raise UserError(f"{command[0]} failed: {run.stderr.strip() or run.returncode}")
    return run.stdout


# --- Machine code -----------------------------------------------------------------------------------------------------

Code = list[tuple[int, str]]  # address, instruction


def examine(library: Path, arch: str, tools: Tools) -> list[Kernel]:
    """Return the kernels of a library for one architecture, sorted by name."""
    usage = registers_of(_output(tools.cuobjdump, "-arch", f"sm_{arch}", "--dump-resource-usage", str(library)))
    codes = code_of(_output(tools.cuobjdump, "-arch", f"sm_{arch}", "-sass", str(library)))
    symbols = [symbol for symbol in codes if "nothing" not in symbol]  # the trial kernel of every library
    names = _output(tools.demangler, given="\n".join(symbols)).splitlines()
    kernels = []
    for symbol, name in zip(symbols, names, strict=True):
        code = codes[symbol]
        kernels.append(
            Kernel(
                name=readable(name),
                registers=usage[symbol],
                spills=sum(operation(text).startswith(("LDL", "STL")) for _, text in code),
                instructions=len(code),
                loops=storing_loops(code, element_bytes(name)),
            )
        )
    return sorted(kernels, key=lambda kernel: kernel.name)


def readable(name: str) -> str:
    """Shorten `void kernel<space::Body<float, 4> >(...)` to `Body<float, 4>`."""
    arguments = re.search(r"<(.*)>\(", name)
    return arguments.group(1).strip().replace("pv3d::", "") if arguments else name


def element_bytes(name: str) -> int:
    """Return the size of the first data type in a kernel's name."""
    found = re.search(r"\b(" + "|".join(ELEMENT_BYTES) + r")\b", name)
    if found is None:
        raise ValueError(f"no data type in {name!r}")
    return ELEMENT_BYTES[found.group(1)]


def registers_of(listing: str) -> dict[str, int]:
    """Return the registers of each kernel in a list of resources."""
    return {symbol: int(number) for symbol, number in re.findall(r"Function (\S+):\s*REG:(\d+)", listing)}


def code_of(listing: str) -> dict[str, Code]:
    """Return the instructions of each kernel in an assembler listing; padding is left out."""
    codes = {}
    for part in re.split(r"\n\s*Function : ", listing)[1:]:
        symbol, _, body = part.partition("\n")
        lines = re.findall(r"^\s*/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;", body, re.MULTILINE)
        codes[symbol.strip()] = [(int(address, 16), text) for address, text in lines if operation(text) != "NOP"]
    return codes


def operation(text: str) -> str:
    """Return the operation of an instruction such as `@!P0 STG.E.128 [R2], R4`, with its suffixes."""
    return re.sub(r"^@\S+\s+", "", text).split()[0]


def storing_loops(code: Code, size: int) -> list[Loop]:
    """Return the innermost loops that store numbers of `size` bytes: branches back to an earlier address."""
    ends = []
    for address, text in code:
        target = re.search(r"\bBRA\b.*?(0x[0-9a-f]+)", text)
        if target and int(target.group(1), 16) < address:
            ends.append((int(target.group(1), 16), address))
    storing = {}
    for first, last in ends:
        body = [text for address, text in code if first <= address <= last]
        outputs = sum(map(stored_bytes, body)) // size
        if outputs:
            storing[first, last] = Loop(instructions=len(body), outputs=outputs)
    return [loop for ends, loop in storing.items() if not any(_holds(ends, other) for other in storing)]


def _holds(outer: tuple[int, int], inner: tuple[int, int]) -> bool:
    return outer != inner and outer[0] <= inner[0] and inner[1] <= outer[1]


def stored_bytes(text: str) -> int:
    """Return how many bytes an instruction writes to global memory."""
    name, *suffixes = operation(text).split(".")
    if name not in ("STG", "ST"):
        return 0
    return next((STORED_BYTES[suffix] for suffix in suffixes if suffix in STORED_BYTES), 4)


if __name__ == "__main__":
    main()
