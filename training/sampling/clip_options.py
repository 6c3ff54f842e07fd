"""Options of a command about clips: which appearances and motions, how long, seen by which cameras."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

from dnnlib import cli
from dnnlib.cli import PATH
from dnnlib.errors import UserError
from training.sampling.clip_list import Clips
from training.sampling.options import PAPER_FRAMES, Orbit, SamplingOptions

CLIPS = "Clips"  # heading in `--help`
DEFAULT_SEEDS = range(4)
MAPPING_CAMERAS = ("first", "frontal")
ORBIT = "--cameras=orbit: degrees either side of the front."


@dataclass(frozen=True, kw_only=True)
class ClipOptions:
    """Which clips are made.

    Args:
        seeds: of appearances; None: nobody says.
        latents: file of an appearance and a motion, in place of seeds.
        motion_seeds: of motions; None: each appearance its own.
        interpolate: whether one clip goes through all appearances.
        trunc: truncation psi.
        trunc_cutoff: how many rows of latents are truncated; None: all.
        frames: of each; None: nobody says.
        cameras: one of KINDS, or a file; None: nobody says.
        orbit_yaw, orbit_pitch: how far an orbit goes, degrees; None: nobody says.
        mapping_camera: one of MAPPING_CAMERAS.
    """

    seeds: Sequence[int] | None
    latents: Path | None
    motion_seeds: list[int] | None
    interpolate: bool
    trunc: float
    trunc_cutoff: int | None
    frames: int | None
    cameras: str | None
    orbit_yaw: float | None
    orbit_pitch: float | None
    mapping_camera: str

    def check(self) -> None:
        """Raise a UserError if options contradict each other, or one does nothing."""
        if self.seeds is not None and self.latents is not None:
            raise UserError("Give appearances by --seeds or by --latents, not by both.")
        if self.interpolate and self.latents is not None:
            raise UserError("--interpolate goes between seeds, and --latents is one appearance: give --seeds instead.")
        if self.interpolate and len(self.appearances) < 2:
            raise UserError("--interpolate goes from seed to seed: give two or more --seeds.")
        if self.trunc_cutoff is not None and self.trunc == 1:
            raise UserError("--trunc-cutoff does nothing without --trunc: give that too, or leave it out.")
        if self.mapping_camera != MAPPING_CAMERAS[0] and self.latents is not None:
            raise UserError("--mapping-camera does nothing with --latents, which are mapped already: leave it out.")
        for name, value in (("yaw", self.orbit_yaw), ("pitch", self.orbit_pitch)):
            if value is not None and self.cameras != "orbit":
                raise UserError(f"--orbit-{name} does nothing without --cameras=orbit: give that too, or leave it out.")

    def check_rows(self, rows: int) -> None:
        """Raise a UserError if more rows are to be truncated than latents have."""
        if self.trunc_cutoff is not None and self.trunc_cutoff > rows:
            raise UserError(
                f"--trunc-cutoff={self.trunc_cutoff} is not possible: this model's latents have {rows} rows. Leave it "
                "out to truncate all."
            )

    @property
    def appearances(self) -> Sequence[int]:
        """Seeds of appearances, where no latents are given."""
        return DEFAULT_SEEDS if self.seeds is None else self.seeds

    @property
    def clips(self) -> Clips:
        """All clips."""
        return Clips([None] if self.latents is not None else self.appearances, self.motion_seeds, self.interpolate)

    @property
    def orbit(self) -> Orbit:
        """How far an orbit goes."""
        given = {"yaw": self.orbit_yaw, "pitch": self.orbit_pitch}
        return Orbit(**{name: value for name, value in given.items() if value is not None})


OPTIONS = (
    cli.option("--seeds", group=CLIPS, type=cli.IntList(), show_default="0-3", help="Appearances, such as 0-15,20."),
    cli.option("--latents", group=CLIPS, type=PATH, help="Appearance and motion of a file, in place of seeds."),
    cli.option(
        "--motion-seeds",
        group=CLIPS,
        type=cli.IntList(),
        show_default="each appearance its own",
        help="Motions; every appearance gets each of them.",
    ),
    cli.option(
        "--interpolate",
        group=CLIPS,
        is_flag=True,
        help="One video that goes from seed to seed and back to the first, straight in w, by the first one's motion or "
        "by each of --motion-seeds.",
    ),
    cli.option(
        "--trunc",
        group=CLIPS,
        type=float,
        default=SamplingOptions.psi,
        help="Truncation psi; 1: none, 0: the mean appearance.",
    ),
    cli.option(
        "--trunc-cutoff",
        group=CLIPS,
        type=click.IntRange(0),
        show_default="all",
        help="Rows of latents that are truncated.",
    ),
    cli.option(
        "--frames",
        group=CLIPS,
        type=click.IntRange(1),
        show_default=f"as many as latents or a file of cameras have, else {PAPER_FRAMES}; {PAPER_FRAMES} a seed that "
        "--interpolate goes through",
        help="Frames of each video; a camera path of another length is resampled.",
    ),
    cli.option(
        "--cameras",
        group=CLIPS,
        show_default="dataset; of latents, their own",
        metavar="PATH",
        help="Camera path: dataset (real ones kept in the snapshot), shared (one of them for all), frontal, orbit "
        "(around the head), or a file with a JSON list of labels.",
    ),
    cli.option("--orbit-yaw", group=CLIPS, type=click.FloatRange(-180, 180), show_default=f"{Orbit.yaw:g}", help=ORBIT),
    cli.option(
        "--orbit-pitch", group=CLIPS, type=click.FloatRange(-88, 88), show_default=f"{Orbit.pitch:g}", help=ORBIT
    ),
    cli.option(
        "--mapping-camera",
        group=CLIPS,
        type=click.Choice(MAPPING_CAMERAS),
        default=MAPPING_CAMERAS[0],
        help="Camera that the mapping network sees: a path's first one, as in the paper (--camera-mode=Non: every "
        "one), or the frontal one, so that a head is the same by every path; the viewer does so.",
    ),
)


def clip_options(command: Callable) -> Callable:
    """Declare the options; the command gets `wanted`, ClipOptions that are possible."""

    @functools.wraps(command)
    def with_clips(*args: Any, **flags: Any) -> Any:
        wanted = ClipOptions(**{field.name: flags.pop(field.name) for field in fields(ClipOptions)})
        wanted.check()
        return command(*args, wanted=wanted, **flags)

    return cli.together(*OPTIONS)(with_clips)
