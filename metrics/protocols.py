"""Metrics by name: `fvd`, `kvd512_16f`, `id`, `cd`, ...; how many videos each takes, of how many frames, stored how."""

import re
from dataclasses import dataclass

from dnnlib.errors import UserError
from metrics.video_sources import Window

PAPER_VIDEOS = {
    "fvd": 5000,
    "kvd": 5000,
    "id": 1000,
    "id-dlib": 1000,
    "cd": 1000,
    "we": 1000,
    "pose": 256,
    "diversity": 256,
    "motion": 256,
}
DISTRIBUTION = ("fvd", "kvd")  # compare two sets of videos through I3D features
MULTIVIEW = ("id", "id-dlib", "cd", "we")  # look at four renders of each video
CONTROLS = ("pose", "diversity", "motion")  # watch over generators of procedural heads
STYLEGAN_V_VIDEOS = 2048  # this number means StyleGAN-V's protocol, as in its names
_PATTERN = re.compile(
    r"(?P<name>[a-z-]+?)(?:(?P<count>[1-9]\d*)(?P<kilo>k)?)?"
    r"(?:_(?P<frames>[1-9]\d*)f)?(?:_subsample(?P<stride>[1-9]\d*)f)?"
)


@dataclass(frozen=True)
class Request:
    """One metric asked for: its kind, number of videos, and (FVD, KVD) frames of each and the protocol's style."""

    metric: str  # as asked for
    kind: str  # fvd, kvd, id, ...
    videos: int
    window: Window = Window()
    style: str = "pv3d"  # or stylegan-v

    @property
    def stretches(self) -> bool:
        """Frames are brought to the detector's square directly, not scaled and cropped; the detector's own epsilon."""
        return self.style == "stylegan-v"


def parse_request(text: str) -> Request:
    """What a name asks for; UserError if it is none.

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
    count = int(match["count"]) * (1000 if match["kilo"] else 1) if match["count"] else PAPER_VIDEOS[kind]
    if kind not in DISTRIBUTION:
        if match["frames"] or match["stride"]:
            raise UserError(f"--metrics: {text!r}: only fvd and kvd take numbers of frames.")
        return Request(text, kind, count)
    span, stride = int(match["frames"] or 16), int(match["stride"] or 1)
    window = Window(len(range(0, span, stride)), stride)
    if count < 2 or window.frames < 9:
        raise UserError(f"--metrics: {text!r} needs 2 videos or more, of 9 frames or more (the detector's reach).")
    return Request(text, kind, count, window, "stylegan-v" if count == STYLEGAN_V_VIDEOS else "pv3d")


def parse_requests(text: str) -> list[Request]:
    """A comma-separated list of metrics, each once."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise UserError(f"--metrics is empty; choose of {', '.join(PAPER_VIDEOS)}.")
    return [parse_request(name) for name in names]
