"""The rows of a study: training options by name, with what the paper reports of them (PV3D T. 2 and T. 3)."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dnnlib.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
PAPER_METRICS = ("fvd", "cd", "we")  # of Row.paper, on VoxCeleb at 512 x 512
# The mapping network sees another clip's camera with a probability that falls from 1 to 0.5 in the first fifth of the
# paper's training. By the presets a study is over before it has fallen, and no row would have seen its own cameras.
SCHEDULE = ("--swap-fade=1.6",)
TRAIN, TEST, FEW, STILLS = "train", "test", "few", "stills"  # datasets (benchmarks/study_data.py)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")  # also a folder's


@dataclass(frozen=True, kw_only=True)
class Row:
    """A way to train.

    Args:
        name: of the row, and of its folder.
        options: of train.py.
        schedule: further ones, in which rows of the tables do not differ from each other.
        moves: the row whose last generator, of the same seed, is its --generator; "": it has none.
        about: what it is, in the paper's words.
        paper: FVD, CD and WE of the paper.
        checkout: whose train.py it is.
        twin: row that is trained alike; where it is done, its snapshots are taken, with this row's options.
        datasets: names of those that it trains on: clips, and images beside them if there are any.
    """

    name: str
    options: tuple[str, ...] = ()
    schedule: tuple[str, ...] = ()
    moves: str = ""
    about: str = ""
    paper: tuple[float, float, float] | None = None
    checkout: Path = ROOT
    twin: str | None = None
    datasets: tuple[str, ...] = (TRAIN,)


def _row(name: str, options: str, about: str, paper: tuple[float, float, float] | None = None) -> Row:
    return Row(name=name, options=tuple(shlex.split(options)), schedule=SCHEDULE, about=about, paper=paper)


# Where the demo is smaller than the paper's model, a row has the demo's number for the paper's.
PV3D = _row("pv3d", "", "K = 4, MapT, both discriminators", (29.1, 1.34, 9.76))
MOTION = (
    _row("motion-early", "--motion-blocks=2", "K = 2", (40.2, 2.32, 10.60)),
    _row("motion-late", "--motion-blocks=5", "all blocks: K = 5 of 5, in the paper 7 of 7", (33.3, 6.24, 11.56)),
    _row("motion-weight", "--motion-weight", "a learned weight per motion layer", (30.5, 1.81, 10.31)),
    _row("motion-mlp", "--motion-generator=mlp", "motion added to the features", (41.1, 1.33, 9.86)),
    _row("motion-naive", "--motion-generator=naive", "motion and time into the mapping network", (36.9, 1.05, 10.21)),
    _row("motion-from-z_a", "--motion-code=z_a", "z_a in place of z_m", (37.7, 1.07, 9.86)),
)
CAMERAS = (
    _row("cameras-all", "--camera-mode=All", "one camera for mapping and rendering", (32.1, 2.49, 11.32)),
    replace(
        _row("cameras-non", "--camera-mode=Non", "every frame's camera for both", (55.3, 3.28, 23.71)),
        twin=PV3D.name,
    ),
    _row("cameras-map", "--camera-mode=Map", "one camera for mapping, also in training", (38.0, 1.47, 10.19)),
)
NO_CAMERAS = _row("cameras-none", "--no-camera-conditioning", "generator without cameras")
NO_VIDEO = _row("no-video", "--no-video-discriminator", "no video discriminator", (145.9, 3.89, 11.82))
DISCRIMINATORS = (
    _row("video-no-cameras", "--no-video-cameras", "video discriminator without cameras", (34.9, 4.38, 10.84)),
    _row("video-no-dt", "--no-video-dt", "video discriminator without time difference", (38.7, 1.54, 10.04)),
    NO_VIDEO,
    _row("no-image", "--no-image-discriminator", "no image discriminator", (42.2, 3.44, 14.40)),
)
RAYS = (
    _row("rays-half", "--neural-rendering-resolution=16", "16 rays a side, in the paper 32", (42.4, 3.25, 12.98)),
    _row("rays-double", "--neural-rendering-resolution=64", "64 rays a side, in the paper 128", (34.1, 0.92, 9.62)),
)
METHODS = (
    _row("eg3d", "--method=eg3d", "EG3D: static, as many images as others have pairs"),
    _row("3dvidgen-eg3d", "--method=3dvidgen-eg3d", "3DVidGen (EG3D), of table 1", (56.3, 3.65, 24.55)),
    Row(  # last, so that its generator is there; it swaps no cameras
        name="eg3d-mcghd",
        options=("--method=eg3d-mcghd",),
        moves="eg3d",
        about="EG3D + MCG-HD, of table 1: the row eg3d, moved",
        paper=(222.1, 1.57, 10.57),
    ),
)
IMAGES = (
    replace(_row("few-clips", "", "a tenth of the clips"), datasets=(FEW,)),
    replace(
        _row("few-clips-stills", "--image-share=0.5", "the same, and stills of others beside them"),
        datasets=(FEW, STILLS),
    ),
)
SETS: dict[str, tuple[Row, ...]] = {
    "table2": (PV3D, *MOTION),
    "table3": (PV3D, *CAMERAS, NO_CAMERAS, *DISCRIMINATORS, *RAYS),
    "cameras": (PV3D, *CAMERAS),
    "video": (PV3D, NO_VIDEO),
    "methods": (PV3D, *METHODS),
    "images": IMAGES,
}
ROWS = {row.name: row for rows in SETS.values() for row in rows}


def resolve(names: str, own: Sequence[tuple[str, Path, str]]) -> list[Row]:
    """Return the rows of a list of names of sets and rows, each once, and behind them a user's own.

    Args:
        own: name, checkout and options of each.

    Raises:
        UserError: a name is unknown, no name, or taken; or there is no row.
    """
    found: dict[str, Row] = {}
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name not in SETS and name not in ROWS:
            raise UserError(f"--rows: {name!r} is unknown; there are the sets {', '.join(SETS)} and {', '.join(ROWS)}.")
        found |= {row.name: row for row in SETS.get(name) or (ROWS[name],)}
    for name, checkout, options in own:
        if not NAME.fullmatch(name):
            raise UserError(f"--row: {name!r} is no name for a folder: take letters, digits, dots and dashes.")
        if name in found or name in ROWS:
            raise UserError(f"--row: there is another row {name!r}: their runs would be one.")
        if not (checkout / "train.py").is_file():
            raise UserError(f"--row: {checkout} is no checkout of this software: it has no train.py.")
        about = "" if checkout.resolve() == ROOT else f"of {checkout}"
        row = Row(name=name, options=split(options, "--row"), about=about, checkout=checkout.resolve())
        found[name] = row
    if not found:
        raise UserError(f"There are no rows to train: give --rows, of {', '.join(SETS)}, or --row.")
    return list(found.values())


def split(options: str, flag: str) -> tuple[str, ...]:
    """Return the words of a command line, given as `flag`. UserError if its quotes do not match."""
    try:
        return tuple(shlex.split(options))
    except ValueError as error:
        raise UserError(f"{flag}: the options {options!r} are no command line ({error}): mend the quotes.") from None
