"""Time, FLOPs and memory of every training phase and of one frame, against this machine's matrix-multiply peak.

    python benchmarks/phases.py --cfg voxceleb --phases frame,g_main

`benchmarks/timing.py` says what is counted. Peak memory is the process's so far, so that phases are best measured one
per run where it matters.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from dnnlib import openmp  # noqa: E402, F401  (before torch)

# isort: split
import collections  # noqa: E402
from collections.abc import Callable  # noqa: E402
from functools import cached_property, partial  # noqa: E402

import click  # noqa: E402
import torch  # noqa: E402

from benchmarks.frames import make_frame  # noqa: E402
from benchmarks.timing import print_row  # noqa: E402
from dnnlib import cli  # noqa: E402
from torch_utils.machine_options import machine_options  # noqa: E402
from torch_utils.random_numbers import Streams  # noqa: E402
from torch_utils.startup import Machine, prepared_machine  # noqa: E402
from training.cameras import orbit_labels  # noqa: E402
from training.checkpoints.snapshots import Networks, build_networks  # noqa: E402
from training.config import FRAMES_PER_CLIP, Config, preset  # noqa: E402
from training.fakes import Fakes  # noqa: E402
from training.judged import Frames  # noqa: E402
from training.loss import Loss, Schedule  # noqa: E402
from training.methods import METHODS  # noqa: E402
from training.phases import Phase, build_loss, build_phases  # noqa: E402

FRAME = "frame"
SCHEDULE = Schedule(blur_sigma=0.0, swap_probability=0.5)


def different_phases(config: Config) -> tuple[dict[str, Phase], dict[str, float]]:
    """Return the phases of an iteration, one of those that do the same, and how often each is run in it, by name."""
    names: dict[Callable, str] = {}
    phases: dict[str, Phase] = {}
    often: dict[str, float] = collections.defaultdict(float)
    for phase in build_phases(config):
        if phase.active:
            name = names.setdefault(phase.function, phase.name)
            phases.setdefault(name, phase)
            often[name] += 1 / phase.interval
    return phases, often


class Bench:
    """The networks of a preset and random clips to feed them."""

    def __init__(self, config: Config, clips: int, machine: Machine):
        self.config = config
        self.device = machine.device
        self.networks: Networks = build_networks(config, 0, machine.device, machine.dtype)
        self.loss = build_loss(self.networks, config)
        self.phases, _ = different_phases(config)
        self.random = torch.Generator(self.device).manual_seed(0)
        frames = config.training.frames
        self.cameras = orbit_labels(frames).expand(clips, frames, -1).to(self.device)
        moments = (
            [0.2, 0.7][:frames] if frames <= FRAMES_PER_CLIP else [index / (frames - 1) for index in range(frames)]
        )
        self.times = torch.tensor([moments], device=self.device).expand(clips, frames)
        self.fakes = self._fakes(clips)
        self.reals = self._reals(clips)

    @cached_property
    def made(self) -> Frames:
        """Fakes that a phase has made before."""
        assert isinstance(self.loss, Loss)
        with torch.no_grad():
            return self.loss.synthesise(self.fakes, SCHEDULE)

    def _fakes(self, clips: int) -> Fakes:
        g = self.config.generator
        return Fakes(
            z=torch.randn([clips, g.z_dim], device=self.device, generator=self.random),
            z_motion=torch.randn([clips, g.z_motion_dim], device=self.device, generator=self.random),
            times=self.times,
            cameras=self.cameras,
            others=self.cameras,
            random=Streams.seeded((0,), clips),
        )

    def _reals(self, clips: int) -> Frames:
        side = self.config.generator.img_resolution
        size = [clips, self.config.training.frames, 3, side, side]
        images = torch.randint(0, 256, size, dtype=torch.uint8, device=self.device, generator=self.random)
        return self.loss.real_frames(images, self.times, self.cameras, SCHEDULE)

    def run(self, name: str) -> None:
        """Run one phase with its gradients, or make one frame of a video."""
        if name == FRAME:
            make_frame(self.networks.G_ema)
            return
        phase = self.phases[name]
        if phase.reuses_fakes and isinstance(self.loss, Loss):
            self.loss.made.append(self.made)
        modules = self.networks.trained(phase.networks)
        for module in modules:
            module.requires_grad_(True)
        phase.accumulate(self.loss, reals=self.reals, fakes=self.fakes, schedule=SCHEDULE)
        for module in modules:
            module.requires_grad_(False)
            module.zero_grad(set_to_none=True)
        if isinstance(self.loss, Loss):
            self.loss.made.clear()


@cli.command()
@cli.option("--cfg", default="voxceleb", help="Preset.")
@cli.option("--method", type=click.Choice(tuple(METHODS)), default=Config.method, help="As of train.py.")
@cli.option("--phases", show_default="each once, and one frame", help="Which of g_main, ... and frame, in order.")
@cli.option("--clips", type=click.IntRange(1), default=1, help="Clips (of two frames) per phase.")
@cli.option("--repeats", type=click.IntRange(1), default=3, help="Timed runs; the best counts.")
@machine_options("device", "ops", "precision", "threads")
def main(
    cfg: str,
    method: str,
    phases: str | None,
    clips: int,
    repeats: int,
    device: str,
    ops: str,
    precision: str,
    threads: int | None,
) -> None:
    """Measure training phases (per clip) and the synthesis of one frame at a preset."""
    config = preset(cfg, method)
    possible = [*different_phases(config)[0], FRAME]
    names = possible if phases is None else phases.split(",")
    unknown = sorted(set(names) - set(possible))
    if unknown:
        raise click.UsageError(f"--phases: {', '.join(unknown)} is none of {', '.join(possible)}.")
    with prepared_machine(device=device, ops=ops, precision=precision, threads=threads) as machine:
        cli.print_notes(machine.notes)
        bench = Bench(config, clips, machine)
        title = f"{cfg}, {method}, {precision}, {machine.device}"
        click.echo(f"{title}, {torch.get_num_threads()} threads, torch {torch.__version__}")
        for name in names:
            print_row(name, partial(bench.run, name), 1 if name == FRAME else clips, machine.device, repeats)


if __name__ == "__main__":
    main()
