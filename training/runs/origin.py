"""The weights that a run starts from, and where its schedules begin then."""

import contextlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from dnnlib.errors import UserError
from dnnlib.files import require_file, with_checksum
from training.checkpoints.opener import open_snapshot
from training.checkpoints.snapshots import StoredSnapshot
from training.config import Config, GeneratorConfig, validate
from training.loss import schedule
from training.methods import METHODS, Method
from training.runs.options import RunOptions
from training.runs.progress import Progress
from training.runs.resume import candidates

SNAPSHOT_NAME = re.compile(r"network-snapshot-(\d{1,9})\.")  # EG3D's, with its kimg


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A snapshot that a run starts from, and what is taken otherwise than it says; None: a run starts at random.

    Args:
        init_from: the file of --init-from.
        generator: that of --generator: a static one, which the run moves and leaves as it is.
        kimg: --init-kimg; None: what the file says.
        fresh_motion: --fresh-motion.
    """

    init_from: Path | None
    generator: Path | None = None
    kimg: float | None
    fresh_motion: bool

    @property
    def path(self) -> Path | None:
        """The file."""
        return self.generator or self.init_from

    @property
    def flag(self) -> dict[str, str]:
        """How a message calls where the weights come from, by the name of the option in a run's folder."""
        return {"init_from": "--generator"} if self.generator else {}

    def check(self, method: Method) -> None:
        """Raise a UserError if something is said of a snapshot, and none is given, or not one of this kind."""
        if self.generator and not method.moves_a_generator:
            raise UserError(f"--generator does nothing with --method={method.name}: leave it out, or give --init-from.")
        if self.generator and self.init_from:
            raise UserError("--generator and --init-from are two beginnings of a run: leave one of them out.")
        said = {"--init-kimg": self.kimg is not None, "--fresh-motion": self.fresh_motion}
        for flag, is_given in said.items():
            if is_given and self.init_from is None:
                raise UserError(f"{flag} says how to take the weights of --init-from: give that, too, or neither.")

    def moving(self, config: Config, outdir: Path, alike: str, resume: str) -> Config:
        """Return a configuration with the generator that it is to move; of another method it stays.

        It is that of the file, or if there is none, of the run that goes on, which keeps it. Arguments as of
        `resume.open_run`.

        Raises:
            UserError: there is neither, the file is no snapshot, or one that moves already.
        """
        if not METHODS[config.method].moves_a_generator:
            return config
        if self.path is not None and self.path.is_file():
            return validate(replace(config, generator=self._generator(config)))
        for folder in candidates(outdir, alike, resume):
            with contextlib.suppress(UserError):  # `open_run` says what is wrong with it
                saved = RunOptions.load(folder)
                if saved.config.method == config.method:
                    return validate(replace(config, generator=saved.config.generator))
        if self.path is None:
            raise UserError(
                f"--method={config.method} moves a trained generator: give a snapshot of --method=eg3d as --generator."
            )
        require_file(self.path, "snapshot")
        return config

    def _generator(self, config: Config) -> GeneratorConfig:
        """Return the configuration of the generator that the file brings."""
        assert self.path is not None
        snapshot = open_snapshot(self.path)
        theirs = snapshot.config
        if self.generator and not snapshot.is_static:
            raise UserError(
                f"{self.path} is of --method={theirs.method}, which moves already: give a snapshot of --method=eg3d as "
                "--generator."
            )
        if not self.generator and theirs.method != config.method:
            raise UserError(f"{self.path} is of --method={theirs.method}: give it as --generator, not as --init-from.")
        return moved_generator(theirs.generator, config) if self.generator else theirs.generator

    def open(self) -> tuple[StoredSnapshot, str]:
        """Return the snapshot and its file's checksum."""
        assert self.path is not None
        source, checksum = with_checksum(self.path, open_snapshot)
        if self.kimg is not None:
            progress = {"kimg": self.kimg, "stream_kimg": source.stream_kimg}
            source = replace(source, progress=progress, counter="--init-kimg")
        return source, checksum


def moved_generator(static: GeneratorConfig, config: Config) -> GeneratorConfig:
    """Return the configuration of a static generator whose latents a chain moves.

    The chain moves along the same share of the components of w as that of `config`, and is trained on as many frames.
    """
    chain = config.generator
    return replace(
        static,
        motion=chain.motion,
        camera_mode=chain.camera_mode,
        motion_code=chain.motion_code,
        motion_hidden=max(static.w_dim * chain.motion_hidden // chain.w_dim, 1),
        z_motion_dim=static.w_dim * (config.training.frames - 1),
    )


def schedules_line(source: StoredSnapshot, config: Config, progress: Progress) -> str:
    """Return where the schedules of a run begin that starts from weights, and why there."""
    now = schedule(config, progress.seen)
    named = SNAPSHOT_NAME.match(source.path.name)
    hint = f", but its name does: --init-kimg={int(named[1])} goes on there" if named else "; --init-kimg sets it"
    counter = source.counter or f"{source.path} does not say how far it is{hint}"
    return (
        f"Schedules begin at {progress.seen / 1000:.9g} kimg ({counter}): "
        f"blur {now.blur_sigma:.2f} pixels, swap probability {now.swap_probability:.2f}."
    )
