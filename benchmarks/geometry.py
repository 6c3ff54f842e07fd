"""Time of the metrics' mathematics: CD, WE, Frechet and kernel distance, beside a matrix product of the same machine.

    python benchmarks/geometry.py --threads 1

Each is timed several times and the best counts, since shared machines drift. Where others use the machine too, the
processor time of the calling thread says more than the wall clock (with one thread), and the last column, the same for
a float32 product of matrices of 1024 x 1024, lets runs be compared.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from dnnlib import cli  # noqa: E402
from metrics.chamfer import chamfer_distances, nearest_squared  # noqa: E402
from metrics.frechet import FeatureMoments, frechet_distance, frechet_standard_error, kernel_distance  # noqa: E402
from metrics.warping import land, warping_errors  # noqa: E402
from torch_utils.machine_options import machine_options  # noqa: E402
from torch_utils.startup import prepared_machine  # noqa: E402
from training.cameras import canonical_label, frontal_label  # noqa: E402
from training.rendering.rays import camera_rays  # noqa: E402

MAP = 64  # side of the depth maps
IMAGE = 512  # side of the images
FEATURES = 400  # logits of the detector
HEAD = 0.28  # radius, world units
WALL = -0.35  # z of what lies behind, world units
BIN = 1.05 / 48
NOISE = 0.002  # of depth, world units
PEAK_SIDE = 1024

Work = Callable[[], object]


# --- Workloads -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class HeadMap:
    """What one camera sees."""

    depth: torch.Tensor  # [64, 64]
    points: torch.Tensor  # [64, 64, 3]
    opacity: torch.Tensor  # [64, 64]


def head_map(camera: torch.Tensor, random: torch.Generator) -> HeadMap:
    """Return the view of a noisy ball before a transparent wall."""
    all_origins, all_directions = camera_rays(camera[None], MAP)
    origins = all_origins[0]
    directions = all_directions[0]

    # A ray meets the ball where |origin + t * direction| = HEAD, the wall where z = WALL.
    along = (origins * directions).sum(dim=1)
    beside = origins.square().sum(dim=1)
    inside = along.square() - beside + HEAD**2
    hits = inside > 0
    to_ball = -along - inside.clamp(min=0).sqrt()
    z = origins[:, 2]
    to_wall = (WALL - z) / directions[:, 2]

    noise = torch.randn(MAP * MAP, generator=random)
    depth = torch.where(hits, to_ball, to_wall) + NOISE * noise
    points = origins + directions * depth[:, None]
    return HeadMap(
        depth=depth.reshape(MAP, MAP),
        points=points.reshape(MAP, MAP, 3),
        opacity=hits.float().reshape(MAP, MAP),
    )


def random_image(random: torch.Generator) -> torch.Tensor:
    """Return noise uint8 [3, 512, 512]."""
    return torch.randint(0, 256, [3, IMAGE, IMAGE], dtype=torch.uint8, generator=random)


def view_workloads(random: torch.Generator) -> dict[str, Work]:
    """Return what CD and WE compute for a pair of views, by name."""
    front = canonical_label()
    side = frontal_label(np.deg2rad(30.0))
    front_map = head_map(front, random)
    side_map = head_map(side, random)
    points = torch.stack([front_map.points, side_map.points])
    opacities = torch.stack([front_map.opacity, side_map.opacity])
    opaque = torch.ones_like(opacities)
    pair = [(0, 1)]

    front_image = random_image(random)
    side_image = random_image(random)
    small = side_image[:, ::2, ::2].contiguous()
    find_landing = partial(land, side_map.depth, side_camera=side, front_camera=front)
    landing = find_landing()
    compare = partial(
        warping_errors,
        front=front_image.numpy(),
        side=side_image.numpy(),
        side_depth=side_map.depth,
        front_camera=front,
        side_camera=side,
    )
    return {
        "cd, one pair, both definitions": partial(chamfer_distances, points, opacities, pair, BIN),
        "cd, all points opaque": partial(chamfer_distances, points, opaque, pair, BIN),
        "nearest neighbours 4096 to 4096": partial(nearest_squared, *points.flatten(1, 2)),
        "we, one pair, all definitions": compare,
        "we, where pixels land": find_landing,
        "we, one warp and its error": lambda: landing.warp(small).error(small),
    }


def distribution_workloads(videos: int, random: torch.Generator) -> dict[str, Work]:
    """Return what FVD and KVD compute for so many videos on each side, by name."""
    a = torch.randn(videos, FEATURES, generator=random)
    b = torch.randn(videos, FEATURES, generator=random)
    moments_of_a = FeatureMoments.of(a)
    moments_of_b = FeatureMoments.of(b)
    return {
        f"moments of {videos} x {FEATURES}": partial(FeatureMoments.of, a),
        f"frechet distance, {FEATURES} features": partial(frechet_distance, moments_of_a, moments_of_b),
        f"frechet standard error, {videos} videos": partial(frechet_standard_error, a, b),
        f"kernel distance, {videos} videos": partial(kernel_distance, a, b),
    }


# --- Timing ----------------------------------------------------------------------------------------------------------


def timed(work: Work) -> np.ndarray:
    """Return the milliseconds that `work` takes, by the clock and of this thread's processor."""
    started = np.array([time.perf_counter(), time.thread_time()])
    work()
    ended = np.array([time.perf_counter(), time.thread_time()])
    return 1e3 * (ended - started)


def fastest(works: list[Work], repeats: int, seconds: float) -> list[np.ndarray]:
    """Return the least times of each of several works, which are run in turn, up to so many times and seconds."""
    for work in works:
        work()  # to warm up
    best = [np.full(2, np.inf) for _ in works]
    end = time.perf_counter() + seconds
    for _ in range(repeats):
        for index, work in enumerate(works):
            best[index] = np.minimum(best[index], timed(work))
        if time.perf_counter() > end:
            break
    return best


@cli.command()
@cli.option("--videos", type=click.IntRange(3), default=1000, help="Videos on each side of FVD and KVD.")
@cli.option("--repeats", type=click.IntRange(1), default=20, help="Timed runs at most; the best counts.")
@cli.option("--seconds", type=click.FloatRange(0), default=3.0, help="No new run of one workload after this time.")
@machine_options("threads")
def main(videos: int, repeats: int, seconds: float, threads: int | None) -> None:
    """Measure CD, WE, FVD and KVD without rendering and detector, on the CPU."""
    with prepared_machine(threads=threads):
        random = torch.Generator().manual_seed(0)
        square = torch.randn(PEAK_SIDE, PEAK_SIDE, generator=random)
        product = partial(torch.mm, square, square)
        click.echo(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
        workloads = view_workloads(random) | distribution_workloads(videos, random)
        for name, work in workloads.items():
            (clock, processor), (_, peak) = fastest([work, product], repeats, seconds)
            click.echo(f"{name:40s} {clock:9.2f} ms, processor {processor:9.2f} ms; product {peak:6.2f} ms")


if __name__ == "__main__":
    main()
