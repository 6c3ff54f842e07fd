"""What an iteration of training asks of a GPU, counted without one: FLOPs, bytes, launches, ideal time, host waits.

    python benchmarks/roofline.py --cfg voxceleb

Every phase runs on the meta device with the CUDA path forced (benchmarks/counting.py says what is counted), and counts
in an iteration as often as it is run: of PV3D G main and D main 1, G reg 1/4, R1 1/16. Ideal time is that of a GPU
which is never idle and reaches its rates. What is around the phases (benchmarks/between_phases.py) is printed apart,
for several processes; the averages of gradients are in both tables.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.between_phases import PROCESSES, count_between_phases, shares  # noqa: E402
from benchmarks.counting import Counting, Rates, Tally, labelled  # noqa: E402
from benchmarks.meta_gpu import META, as_on_a_gpu  # noqa: E402
from benchmarks.phases import SCHEDULE, different_phases  # noqa: E402
from dnnlib import cli  # noqa: E402
from dnnlib.files import write_json  # noqa: E402
from torch_utils.gradients import average_gradients  # noqa: E402
from torch_utils.machine_options import PRECISIONS  # noqa: E402
from torch_utils.random_numbers import Streams  # noqa: E402
from torch_utils.runtime import HALF_PRECISION  # noqa: E402
from training import loss as losses  # noqa: E402
from training.cameras import CAMERA_DIM  # noqa: E402
from training.chain_loss import ChainLoss  # noqa: E402
from training.checkpoints.snapshots import build_networks  # noqa: E402
from training.config import Config, preset  # noqa: E402
from training.fakes import Fakes  # noqa: E402
from training.judged import Frames  # noqa: E402
from training.loss import Loss, Report  # noqa: E402
from training.methods import METHODS  # noqa: E402
from training.networks import (  # noqa: E402
    backbone,
    decoder,
    discriminators,
    generator,
    mapping,
    motion,
    motion_chain,
    patch_discriminators,
    superresolution,
)
from training.phases import Phase, build_loss  # noqa: E402
from training.rendering import renderer  # noqa: E402

TERA, GIGA, MILLI = 1e12, 1e9, 1e-3
# Assumed: eight to nine tenths of what data sheets promise for dense products and memory; full: float32 without TF32.
GPUS = {
    "h200": Rates(name="H200", full=60e12, tf32=395e12, half=790e12, memory=4.3e12),
    "h100": Rates(name="H100", full=60e12, tf32=395e12, half=790e12, memory=2.9e12),
    "a100": Rates(name="A100", full=17e12, tf32=140e12, half=280e12, memory=1.7e12),
}


def rates_in(precision: str, gpu: str) -> Rates:
    """Return the rates of one of GPUS; with --precision=tf32 products of float32 have those of TF32."""
    rates = GPUS[gpu]
    return replace(rates, full=rates.tf32) if precision == "tf32" else rates


# --- Components ------------------------------------------------------------------------------------------------------


def components() -> dict:
    """Return which code is which component (`counting.labelled`)."""

    def block(self: Any, *args: Any, **kwargs: Any) -> str:
        is_upscaling = self.torgb.weight.shape[0] == 3
        return f"super-resolution {self.conv1.resolution}" if is_upscaling else f"backbone {self.conv1.resolution}"

    judge = {"name": ""}

    def judged(name: str) -> Any:
        def label(self: Any, *args: Any, **kwargs: Any) -> str:
            judge["name"] = name
            return f"{name} input"

        return label

    def residual(self: Any, x: torch.Tensor) -> str:
        return f"{judge['name']} {x.shape[-1]}"

    def last(self: Any, *args: Any, **kwargs: Any) -> str:
        return f"{judge['name']} 4"

    return {
        (backbone.SynthesisBlock, "forward"): block,
        (motion.MotionLayer, "forward"): "motion",
        (motion.PointMotion, "forward"): "motion",
        (generator.Generator, "mapping"): "mapping",
        (superresolution.SuperResolution, "forward"): "super-resolution",
        (generator, "render"): "marching",
        (renderer, "_fine_depths"): "importance",
        (renderer, "sample_planes_mean"): "plane sampling",
        (renderer, "project_to_planes"): "plane sampling",
        (decoder.Decoder, "forward"): "decoder",
        (losses, "blur"): "blur",
        (discriminators.ImageDiscriminator, "forward"): judged("D_img"),
        (discriminators.VideoDiscriminator, "forward"): judged("D_vid"),
        (discriminators.ResidualBlock, "forward"): residual,
        (discriminators.Epilogue, "forward"): last,
        (mapping.CameraMapping, "forward"): last,
        (motion_chain.MotionChain, "forward"): "chain of latents",
        (patch_discriminators.PairPatches, "forward"): "D_img",
        (patch_discriminators.ClipPatches, "forward"): "D_vid",
    }


# --- A phase ---------------------------------------------------------------------------------------------------------


def count_phase(
    config: Config, phase: Phase, clips: int, dtype: torch.dtype | None, rates: Rates
) -> tuple[Counting, Report]:
    """Count one run of a phase in one pass, with the average of its gradients; also return what it reports."""
    networks = build_networks(config, 0, META, dtype)
    loss = build_loss(networks, config)
    modules = networks.trained(phase.networks)
    counting = Counting(rates)
    fakes = _fakes(config, clips)
    side = config.generator.img_resolution
    pixels = torch.empty([clips, config.training.frames, 3, side, side], dtype=torch.uint8, device=META)
    for module in modules:
        module.requires_grad_(True)
    if phase.reuses_fakes and isinstance(loss, Loss):
        loss.made.append(_made(config, fakes))
    with as_on_a_gpu(counting), labelled(counting, components()), counting, counting.saving():
        reals = None
        if phase.takes_reals:
            with counting.component("reals"):
                reals = loss.real_frames(pixels, fakes.times, fakes.cameras, SCHEDULE)
        report = phase.accumulate(loss, reals=reals, fakes=fakes, schedule=SCHEDULE)
        with counting.component("averaging"):
            average_gradients(parameter for module in modules for parameter in module.parameters())
    return counting, report


def count_part(config: Config, clips: int, dtype: torch.dtype | None, rates: Rates) -> tuple[Counting, int] | None:
    """Count making a part of clips that is made anew in the backward pass; also return how many frames of each it has.

    None: nothing is made anew.
    """
    loss = build_loss(build_networks(config, 0, META, dtype), config)
    if not isinstance(loss, ChainLoss) or loss.frames_at_a_time >= config.training.frames:
        return None
    counting = Counting(rates)
    g = loss.G.config
    latents = _empty(clips, loss.frames_at_a_time, loss.G.num_ws, g.w_dim).requires_grad_()
    with as_on_a_gpu(counting), counting, counting.saving():
        loss.synthesise(latents, _fakes(config, clips))
    return counting, loss.frames_at_a_time


def _fakes(config: Config, clips: int) -> Fakes:
    """Return what fakes are made from."""
    g = config.generator
    frames = config.training.frames
    cameras = _empty(clips, frames, CAMERA_DIM)
    return Fakes(
        z=_empty(clips, g.z_dim),
        z_motion=_empty(clips, g.z_motion_dim),
        times=_empty(clips, frames),
        cameras=cameras,
        others=cameras,
        random=Streams.seeded((0,), clips),
    )


def _made(config: Config, fakes: Fakes) -> Frames:
    """Return frames that another phase has made of these fakes."""
    frames = fakes.times.numel()
    sides = config.generator.img_resolution, config.generator.rendering.resolution
    image, raw = (_empty(frames, 3, side, side) for side in sides)
    return Frames(image=image, image_raw=raw, times=fakes.times, cameras=fakes.cameras.flatten(0, 1))


def _empty(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device=META)


# --- The command -----------------------------------------------------------------------------------------------------


@cli.command()
@cli.option("--cfg", default="voxceleb", help="Preset.")
@cli.option("--method", type=click.Choice(tuple(METHODS)), default=Config.method, help="As of train.py.")
@cli.option("--clips", type=click.IntRange(1), default=16, help="Clips (of two frames) of an iteration, in one pass.")
@cli.option("--precision", type=click.Choice(PRECISIONS), default="bf16", help="As of train.py.")
@cli.option("--gpu", type=click.Choice(tuple(GPUS)), default="h200", help="Whose rates ideal times are of.")
@cli.option("--table", is_flag=True, help="Only one table of all precisions and GPUs, in Markdown.")
@cli.option("--out", type=cli.PATH, help="JSON file of all counts.")
def main(cfg: str, method: str, clips: int, precision: str, gpu: str, table: bool, out: Path | None) -> None:
    """Count what an iteration asks of a GPU, component by component."""
    config = preset(cfg, method)
    if table:
        _print_overview(cfg, config, clips)
        return
    rates = rates_in(precision, gpu)
    phases, often = different_phases(config)
    counts = {}
    reports = {}
    for name, phase in phases.items():
        counts[name], reports[phase.function] = count_phase(config, phase, clips, HALF_PRECISION.get(precision), rates)
    total = _by_component(often, counts)
    click.echo(f"{cfg}, {method}, {precision}, {clips} clips an iteration, rates of an {rates.name}")
    _print_table("component", total, longest_first=True)
    _print_table("phase, once", {name: _sum(counting.tallies) for name, counting in counts.items()})
    for name, times in often.items():
        if times > 1:
            click.echo(f"An iteration has {times:g} of {name}.")
    with_others = Counting(rates)
    with as_on_a_gpu(with_others), with_others:
        iterations = count_between_phases(config, reports, with_others)
    _print_table(f"between, {PROCESSES} processes", {"between the phases": shares(with_others, iterations)})
    for name, counting in counts.items():
        saved = sum(counting.saved.values()) / GIGA
        waits = sum(counting.waits.values())
        click.echo(f"{name}: {saved:.1f} GB saved for the backward pass, {waits} host waits")
        _print_waits(counting)
    part = count_part(config, clips, HALF_PRECISION.get(precision), rates)
    if part is not None:
        saved = sum(part[0].saved.values()) / GIGA
        click.echo(
            f"{part[1]} of the {config.training.frames} frames of each clip at a time are made anew: {saved:.1f} GB"
        )
    each = sum(with_others.waits.values()) / iterations
    click.echo(f"between the phases: {each:g} host waits an iteration")
    _print_waits(with_others, iterations)
    if out is not None:
        write_json(out, {name: _plain(tally) for name, tally in total.items()})


def _by_component(often: dict[str, float], counts: dict[str, Counting]) -> dict[str, Tally]:
    """Return the mean iteration's tallies by component, of phases that it runs so often."""
    total: dict[str, Tally] = {}
    for name, counting in counts.items():
        for component, tally in counting.tallies.items():
            total.setdefault(component, Tally()).add(tally, often[name])
    return total


