"""`edit_videos.py`: what is worked on, read or found, and what is made of it."""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from applications.analyses import AnalysisOptions, analysis
from applications.commands import camera_kind, doubt_cameras, make, opened
from applications.editing import lasting, moving, pair
from applications.jobs import LATENTS, Session, find_latents, video
from applications.latents import Latents, load_latents, same_weights
from applications.options import InversionOptions
from applications.sources import interpolated, latents_of, path_for, require_motion_of_times, require_one_appearance
from applications.style_mixing import mix as mix_rows
from applications.targets import Target, find_clip, read_target
from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.files import file_checksum, require_file
from dnnlib.optional import optional_packages
from dnnlib.options import check, flags_of, given, override, to_dict
from training.data.dataset import ClipDataset
from training.sampling import records
from training.sampling.options import PAPER_FRAMES

Plain = dict[str, Any]


# --- The model and what is worked on -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Found:
    """Latents to work with, and the frames that they were found for; None if they come from a file."""

    latents: Latents
    target: Target | None


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the options `flags.input_options` ask for."""

    file: Path | None
    data: Path | None
    latents: Path | None
    clip: str | None
    options: InversionOptions

    @classmethod
    def of(cls, flags: Plain, **chosen: object) -> "Wanted":
        """Return it, from a command's arguments.

        Args:
            chosen: its options that choose frames, by their names; None where they are not given.

        Raises:
            UserError: not one source is named, or others of the options would do nothing with it.
        """
        names = {name: flags[name] for name in ("file", "data", "latents", "clip")}
        given_sources = [name for name in ("file", "data", "latents") if names[name] is not None]
        if len(given_sources) != 1:
            raise UserError("Give what to work on, by one of --input, --data and --latents.")
        searching = given(InversionOptions, flags)
        if names["latents"] is not None:
            choosing = {"clip": names["clip"], **chosen}
            idle = [f"--{name}" for name, value in choosing.items() if value is not None]
            usual = to_dict(InversionOptions())
            idle += [flag for key, flag in flags_of(InversionOptions).items() if searching[key] != usual[key]]
            if idle:
                raise UserError(f"--latents have been found already, so leave out {', '.join(idle)}.")
        options = override(InversionOptions(), searching)
        check(options)
        return cls(**names, options=options)

    def find(self, session: Session, frames: list[int] | None, *, with_motion: bool) -> Found:
        """Return the latents that are asked for: read, or found in frames of these numbers (None: all of the clip)."""
        if self.latents is not None:
            latents = load_latents(self.latents, session.G, session.model)
            if with_motion and len(latents) == 1:
                raise UserError(f"{self.latents} is of a picture and has no motion: use `animate`.")
            return Found(latents=latents, target=None)
        target = self._target(session, frames)
        if with_motion and len(target) == 1:
            raise UserError(f"{target.name} has one frame, so no motion: use `animate`, or give a video.")
        latents, notes = find_latents(session, target, self.options, with_motion=with_motion)
        cli.print_notes(notes)
        click.echo(session.outdir / LATENTS)
        return Found(latents=latents, target=target)

    def _target(self, session: Session, frames: list[int] | None) -> Target:
        path = self.data if self.file is None else aligned(session, self.file)
        assert path is not None
        dataset = ClipDataset(path, session.config.generator.img_resolution)
        if self.file is not None and self.clip is None and dataset.num_clips > 1:
            names = ", ".join(clip.name for clip in dataset.clips)
            raise UserError(f"{self.file} shows {dataset.num_clips} faces or scenes: choose one with --clip ({names}).")
        target = read_target(dataset, find_clip(dataset, self.clip), frames)
        doubt_cameras(session, target.cameras, f"{target.name} in {path}")
        return target


def aligned(session: Session, file: Path) -> Path:
    """Return the dataset of a picture or video of one's own, which is made unless it is there."""
    with optional_packages("Faces and cameras of pictures", "'pv3d[preprocess]'"):
        from preprocessing.single import make_dataset_of
    path = session.outdir / "input.zip"
    resolution = session.config.generator.img_resolution
    what = {"input": file_checksum(require_file(file, "picture or video")), "resolution": resolution}
    software = records.software(session.machine.device, "preprocessing", "detectors")
    if not records.is_made(path, lambda: what, software):
        with records.making(path, what, software):
            cli.print_notes(make_dataset_of(file, path, resolution))
    return path


def require_motion(session: Session) -> None:
    """Raise a UserError if the model has no motion, so that a video with another one would be the same."""
    if session.G.config.is_static:
        raise UserError("This model is static, so that there is no motion to change: give one with motion.")


