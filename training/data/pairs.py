"""Pairs of frames with times and cameras, as training draws them from clips (PV3D section 3.4).

Item k of the endless stream of training pairs depends on the seed and k alone, so any number of ranks and workers sees
the same stream, and a resumed run goes on where it stopped.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch

from dnnlib.errors import UserError
from training.cameras import CAMERA_DIM, mirror_label
from training.config import FRAMES_PER_CLIP
from training.data.dataset import ClipDataset
from training.data.image_share import ImageShare
from training.data.loader import endless_batches
from training.data.streams import First

MIRROR_PROBABILITY = 0.5  # where mirroring is on
BANK_CLIPS, BANK_FRAMES = 256, 16  # of the cameras that a snapshot holds

# --- How long clips are -----------------------------------------------------------------------------------------------


def greatest_time(lengths: Iterable[int], window: int) -> float:
    """Return the greatest time that frames of clips of these lengths have: 1 where one fills the window.

    A window of one frame holds no time at all.
    """
    span = min(max(lengths), window)
    return (span - 1) / max(window - 1, 1)


def is_still(length: int, window: int) -> bool:
    """Return whether a clip of this length has no time but 0, and so gives no two different frames."""
    return greatest_time([length], window) == 0


def moving_clips(lengths: Sequence[int], window: int) -> list[int]:
    """Return the numbers of the clips that can give two different frames."""
    return [index for index, length in enumerate(lengths) if not is_still(length, window)]


def clips_with(frames: int, lengths: Sequence[int]) -> list[int]:
    """Return the numbers of the clips that give samples of so many frames: all, unless these follow each other."""
    return [index for index, length in enumerate(lengths) if frames <= FRAMES_PER_CLIP or length >= frames]


# --- Two frames of a clip ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """Two frames of a clip: frames uint8 [2, 3, R, R], times float32 [2] in [0, 1], cameras float32 [2, 25].

    Where a sample is one frame of a clip, or more than two that follow each other, their number for 2.
    """

    frames: np.ndarray
    times: np.ndarray
    cameras: np.ndarray
    # What the image discriminator judges in place of the frames, if it does: uint8 [2, 3, R, R], float32 [2, 25].
    image_frames: np.ndarray | None = field(default=None, kw_only=True)
    image_cameras: np.ndarray | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class MixedPair(Pair):
    """A pair of data of which some clips have but one frame, and its stand-in for the video discriminator.

    They are the same for any other clip.
    """

    stand_in_frames: np.ndarray
    stand_in_times: np.ndarray
    stand_in_cameras: np.ndarray


def draw_times(rng: np.random.Generator) -> tuple[float, float]:
    """Draw two moments in [0, 1), sorted: one of Beta(2, 1), one of Beta(1, 2) (section 3.4)."""
    early, late = sorted([rng.beta(2, 1), rng.beta(1, 2)])
    return early, late


def draw_frames(
    rng: np.random.Generator,
    length: int,
    *,
    window: int,
    frames: int = FRAMES_PER_CLIP,
) -> tuple[int, np.ndarray, np.ndarray]:
    """Draw a window of a clip of `length` frames, and two moments in it, or the first of them alone.

    More than two `frames` are those with which the window begins; the clip has as many.

    Returns:
        start: first frame of the window; a clip shorter than the window is a window itself.
        offsets: int [frames], frames in the window: int(moment * window).
        moments: float [frames], the draws of `draw_times`.
    """
    span = min(length, window)
    start = int(rng.integers(length - span + 1))
    if frames > FRAMES_PER_CLIP:
        offsets = np.arange(frames)
        return start, offsets, offsets / max(window - 1, 1)
    moments = np.array(draw_times(rng)[:frames])
    offsets = np.minimum((moments * span).astype(int), span - 1)
    return start, offsets, moments


def draw_pair(
    rng: np.random.Generator,
    dataset: ClipDataset,
    clip_index: int,
    *,
    window: int,
    mirror: float,
    frames: int = FRAMES_PER_CLIP,
) -> Pair:
    """Draw two frames of a clip, or one, or more that follow each other, as a training sample.

    Time is the index in the window / (window - 1). Both frames are mirrored together, cameras too, with probability
    `mirror`.
    """
    clip = dataset.clips[clip_index]
    start, offsets, _ = draw_frames(rng, len(clip), window=window, frames=frames)
    images = np.stack([dataset.read_frame(clip_index, start + int(offset)) for offset in offsets])
    times = (offsets / max(window - 1, 1)).astype(np.float32)
    cameras = clip.cameras[start + offsets]
    if rng.random() < mirror:
        images = np.ascontiguousarray(images[..., ::-1])
        cameras = mirrored(cameras)
    return Pair(images, times, cameras)


def mirrored(cameras: np.ndarray) -> np.ndarray:
    """Return the cameras [..., 25] of mirrored frames."""
    return mirror_label(torch.from_numpy(cameras)).numpy()


# --- The endless stream -----------------------------------------------------------------------------------------------


class PairStream(torch.utils.data.Dataset):
    """The endless stream of training pairs as a map from item number to sample; epochs are shuffled anew.

    A UserError becomes the item, for a worker can only pass on values cleanly.

    Args:
        streams: of random numbers, for samples and for the order of epochs.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        *,
        seed: int,
        window: int,
        mirror: bool,
        frames: int = FRAMES_PER_CLIP,
        streams: tuple[First, First] = (First.PAIRS, First.EPOCHS),
    ):
        self.dataset = dataset
        self.seed = seed
        self.window = window
        self.frames = frames
        self.mirror = MIRROR_PROBABILITY if mirror else 0.0
        self.clips = clips_with(frames, dataset.lengths)
        self.moving = [clip for clip in self.clips if not is_still(dataset.lengths[clip], window)]
        self.streams = streams

    def clip_index(self, item: int) -> int:
        """Return which clip item number `item` is drawn from."""
        clips = len(self.clips)
        epoch, position = divmod(item, clips)
        return self.clips[int(_epoch_order(self.streams[1], self.seed, epoch, clips)[position])]

    def __getitem__(self, item: int) -> Pair | UserError:
        rng = np.random.default_rng([self.streams[0], self.seed, item])
        clip = self.clip_index(item)
        try:
            pair = self._draw(rng, clip)
            if len(self.moving) in (0, len(self.clips)):
                return pair
            stand_in = pair
            if is_still(len(self.dataset.clips[clip]), self.window):
                stand_in = self._draw(rng, self.moving[rng.integers(len(self.moving))])
            own = {name: getattr(pair, name) for name in ("frames", "times", "cameras")}
            return MixedPair(**own, **{f"stand_in_{name}": getattr(stand_in, name) for name in own})
        except UserError as error:
            return error

    def _draw(self, rng: np.random.Generator, clip: int) -> Pair:
        return draw_pair(rng, self.dataset, clip, window=self.window, mirror=self.mirror, frames=self.frames)