def _print_overview(cfg: str, config: Config, clips: int) -> None:
    """Print a table in Markdown: what an iteration asks for in each precision, and its ideal time on each GPU."""
    phases, often = different_phases(config)
    names = [rates.name for rates in GPUS.values()]
    click.echo(f"| {cfg} | in fp32 | moved | launches | G main saves | D main saves | {' | '.join(names)} |")
    click.echo("|---" * (6 + len(names)) + "|")
    for precision in PRECISIONS:
        times = []
        for gpu in GPUS:
            rates = rates_in(precision, gpu)
            counts = {
                name: count_phase(config, phase, clips, HALF_PRECISION.get(precision), rates)[0]
                for name, phase in phases.items()
            }
            tally = _sum(_by_component(often, counts))
            times.append(f"{tally.seconds / MILLI:.0f} ms")
        saved = [f"{sum(counts[name].saved.values()) / GIGA:.0f} GB" for name in ("g_main", "d_main")]
        asked = [f"{tally.flops['float32'] / TERA:.1f} TFLOP", f"{tally.bytes / GIGA:.0f} GB", f"{tally.launches:,.0f}"]
        click.echo(f"| {' | '.join([precision, *asked, *saved, *times])} |")


def _sum(tallies: dict[str, Tally]) -> Tally:
    total = Tally()
    for tally in tallies.values():
        total.add(tally)
    return total


