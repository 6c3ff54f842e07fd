"""How the clips of an iteration are divided among processes and passes."""

import math

from dnnlib.errors import UserError
from training.config import Config

SMALL_FRAMES = 128  # pixels a side up to which several processes on a CPU pay (docs/training.md)


def split_batch(config: Config, processes: int) -> tuple[int, int]:
    """Return (clips per process and iteration, clips per forward pass); UserError when `batch` does not divide."""
    t = config.training
    if t.batch % processes:
        raise UserError(
            f"--batch={t.batch} is not divisible by the {processes} processes; "
            f"try --batch={math.ceil(t.batch / processes) * processes}."
        )
    per_process = t.batch // processes
    per_pass = t.batch_gpu or per_process
    if per_process % per_pass:
        raise UserError(
            f"--batch-gpu={per_pass} does not divide the {per_process} clips of each process; "
            f"choose a divisor of {per_process}."
        )
    group = config.discriminator.mbstd_group
    if any(n % min(group, n) for n in (per_pass, per_pass * t.frames)):
        raise UserError(
            f"{per_pass} clips per forward pass do not split into the discriminators' groups of {group}; "
            f"choose --batch and --batch-gpu so that each pass has 1, 2 or a multiple of {group} clips."
        )
    return per_process, per_pass


def processes_that_pay(config: Config, cores: int) -> int:
    """Return in how many processes a CPU trains fastest: the most, up to its cores, that train the very same model.

    Small frames are a long series of short operations, which a second thread hardly helps, and a second process does.
    Large ones keep all cores busy in one process, and need their memory for the clips of one pass.
    """
    t = config.training
    if config.generator.img_resolution > SMALL_FRAMES:
        return 1
    for processes in range(min(cores, t.batch), 1, -1):
        per_process = t.batch // processes
        per_pass = t.batch_gpu or per_process
        divides = t.batch % processes == 0 and per_process % per_pass == 0
        if divides and per_pass % config.discriminator.mbstd_group == 0:
            return processes
    return 1
