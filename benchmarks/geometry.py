"""Time of the metrics' mathematics: CD, WE, Frechet and kernel distance, beside a matrix product of the same machine.

    python benchmarks/geometry.py --threads 1

Each is timed several times and the best counts, since shared machines drift. Where others use the machine too, the
processor time of the calling thread says more than the wall clock (with one thread), and the last column, the same for
a float32 product of matrices of 1024 x 1024, lets runs be compared.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from dnnlib import cli  # noqa: E402
from metrics.chamfer import chamfer_distances, nearest_squared  # noqa: E402
from metrics.frechet import FeatureMoments, frechet_distance, frechet_standard_error, kernel_distance  # noqa: E402
from metrics.warping import land, warping_errors  # noqa: E402
from torch_utils import runtime  # noqa: E402
from training.cameras import canonical_label, frontal_label  # noqa: E402
from training.rendering.rays import camera_rays  # noqa: E402

MAP, IMAGE, FEATURES = 64, 512, 400  # sides of depth maps and images; logits of the detector
HEAD, WALL = 0.28, -0.35  # radius, and z of what lies behind, world units
BIN = 1.05 / 48
PEAK_SIDE = 1024


def head_map(camera: torch.Tensor, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Depth [64, 64], points [64, 64, 3] and opacity [64, 64] of a noisy ball before a transparent wall."""
    origins, directions = (rays[0] for rays in camera_rays(camera[None], MAP))
    along = (origins * directions).sum(dim=1)
    inside = along.square() - origins.square().sum(dim=1) + HEAD**2
    depth = torch.where(inside > 0, -along - inside.clamp(min=0).sqrt(), (WALL - origins[:, 2]) / directions[:, 2])
    depth = depth + 0.002 * torch.randn(len(depth), generator=random)
    points = origins + directions * depth[:, None]
    return depth.reshape(MAP, MAP), points.reshape(MAP, MAP, 3), (inside > 0).float().reshape(MAP, MAP)


def workloads(videos: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    random = torch.Generator().manual_seed(0)
    cameras = canonical_label(), frontal_label(np.deg2rad(30.0))
    depths, points, opacities = (
        torch.stack(maps) for maps in zip(*(head_map(camera, random) for camera in cameras), strict=True)
    )
    images = torch.randint(0, 256, [2, 3, IMAGE, IMAGE], dtype=torch.uint8, generator=random)
    a, b = (torch.randn(videos, FEATURES, generator=random) for _ in range(2))
    moments = FeatureMoments.of(a), FeatureMoments.of(b)
    landing = land(depths[1], cameras[1], cameras[0])
    small = images[1, :, ::2, ::2].contiguous()
    return {
        "cd, one pair, both definitions": lambda: chamfer_distances(points, opacities, [(0, 1)], BIN),
        "cd, all points opaque": lambda: chamfer_distances(points, torch.ones_like(opacities), [(0, 1)], BIN),
        "nearest neighbours 4096 to 4096": lambda: nearest_squared(*points.flatten(1, 2)),
        "we, one pair, all definitions": lambda: warping_errors(images[0], images[1], depths[1], *cameras),
        "we, where pixels land": lambda: land(depths[1], cameras[1], cameras[0]),
        "we, one warp and its error": lambda: landing.warp(small).error(small),
        f"moments of {videos} x {FEATURES}": lambda: FeatureMoments.of(a),
        f"frechet distance, {FEATURES} features": lambda: frechet_distance(*moments),
        f"frechet standard error, {videos} videos": lambda: frechet_standard_error(a, b),
        f"kernel distance, {videos} videos": lambda: kernel_distance(a, b),
    }


def timed(work: Callable[[], object]) -> np.ndarray:
    """Seconds that `work` takes, by the clock and of this thread's processor."""
    clock, processor = time.perf_counter(), time.thread_time()
    work()
    return np.array([time.perf_counter() - clock, time.thread_time() - processor])


@cli.command()
@click.option("--videos", type=click.IntRange(3), default=1000, help="Videos on each side of FVD and KVD.")
@click.option("--repeats", type=click.IntRange(1), default=20, help="Timed runs at most; the best counts.")
@click.option("--seconds", type=click.FloatRange(0), default=3.0, help="No new run of one workload after this time.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.")
def main(videos: int, repeats: int, seconds: float, threads: int | None):
    """Measure CD, WE, FVD and KVD without rendering and detector, on the CPU."""
    runtime.tune_cpu_allocator()
    runtime.set_threads(threads)
    square = torch.randn(PEAK_SIDE, PEAK_SIDE)
    click.echo(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for name, work in workloads(videos).items():
        work()
        best = peak = np.full(2, np.inf)
        started = time.perf_counter()
        for _ in range(repeats):
            best, peak = np.minimum(best, timed(work)), np.minimum(peak, timed(lambda: square @ square))
            if time.perf_counter() - started > seconds:
                break
        clock, processor = 1e3 * best
        click.echo(f"{name:40s} {clock:9.2f} ms, processor {processor:9.2f} ms; product {1e3 * peak[1]:6.2f} ms")


if __name__ == "__main__":
    main()
