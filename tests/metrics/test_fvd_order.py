"""What FVD must say of procedural videos, seen through the random detector.

Real videos are near real ones, shuffled and blurred ones are farther.
"""

import numpy as np
import pytest
import torch

from detectors import load_i3d_videogpt
from metrics.frechet import FeatureMoments, frechet_distance, kernel_distance
from training import synthetic

SIZE, FRAMES = 64, 16
FPS = 5  # few, so that frames differ: the random detector knows little of time


def clips(seeds: range) -> np.ndarray:
    return np.stack([synthetic.render_clip(seed, SIZE, FRAMES, FPS).frames for seed in seeds])


def shuffled(videos: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([video[rng.permutation(FRAMES)] for video in videos])


def blurred(videos: np.ndarray) -> np.ndarray:
    frames = torch.from_numpy(videos).flatten(0, 1)
    smooth = torch.nn.functional.avg_pool2d(frames.float(), 5, stride=1, padding=2, count_include_pad=False)
    return smooth.round().byte().view(videos.shape).numpy()


def features_of(videos: np.ndarray) -> torch.Tensor:
    detector = load_i3d_videogpt(kind="random", folder=None, device="cpu")
    batches = torch.from_numpy(videos).split(2)
    return torch.cat([detector(batch) for batch in batches]).double()


def check_order(each: int) -> None:
    """Compare `each` real clips with other real ones, the same shuffled, and the same blurred."""
    reference = features_of(clips(range(each)))
    others = clips(range(each, 2 * each))
    sets = {
        "real": others,
        "shuffled": shuffled(others),
        "blurred": blurred(others),
    }
    frechet = {}
    kernel = {}
    for name, videos in sets.items():
        features = features_of(videos)
        distance = frechet_distance(FeatureMoments.of(features), FeatureMoments.of(reference))
        frechet[name] = distance.value
        kernel[name] = kernel_distance(features, reference).value
    print(f"{each} clips a side: FVD {frechet}, KVD {kernel}")
    assert frechet["real"] < frechet["shuffled"] < frechet["blurred"]
    # The kernel distance of shuffled clips is within its error of the real ones'.
    assert kernel["real"] < kernel["blurred"]


def test_order_of_distances(one_thread):
    check_order(12)


@pytest.mark.slow
def test_order_of_distances_of_more_clips(one_thread):
    check_order(96)
