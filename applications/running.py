"""An inversion from start to end: its stages, progress, the current picture, and going on after an interruption."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from applications.inversion import Search, Work
from applications.latents import Latents
from applications.losses import Comparison
from applications.options import InversionOptions
from applications.targets import Target
from applications.tuning import Tuning
from dnnlib.errors import UserError
from dnnlib.options import to_dict
from dnnlib.progress import Counter, print_line
from torch_utils import checkpoint
from torch_utils.pickles.reader import is_finite
from training.networks.generator import Generator
from training.sampling import pictures
from training.sampling.clips import generate

STATE = "inversion-state.pt"
PICTURE = "progress.png"
SAVE_SECONDS = 30.0  # between two states, and two pictures
MOST_FRAMES = 4  # in the picture

Plain = dict[str, Any]


class Stage(Protocol):
    """A part of an inversion that is done step by step."""

    steps_done: int

    def step(self) -> float:
        """Do a step; return the loss."""

    def state(self) -> Plain:
        """Return everything that a later process needs to go on."""

    def restore(self, state: Plain) -> None:
        """Go on from what `state` returned."""


@dataclass(frozen=True, kw_only=True)
class Inverted:
    """The result of an inversion.

    Args:
        losses: first and last loss of the search.
        seconds: that the search and the tuning took, over all processes.
    """

    latents: Latents
    losses: tuple[float, float]
    seconds: float


@dataclass(kw_only=True)
class Inversion:
    """An inversion in a folder, where its state lies until it is done.

    Args:
        model: digest of the generator.
        network: checksum of its file, which decides how it renders and what discriminator compares as well.
        comparison: what frames are compared by.
        with_motion: whether each frame has a motion code.
        after_step: is called after each step; may raise.
    """

    G: Generator
    model: str
    target: Target
    comparison: Comparison
    options: InversionOptions
    with_motion: bool
    work: Work
    folder: Path
    network: str = ""
    silent: bool = False
    after_step: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self._losses: list[float] = []
        self._seconds = 0.0
        self._saved = time.monotonic()

    def run(self) -> Inverted:
        """Search, tune if asked for, and return the latents; the state stays until `forget`.

        Raises:
            UserError: the folder holds the state of another inversion, or this one diverged.
        """
        state = self._stored()
        search = Search(
            self.G,
            self.target,
            self.comparison,
            self.options,
            with_motion=self.with_motion,
            work=self.work,
        )
        self._do(search, "search", self.options.steps, state)
        latents = search.latents(self.model)
        if self.options.tune_steps:
            tuning = Tuning(self.G, latents, self.comparison, self.options, self.work)
            self._do(tuning, "tuning", self.options.tune_steps, state, before=search.state())
            latents = tuning.latents()
        parts = (latents.ws, latents.z_motion, latents.cameras, *latents.tuned.values())
        if not all(map(is_finite, parts)):
            raise self._diverged("last step")
        return Inverted(latents=latents, losses=(self._losses[0], self._losses[1]), seconds=self._seconds)

    def forget(self) -> None:
        """Remove what an unfinished inversion needs: once its latents are written."""
        for name in (STATE, PICTURE):
            (self.folder / name).unlink(missing_ok=True)

    # --- Stages ---

    def _do(self, stage: Stage, name: str, steps: int, state: Plain, before: Plain | None = None) -> None:
        """Do all steps of a stage, from those on that the state holds.

        Args:
            before: the state of the stage before, to be kept with this one's.
        """
        if name in state:
            stage.restore(state[name])
            self._losses = list(state["losses"])
            self._seconds = state["seconds"]
        done = {} if before is None else {"search": before}
        with Counter(steps, title=name, unit="step", silent=self.silent) as counter:
            counter.update(stage.steps_done)
            started = time.monotonic()
            while stage.steps_done < steps:
                loss = stage.step()
                if not math.isfinite(loss):
                    raise self._diverged(f"step {stage.steps_done} of the {name}")
                if isinstance(stage, Search):
                    self._losses = [self._losses[0] if self._losses else loss, loss]
                now = time.monotonic()
                self._seconds += now - started
                started = now
                counter.update()
                if now - self._saved >= SAVE_SECONDS and stage.steps_done < steps:
                    self.save({**done, name: stage.state()})
                    self._draw(stage)
                if self.after_step is not None:
                    self.after_step()

    def _diverged(self, where: str) -> UserError:
        """Return the error of an inversion whose numbers are none any more, and remove its state."""
        self.forget()
        return UserError(
            f"The inversion diverged at the {where}: lower the learning rates (--lr, --motion-lr, --camera-lr, "
            "--tune-lr) or the losses' weights."
        )

    # --- Files ---

    def save(self, stages: Plain) -> None:
        """Write the states of stages."""
        payload = {"of": self._key(), "losses": self._losses, "seconds": self._seconds, **stages}
        checkpoint.save(self.folder / STATE, payload, "inversion")
        self._saved = time.monotonic()

    def _key(self) -> Plain:
        """Return what an inversion follows from."""
        return {
            "options": to_dict(self.options),
            "target": self.target.digest(),
            "model": self.model,
            "network": self.network,
            "with_motion": self.with_motion,
        }

    def _stored(self) -> Plain:
        """Return the state of an interrupted start; empty if there is none. UserError if it is of another one."""
        path = self.folder / STATE
        if not path.exists():
            return {}
        state = checkpoint.load(path, "inversion")
        mine = self._key()
        theirs = state.get("of")
        theirs = theirs if isinstance(theirs, dict) else {}
        differing = [name for name in mine if theirs.get(name) != mine[name]]
        if differing:
            raise UserError(
                f"{path} is of an inversion with another {' and '.join(differing)}: choose another --outdir, or remove "
                "it."
            )
        if not self.silent:
            print_line(f"Going on from {path}.")
        return state

    @torch.no_grad()
    def _draw(self, stage: Stage) -> None:
        """Write the current picture: inputs above, results below."""
        if isinstance(stage, Search):
            latents = stage.latents(self.model)
            G = self.G
        else:
            assert isinstance(stage, Tuning)
            latents = stage.pivot
            G = stage.G
        count = min(len(self.target), MOST_FRAMES)
        results = [frames["image"] for frames in generate(G, latents.first(count).spec())]
        both = torch.cat([self.target.images[:count], torch.cat(results).cpu()])
        pictures.save_png(self.folder / PICTURE, pictures.image_grid(pictures.to_uint8(both), count))