@lru_cache(maxsize=4)
def _epoch_order(stream: First, seed: int, epoch: int, clips: int) -> np.ndarray:
    return np.random.default_rng([stream, seed, epoch]).permutation(clips)


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """Images beside clips: a dataset any frame of which is an image, and when they come.

    Args:
        share: when.
        begin: number of the run's first clip in the stream of pairs; as many images are behind it as clips can have had
            in their place.
    """

    dataset: ClipDataset
    share: ImageShare
    begin: int


class PairsWithImages(torch.utils.data.Dataset):
    """The stream of pairs, in which some have images in their place: frames of clips, each clip as often."""

    def __init__(self, pairs: PairStream, images: ImageData):
        self.pairs = pairs
        self.share = images.share
        self.begin = images.begin
        mirror = pairs.mirror > 0
        streams = (First.IMAGES, First.IMAGE_EPOCHS)
        self.images = PairStream(images.dataset, seed=pairs.seed, window=1, mirror=mirror, frames=1, streams=streams)

    def __getitem__(self, item: int) -> Pair | UserError:
        behind = self.begin * self.share.frames
        numbers = self.share.images_in_place_of(item - self.begin)
        found: list[Pair] = []
        for one in [self.pairs[item], *(self.images[behind + number] for number in numbers)]:
            if isinstance(one, UserError):
                return one
            found.append(one)
        pair, *images = found
        if not images:
            return pair
        frames = np.concatenate([image.frames for image in images])
        return replace(pair, image_frames=frames, image_cameras=np.concatenate([image.cameras for image in images]))