def _print_table(title: str, tallies: dict[str, Tally], longest_first: bool = False) -> None:
    """Print a line for each, and their sum."""
    click.echo()
    click.echo(_columns(title, "TFLOP", "in fp32", "GB", "launches", "ideal ms"))
    names = sorted(tallies, key=lambda name: -tallies[name].seconds) if longest_first else list(tallies)
    for name in names:
        click.echo(_line(name, tallies[name]))
    click.echo(_line("sum", _sum(tallies)))


def _print_waits(counting: Counting, iterations: int = 1) -> None:
    for place, number in counting.waits.most_common():
        click.echo(f"  {number / iterations:4g} {place}")


def _line(name: str, tally: Tally) -> str:
    flops = sum(tally.flops.values()) / TERA
    full = tally.flops["float32"] / TERA
    size = tally.bytes / GIGA
    time = tally.seconds / MILLI
    return _columns(name, f"{flops:.2f}", f"{full:.2f}", f"{size:.1f}", f"{tally.launches:.0f}", f"{time:.1f}")


def _columns(name: str, *numbers: str) -> str:
    return f"{name:24s}" + "".join(f"{number:>10s}" for number in numbers)


def _plain(tally: Tally) -> dict[str, Any]:
    return {
        "flops": dict(tally.flops),
        "bytes": tally.bytes,
        "launches": tally.launches,
        "seconds": tally.seconds,
    }


if __name__ == "__main__":
    main()
