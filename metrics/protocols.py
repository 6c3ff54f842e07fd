"""Metrics by name: `fvd`, `kvd512_16f`, `id`, `cd`, ...; how many videos each takes, of how many frames, stored how."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from detectors import VideoEmbedder, load_i3d_stylegan_v, load_i3d_videogpt
from detectors.i3d import MIN_FRAMES
from dnnlib.errors import UserError
from metrics.names import PAPER_VIDEOS
from metrics.video_sources import PV3D_STORAGE, STYLEGAN_V_STORAGE, FrameStorage, Window
from training.sampling.options import PAPER_FRAMES

DISTRIBUTION = ("fvd", "kvd")  # compare two sets of videos through I3D features
STYLEGAN_V_VIDEOS = 2048  # this number means StyleGAN-V's protocol, as in its names
_PATTERN = re.compile(
    r"(?P<name>[a-z-]+?)(?:(?P<count>[1-9]\d*)(?P<kilo>k)?)?"
    r"(?:_(?P<frames>[1-9]\d*)f)?(?:_subsample(?P<stride>[1-9]\d*)f)?"
)


@dataclass(frozen=True, kw_only=True)
class FvdStyle:
    """Whose way of computing FVD, and with it KVD.

    Args:
        name: as results show it.
        storage: how generated frames become bytes.
        every_clip_once: real videos are the dataset's clips in order, each once; else random windows of random clips.
        load_detector: `detectors.load_i3d_videogpt` or another loader with its arguments.
    """

    name: str
    storage: FrameStorage
    every_clip_once: bool
    load_detector: Callable[..., VideoEmbedder]


PV3D = FvdStyle(
    name="pv3d",
    storage=PV3D_STORAGE,
    every_clip_once=False,
    load_detector=load_i3d_videogpt,
)
STYLEGAN_V = FvdStyle(
    name="stylegan-v",
    storage=STYLEGAN_V_STORAGE,
    every_clip_once=True,
    load_detector=load_i3d_stylegan_v,
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One metric asked for.

    Args:
        metric: its name as asked for.
        kind: fvd, kvd, id, ...: a key of PAPER_VIDEOS.
        videos: how many are scored.
        window: frames of each video (FVD, KVD).
        style: whose protocol (FVD, KVD).
    """

    metric: str
    kind: str
    videos: int
    window: Window = Window()
    style: FvdStyle = PV3D


def parse_request(text: str) -> Request:
    """Return what a name asks for; raise UserError if it is no metric's.

    `fvd` and `fvd5k_16f` are PV3D's (5000 videos of 16 frames), so is `fvd512_16f` but for the number; `fvd2048_16f`,
    `fvd2048_128f` and `fvd2048_128f_subsample8f` are StyleGAN-V's; the same with kvd. `id`, `cd`, ... may name a number
    of videos: `cd200`.
    """
    match = _PATTERN.fullmatch(text)
    if not match or match["name"] not in PAPER_VIDEOS:
        raise UserError(
            f"--metrics: {text!r} is unknown; there are {', '.join(PAPER_VIDEOS)}, with a number of videos "
            "as in cd200, and fvd and kvd also as in fvd2048_16f."
        )
    kind = match["name"]
    videos = int(match["count"] or PAPER_VIDEOS[kind])
    if match["kilo"]:
        videos *= 1000
    if kind in DISTRIBUTION:
        return _distribution_request(match, kind, videos)
    if match["frames"] or match["stride"]:
        raise UserError(f"--metrics: {text!r}: only fvd and kvd take numbers of frames.")
    return Request(metric=text, kind=kind, videos=videos)


def _distribution_request(match: re.Match[str], kind: str, videos: int) -> Request:
    """Return what a name of FVD or KVD asks for."""
    span = int(match["frames"] or PAPER_FRAMES)
    stride = int(match["stride"] or 1)
    window = Window(len(range(0, span, stride)), stride)
    if videos < 2 or window.frames < MIN_FRAMES:
        raise UserError(
            f"--metrics: {match[0]!r} needs 2 videos or more, of {MIN_FRAMES} frames or more (the detector's reach)."
        )
    style = STYLEGAN_V if videos == STYLEGAN_V_VIDEOS else PV3D
    return Request(metric=match[0], kind=kind, videos=videos, window=window, style=style)


def parse_requests(text: str) -> list[Request]:
    """Parse a comma-separated list of metrics, each taken once."""
    stripped = [name.strip() for name in text.split(",")]
    names = [name for name in stripped if name]
    if not names:
        raise UserError(f"--metrics is empty; choose of {', '.join(PAPER_VIDEOS)}.")
    return [parse_request(name) for name in dict.fromkeys(names)]