def training_batches(
    dataset: ClipDataset,
    batch: int,
    *,
    seed: int,
    start: int = 0,
    rank: int = 0,
    world: int = 1,
    workers: int,
    window: int,
    mirror: bool,
    frames: int = FRAMES_PER_CLIP,
    images: ImageData | None = None,
    pin: bool = False,
) -> Generator[dict[str, torch.Tensor], None, None]:
    """Yield this rank's share of the endless training stream.

    Args:
        batch: clips a batch, of this rank.
        start: clips already consumed by all ranks together; a resumed run goes on there.
        rank, world: this rank takes items start + rank, start + rank + world, ...
        workers: processes that decode; 0 decodes here. The stream does not depend on it.
        window: frames of a clip that a pair is drawn from.
        mirror: whether half of the pairs are mirrored.
        frames: of a clip, 2 or 1; or more that follow each other, of clips that have as many.
        images: those that come beside the clips.
        pin: as of `endless_batches`.

    Yields:
        frames uint8 [batch, frames, 3, R, R], times float32 [batch, frames], cameras float32 [batch, frames, 25]. Where
        some clips have but one frame, also stand_in_frames, stand_in_times, stand_in_cameras (`MixedPair`). Where the
        first of the clips have images in their place, also image_frames and image_cameras, of those clips alone.

    Raises:
        UserError: a frame is missing or damaged; a worker died, hangs, or has no shared memory.
    """
    pairs = PairStream(dataset, seed=seed, window=window, mirror=mirror, frames=frames)
    stream = pairs if images is None else PairsWithImages(pairs, images)
    return endless_batches(stream, batch, start=start + rank, step=world, workers=workers, pin=pin)


# --- Cameras alone ----------------------------------------------------------------------------------------------------


class CameraSampler:
    """A source of times and cameras for fakes: those of a random training clip, as for reals but with continuous times.

    The times of a clip's fakes are within those that its real frames have.

    Args:
        sequences: the clips' cameras, float32 [F, 25] each.
        window, mirror, frames: as of `training_batches`.
    """

    def __init__(self, sequences: Sequence[np.ndarray], *, window: int, mirror: bool, frames: int = FRAMES_PER_CLIP):
        self.sequences = sequences
        self.window = window
        self.frames = frames
        self.mirror = MIRROR_PROBABILITY if mirror else 0.0

    def sample(self, key: int | tuple[int, ...], n: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw times float32 [n, frames] and cameras float32 [n, frames, 25]: a function of `key` (integers >= 0)."""
        numbers = (key,) if isinstance(key, int) else key
        rng = np.random.default_rng([First.CAMERAS, *numbers])
        times = np.empty([n, self.frames], np.float32)
        cameras = np.empty([n, self.frames, CAMERA_DIM], np.float32)
        for row in range(n):
            sequence = self.sequences[int(rng.integers(len(self.sequences)))]
            start, offsets, moments = draw_frames(rng, len(sequence), window=self.window, frames=self.frames)
            times[row] = moments * greatest_time([len(sequence)], self.window)
            pair = sequence[start + offsets]
            if rng.random() < self.mirror:
                pair = mirrored(pair)
            cameras[row] = pair
        return torch.from_numpy(times), torch.from_numpy(cameras)


def camera_bank(
    dataset: ClipDataset,
    *,
    seed: int,
    clips: int = BANK_CLIPS,
    frames: int = BANK_FRAMES,
) -> torch.Tensor:
    """Draw camera sequences float32 [M, frames, 25] of up to `clips` clips, a random window each, for snapshots."""
    rng = np.random.default_rng([First.BANK, seed])
    chosen = rng.permutation(dataset.num_clips)[:clips]
    windows = [camera_window(rng, dataset.clips[index].cameras, frames) for index in chosen]
    return torch.from_numpy(np.stack(windows))


def camera_window(rng: np.random.Generator, cameras: np.ndarray, frames: int) -> np.ndarray:
    """Draw a window [frames, 25] of a clip's cameras [F, 25]; a shorter clip runs to and fro (0 1 2 1 0 ...)."""
    length = len(cameras)
    start = int(rng.integers(max(length - frames, 0) + 1))
    period = max(2 * (length - 1), 1)
    place = (start + np.arange(frames)) % period
    if length < frames:
        place = np.minimum(place, period - place)
    return cameras[place]
