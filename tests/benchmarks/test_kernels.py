"""benchmarks/kernels.py: what it reads from machine code, and what the kernels may cost."""

import importlib.util
import shutil

import pytest

from benchmarks import kernels
from benchmarks.kernels import Loop
from dnnlib.errors import UserError
from tests.helpers import device_kernels

MOST_PER_OUTPUT = 100  # of a 4 x 4 filter in 16 bits
LISTING = """
\tcode for sm_90
\t\tFunction : _Z4sumsN4pv3d4BodyIfEE
\t.headerflags\t@"EF_CUDA_SM90"
        /*0000*/                   LDC R1, c[0x0][0x28] ;                            /* 0x00000a00ff017b82 */
                                                                                     /* 0x000fe20000000800 */
        /*0010*/                   LDG.E.128 R4, desc[UR4][R2.64] ;                  /* 0x0000000402047981 */
        /*0020*/              @!P0 STG.E.128 desc[UR4][R2.64], R4 ;                  /* 0x0000000402047981 */
        /*0030*/                   STG.E.U16 desc[UR4][R2.64], R4 ;                  /* 0x0000000402047981 */
        /*0040*/                   STL.64 [R1], R4 ;                                 /* 0x0000000402047981 */
        /*0050*/               @P1 BRA 0x10 ;                                        /* 0xfffffffc00fc7947 */
        /*0060*/              @!P1 BRA 0x80 ;                                        /* 0xfffffffc00fc7947 */
        /*0070*/               @P2 BRA 0x0 ;                                         /* 0xfffffffc00fc7947 */
        /*0080*/                   BRA 0x80 ;                                        /* 0xfffffffc00fc7947 */
        /*0090*/                   NOP ;                                             /* 0x0000000000007918 */
\t\tFunction : _Z7nothingv
        /*0000*/                   EXIT ;                                            /* 0x000000000000794d */
"""


def test_loops_that_store_are_counted_over_what_they_store():
    code = kernels.code_of(LISTING)
    assert {symbol: len(lines) for symbol, lines in code.items()} == {"_Z4sumsN4pv3d4BodyIfEE": 9, "_Z7nothingv": 1}
    (loop,) = kernels.storing_loops(code["_Z4sumsN4pv3d4BodyIfEE"], size=2)
    assert loop == Loop(instructions=5, outputs=9)
    assert kernels.storing_loops(code["_Z7nothingv"], size=2) == []


@pytest.mark.parametrize(
    "instruction, size",
    [
        ("STG.E.128 desc[UR4][R2.64], R4", 16),
        ("@!P0 STG.E.64 [R2], R4", 8),
        ("STG.E desc[UR4][R2.64], R4", 4),
        ("ST.E.U16 [R2.64], R4", 2),
        ("STS.128 [R2], R4", 0),
        ("LDG.E.128 R4, [R2]", 0),
    ],
)
def test_stored_bytes(instruction, size):
    assert kernels.stored_bytes(instruction) == size


def test_names_are_shortened_and_tell_the_type():
    name = "void run<pv3d::Body<__half, 8> >(pv3d::Body<__half, 8>::Params, float)"
    assert kernels.readable(name) == "Body<__half, 8>"
    assert kernels.element_bytes(name) == 2


def test_without_cuobjdump_one_sentence_says_what_helps(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="cuobjdump was not found: pip install triton, or"):
        kernels.find_tools()


@device_kernels.needs_nvcc
@pytest.mark.parametrize("arch", device_kernels.ARCHS)
def test_filters_of_half_precision_are_cheap(arch, monkeypatch):
    """The other kernels are held to need no memory for registers by the way in which they are compiled."""
    try:
        tools = kernels.find_tools()
    except UserError as error:
        pytest.skip(str(error))
    device_kernels.use_shared_cache(monkeypatch)
    library = kernels.compiled("upfirdn2d", device_kernels.ARCHS)
    found = {kernel.name: kernel for kernel in kernels.examine(library, arch, tools)}
    for dtype in ("__half", "__nv_bfloat16"):
        for up, down in ((1, 1), (2, 1), (1, 2)):
            kernel = found[f"StripKernel<{dtype}, 8, {up}, {down}>"]
            assert kernel.spills == 0
            assert kernel.loops and all(1 < loop.per_output <= MOST_PER_OUTPUT for loop in kernel.loops)
