"""What FVD must say of procedural videos, seen through the random detector: real ones are near real ones, shuffled and
blurred ones are farther."""

import numpy as np
import pytest
import torch

from detectors import load_i3d_videogpt
from metrics.frechet import FeatureMoments, frechet_distance, kernel_distance
from training import synthetic

SIZE, FRAMES = 64, 16
FPS = 5  # few, so that frames differ: the random detector knows little of time


def clips(seeds) -> np.ndarray:
    return np.stack([synthetic.render_clip(seed, SIZE, FRAMES, FPS).frames for seed in seeds])


def shuffled(videos: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([video[rng.permutation(FRAMES)] for video in videos])


def blurred(videos: np.ndarray) -> np.ndarray:
    frames = torch.from_numpy(videos).flatten(0, 1).float()
    smooth = torch.nn.functional.avg_pool2d(frames, 5, stride=1, padding=2, count_include_pad=False)
    return smooth.round().byte().view(videos.shape).numpy()


def distances(each: int) -> dict[str, tuple[float, float]]:
    """(FVD, KVD) to `each` real clips of: other real ones, the same shuffled, the same blurred."""
    detector = load_i3d_videogpt(kind="random", folder=None, device="cpu")

    def features(videos: np.ndarray) -> torch.Tensor:
        return torch.cat([detector(part) for part in torch.from_numpy(videos).split(2)]).double()

    real, other = features(clips(range(each))), clips(range(each, 2 * each))
    sets = {"real": other, "shuffled": shuffled(other), "blurred": blurred(other)}
    found = {name: features(videos) for name, videos in sets.items()}
    moments = FeatureMoments.of(real)
    return {
        name: (frechet_distance(FeatureMoments.of(x), moments).value, kernel_distance(x, real).value)
        for name, x in found.items()
    }


def check(each: int) -> None:
    found = distances(each)
    print(f"{each} clips a side:", {name: tuple(round(x, 4) for x in pair) for name, pair in found.items()})
    assert found["real"][0] < found["shuffled"][0] < found["blurred"][0]
    # The kernel distance of shuffled clips is within its error of the real ones'.
    assert found["real"][1] < found["blurred"][1]


def test_order_of_distances(one_thread):
    check(12)


@pytest.mark.slow
def test_order_of_distances_of_more_clips(one_thread):
    check(96)
