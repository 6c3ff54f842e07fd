"""Time, FLOPs and memory of every training phase and of one frame, against this machine's matrix-multiply peak.

    python benchmarks/phases.py --cfg voxceleb --phases frame,g_main

The peak is measured around each phase in the same run, since shared machines drift. FLOPs are those of the matrix
products and of convolutions done directly (a multiply-add counts two), also where Winograd's algorithm spares three
quarters of them: so more than 1.0 of the peak is possible. Peak memory is the process's so far, so that phases are best
measured one per run where it matters.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from dnnlib import cli  # noqa: E402
from torch_utils import custom_ops, runtime  # noqa: E402
from torch_utils.ops import winograd  # noqa: E402
from torch_utils.random_numbers import Streams  # noqa: E402
from training.cameras import frontal_label, orbit_labels  # noqa: E402
from training.checkpoints.snapshots import Networks, build_networks, set_sampling_precision  # noqa: E402
from training.config import Config, override, preset  # noqa: E402
from training.loss import Fakes, Loss, Schedule  # noqa: E402
from training.phases import build_phases  # noqa: E402
from training.sampling.clips import ClipSpec, SamplingOptions, frame_times, generate  # noqa: E402

PHASES = (*(phase.name for phase in build_phases(Config())), "frame")
PEAK_SIDE = {"cpu": 2048, "cuda": 8192}  # of the square matrices whose product measures the peak
VIDEO_FRAMES = 16


class FlopCount(TorchDispatchMode):
    """Counts the FLOPs of every matrix product and convolution that runs under it."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        count = flop_registry.get(func._overloadpacket)
        if count is None:
            with self:  # in inference mode operations arrive whole, with the products inside
                parts = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if parts is NotImplemented else parts
        out = func(*args, **kwargs)
        self.total += count(*args, **kwargs, out_val=out)
        return out


@dataclass
class Measured:
    """One phase's best time and what it did."""

    seconds: float
    flops: float
    peak: float  # FLOP/s of the matrix product, best of those around the phase

    def row(self, name: str, items: int, memory: float) -> str:
        """A line of the table."""
        return (
            f"{name:8s} {self.seconds / items:9.3f} s {self.flops / items / 1e9:10.0f} GFLOP "
            f"{self.flops / self.seconds / 1e9:9.0f} GFLOP/s {self.flops / self.seconds / self.peak:6.2f} of peak "
            f"{memory:6.1f} GB"
        )


def synchronise(device: torch.device) -> None:
    """Waits for the GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_peak(device: torch.device, dtype: torch.dtype, repeats: int = 3) -> float:
    """FLOP/s of a large square matrix product."""
    side = PEAK_SIDE[device.type]
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    out = a @ b
    best = float("inf")
    for _ in range(repeats):
        synchronise(device)
        started = time.perf_counter()
        torch.mm(a, b, out=out)
        synchronise(device)
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def measure(work, device: torch.device, repeats: int) -> Measured:
    """Runs `work` once to count, once to warm up, then `repeats` times."""
    winograd.enabled = False
    with FlopCount() as flops:
        work()
    winograd.enabled = True
    work()
    best, peak = float("inf"), matmul_peak(device, torch.float32)
    for _ in range(repeats):
        synchronise(device)
        started = time.perf_counter()
        work()
        synchronise(device)
        best = min(best, time.perf_counter() - started)
        peak = max(peak, matmul_peak(device, torch.float32))
    return Measured(best, flops.total, peak)


class Bench:
    """The networks of a preset and random clips to feed them."""

    def __init__(self, config: Config, clips: int, device: torch.device, dtype: torch.dtype | None):
        self.config, self.device = config, device
        self.networks: Networks = build_networks(config, 0, device, dtype)
        set_sampling_precision(self.networks.G_ema, dtype)
        random = torch.Generator(device).manual_seed(0)
        nets = self.networks
        self.loss = Loss(nets.G, nets.D_img, nets.D_vid, config)
        self.phases = {phase.name: phase for phase in build_phases(config)}
        self.schedule = Schedule(blur_sigma=0.0, swap_probability=0.5)
        g = config.generator
        cameras = orbit_labels(2).expand(clips, 2, -1).to(device)
        t = torch.tensor([[0.2, 0.7]], device=device).expand(clips, 2)
        z, z_motion = (torch.randn([clips, dim], device=device, generator=random) for dim in (g.z_dim, g.z_motion_dim))
        streams = Streams.seeded((0,), range(clips), device)
        self.fakes = Fakes(z=z, z_motion=z_motion, times=t, cameras=cameras, others=cameras, random=streams)
        size = [clips, 2, 3, g.img_resolution, g.img_resolution]
        images = torch.randint(0, 256, size, dtype=torch.uint8, device=device, generator=random)
        self.reals = self.loss.real_frames(images, t, cameras, self.schedule)

    def run(self, name: str) -> None:
        """One phase with its gradients, or one video's first frames."""
        if name == "frame":
            return self._frame()
        phase = self.phases[name]
        modules = [module for network, module in self.networks.items() if network in phase.networks]
        for module in modules:
            module.requires_grad_(True)
        phase.accumulate(self.loss, reals=self.reals, fakes=self.fakes, schedule=self.schedule)
        for module in modules:
            module.requires_grad_(False)
            module.zero_grad(set_to_none=True)

    def _frame(self) -> None:
        g = self.config.generator
        clip = ClipSpec(
            torch.ones(g.z_dim),
            torch.ones(g.z_motion_dim),
            frontal_label().expand(1, -1),
            frame_times(VIDEO_FRAMES)[5:6],
        )
        for _ in generate(self.networks.G_ema, clip, SamplingOptions(frames_per_batch=1)):
            pass


@cli.command()
@click.option("--cfg", default="voxceleb", help="Preset.")
@click.option("--phases", default=",".join(PHASES), help="Which phases, in order.")
@click.option("--clips", type=click.IntRange(1), default=1, help="Clips (of two frames) per phase.")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), default="fp32", help="As in train.py.")
@click.option("--repeats", type=click.IntRange(1), default=3, help="Timed runs; the best counts.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:<number>.")
@click.option("--ops", type=click.Choice(["auto", "native", "cuda"]), default="auto", help="Custom CUDA operations.")
def main(cfg: str, phases: str, clips: int, precision: str, repeats: int, threads: int | None, device: str, ops: str):
    """Measure training phases (per clip) and the synthesis of one frame at a preset."""
    runtime.tune_cpu_allocator()
    runtime.set_threads(threads)
    runtime.disable_tf32()
    custom_ops.set_ops_mode(ops)
    place = runtime.select_device(device)
    dtype, reason = runtime.compute_dtype(precision, place)
    if reason:
        click.echo(reason, err=True)
    names = phases.split(",")
    unknown = sorted(set(names) - set(PHASES))
    if unknown:
        raise click.UsageError(f"--phases: {', '.join(unknown)} is none of {', '.join(PHASES)}.")
    bench = Bench(override(preset(cfg), {"training.precision": precision}), clips, place, dtype)
    click.echo(f"{cfg}, {precision}, {place}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name in names:
        measured = measure(lambda name=name: bench.run(name), place, repeats)
        memory = runtime.peak_memory(place)
        click.echo(measured.row(name, 1 if name == "frame" else clips, memory.get("gpu", memory["cpu"])))


if __name__ == "__main__":
    main()
