"""Options about the machine that commands share; `torch_utils.startup` does what they ask.

This module does without torch, so that a configuration that names number formats need not load it.
"""

from collections.abc import Callable

import click

from dnnlib import cli

MACHINE = "Machine"  # heading in `--help`
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
AUTO = "auto"  # the precision that the machine is fastest in
OPS_MODES = ("auto", "native", "cuda")

OPTIONS = {
    "device": cli.option("--device", group=MACHINE, default="auto", help="auto, cpu, cuda or cuda:<number>."),
    "ops": cli.option(
        "--ops",
        group=MACHINE,
        type=click.Choice(OPS_MODES),
        default="auto",
        help="Custom CUDA operations; native: plain PyTorch.",
    ),
    "precision": cli.option(
        "--precision",
        group=MACHINE,
        type=click.Choice(PRECISIONS),
        default="fp32",
        help="fp16: of super-resolution; bf16: of backbone, planes and decoder too; tf32: of all products, on a GPU.",
    ),
    "threads": cli.option(
        "--threads", group=MACHINE, type=click.IntRange(1), show_default="as many as are useful", help="CPU threads."
    ),
    "processes": cli.option(
        "--processes",
        group=MACHINE,
        type=click.IntRange(1),
        show_default="as many as pay",
        help="On a CPU: processes that share its cores and the batch; 1 keeps to one.",
    ),
}


def machine_options(*names: str) -> Callable[[Callable], Callable]:
    """Return a decorator that gives a command the named ones of OPTIONS, as arguments of these names."""
    return cli.together(*(OPTIONS[name] for name in names))