# --- What the commands do ---------------------------------------------------------------------------------------------


def animate(
    *, frame: int | None, motion_seeds: list[int], frames: int, cameras: str, columns: tuple[str, ...], **flags: Any
) -> None:
    """Find the appearance of a picture, and let it move."""
    wanted = Wanted.of(flags, frame=frame)
    path = camera_kind(cameras)
    with opened(flags, path) as session:
        found = wanted.find(session, [frame or 0], with_motion=False)
        require_one_appearance(found.latents)
        products = []
        if found.target is not None:
            products.append(video(session, "picture", found.latents, target=found.target))
        products += moving(session, found.latents, "motion", motion_seeds, path, frames, columns)
        make(products)


def reconstruct(*, frames: list[int] | None, cameras: str, columns: tuple[str, ...], **flags: Any) -> None:
    """Find appearance and motion of a clip, and show it from its own and from new cameras."""
    wanted = Wanted.of(flags, frames=frames)
    path = camera_kind(cameras)
    with opened(flags, path) as session:
        found = wanted.find(session, frames, with_motion=True)
        latents = found.latents
        new = replace(latents, cameras=path_for(latents, session.bank, path, len(latents)))
        make(
            [
                video(session, "reconstruction", latents, target=found.target),
                video(session, "novel", new, columns=columns),
            ]
        )


def edit(
    *, frames: list[int] | None, motion_seeds: list[int], cameras: str, columns: tuple[str, ...], **flags: Any
) -> None:
    """Keep the appearance of a clip, and give it new motions."""
    wanted = Wanted.of(flags, frames=frames)
    path = camera_kind(cameras)
    with opened(flags, path) as session:
        require_motion(session)
        latents = wanted.find(session, frames, with_motion=True).latents
        require_one_appearance(latents)
        make(moving(session, latents, "edit", motion_seeds, path, len(latents), columns))


def retarget(*, appearance: str, motion: Path, cameras: str, columns: tuple[str, ...], **flags: Any) -> None:
    """Move one appearance by the motion of another clip."""
    kind = camera_kind(cameras)
    with opened(flags, kind) as session:
        require_motion(session)
        driving = load_latents(motion, session.G, session.model)
        if not driving.times.any():
            raise UserError(f"{motion} is of a picture and has no motion: give the latents of `reconstruct`.")
        path = path_for(driving, session.bank, kind, len(driving))
        moved = latents_of(appearance, session.G, session.model, path)
        require_one_appearance(moved)
        moved = replace(moved.with_motion_of(driving), cameras=path)
        make([video(session, "retarget", moved, columns=columns, save=True)])


def mix(
    *,
    appearance: str,
    style: str,
    layers: list[int],
    frames: int | None,
    cameras: str,
    columns: tuple[str, ...],
    **flags: Any,
) -> None:
    """Put rows of one appearance's latents into another's."""
    kind = camera_kind(cameras)
    with opened(flags, kind) as session:
        a, b = pair(session, appearance, style, kind, frames or PAPER_FRAMES)
        if b.tuned and not same_weights(a, b):
            click.echo(f"The weights that were tuned for {style} are left out, as a video has those of one.", err=True)
        a = lasting(a, frames, appearance)
        path = path_for(a, session.bank, kind, len(a))
        mixed = replace(a, ws=mix_rows(a.ws, b.ws, layers), cameras=path)
        make([video(session, "mix", mixed, columns=columns, save=True)])


def interpolate(
    *, start: str, end: str, what: str, frames: int, cameras: str, columns: tuple[str, ...], **flags: Any
) -> None:
    """Go from one appearance or motion to another."""
    kind = camera_kind(cameras)
    with opened(flags, kind) as session:
        require_motion_of_times(session.G)
        a, b = pair(session, start, end, kind, frames)
        path = path_for(a, session.bank, kind, frames)
        between = interpolated(a, b, path, what)
        make([video(session, "interpolation", between, columns=columns, save=True)])


def analyse(
    *,
    what: tuple[str, ...],
    seeds: list[int],
    style_seeds: list[int],
    layers: list[int] | None,
    t: float,
    motion_seeds: list[int],
    frames: int,
    pairs: int,
    data: Path | None,
    **flags: Any,
) -> None:
    """Look into a model."""
    options = AnalysisOptions(
        seeds=seeds,
        style_seeds=style_seeds,
        layers=layers,
        t=t,
        motion_seeds=motion_seeds,
        frames=frames,
        pairs=pairs,
        data=data,
    )
    with opened(flags) as session:
        make([analysis(session, name, options) for name in what])
