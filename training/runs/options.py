"""What a run is started with: kept in its folder, and compared with what a later start asks for."""

import filecmp
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dnnlib.errors import UserError
from dnnlib.files import file_checksum, read_json, reading, write_json
from dnnlib.options import from_dict, override, to_dict
from torch_utils.machine_options import AUTO
from training.config import PRESETS, Config, preset, validate
from training.methods import METHODS

OPTIONS = "training_options.json"
FREE = frozenset(f"training.{name}" for name in ("kimg", "tick", "snap", "keep", "workers", "batch_gpu"))
NOT_KEPT = ("names_and_sizes", "is_reordered", "best_precision", "on_gpu")
PRECISION = "training.precision"
RUN_NAME = re.compile(r"\d{5}-([^-]+)-")  # of a run's folder; the preset's is in it
SHOWN_DIGITS = 8  # of a checksum in a message


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a run is started with, kept as `training_options.json`."""

    data: str  # path of the dataset
    fingerprint: str  # of its content
    image_data: str | None = None  # path of the dataset of images beside it
    image_fingerprint: str | None = None
    init_from: str | None  # path of the snapshot that the weights come from
    init_from_sha256: str | None = None  # of that file; unknown in runs of earlier versions, and if it was gone
    init_kimg: float | None = None  # where the schedules begin; None: where the snapshot says
    fresh_motion: bool = False  # whether those weights' motion began anew
    config: Config
    # Whether training.precision is what is computed in: earlier versions took fp32 where the machine is slow in it.
    exact_precision: bool = False
    best_precision: str = "fp32"  # what auto means on this machine; not kept
    on_gpu: bool = False  # not kept
    # Of the dataset, not kept: its fingerprint in runs of earlier versions; whether they read frames in another order.
    names_and_sizes: str = ""
    is_reordered: bool = False

    def identified(self) -> "RunOptions":
        """Return the options with the checksum of the file that the weights come from, if it is there."""
        if self.init_from is None or not os.path.isfile(self.init_from):
            return self
        path = Path(self.init_from)
        with reading(path, f"The snapshot {path} cannot be read", "give another one"):
            return replace(self, init_from_sha256=file_checksum(path))

    def going_on(self, saved: "RunOptions") -> "RunOptions":
        """Return those of a start that goes on with a run of the options `saved`; its origin need not be given."""
        kimg = saved.init_kimg if self.init_kimg is None else self.init_kimg
        fresh = self.fresh_motion or (self.init_from is None and saved.fresh_motion)
        going_on = replace(self, init_from=self.init_from or saved.init_from, init_kimg=kimg, fresh_motion=fresh)
        if self._moves_a_generator:
            going_on = replace(going_on, config=replace(self.config, generator=saved.config.generator))
        if self.init_from is None or (self.init_from_sha256 is None and self._same_origin(saved)):
            return replace(going_on, init_from_sha256=saved.init_from_sha256)
        return going_on

    @property
    def precision(self) -> str:
        """The precision that is asked for, or computed in."""
        return self.config.training.precision

    def settled(self, saved: "RunOptions | None" = None) -> "RunOptions":
        """Return the options with the precision that is computed in: that of the run that goes on, else of the machine.

        A run of an earlier version goes on as that one would compute it on this machine.
        """
        precision = self.best_precision if self.precision == AUTO else self.precision
        if saved is not None:
            was_exact = saved.exact_precision or self.on_gpu or saved.precision == self.best_precision
            precision = saved.precision if was_exact else "fp32"
        return replace(self, config=override(self.config, {PRECISION: precision}), exact_precision=True)

    def save(self, folder: Path) -> None:
        """Write the options into a run's folder."""
        values = to_dict(self)
        for name in NOT_KEPT:
            del values[name]
        write_json(folder / OPTIONS, values)

    @classmethod
    def load(cls, folder: Path) -> "RunOptions":
        """Read the options of a run. UserError if they are missing, damaged or of another version."""
        try:
            return from_dict(cls, dict(read_json(folder / OPTIONS)))
        except (TypeError, ValueError) as error:  # there is no table, or it lacks an entry
            raise UserError(f"{folder / OPTIONS} is no list of options of this version: start a new run.") from error

    def differences(self, other: "RunOptions") -> dict[str, tuple[Any, Any]]:
        """Return {option: (value here, value in `other`)} of all that a run cannot change when it goes on.

        How long it trains and how often it reports (FREE) it can, and where its dataset and its first weights lie.
        """
        here = self._binding()
        there = other._binding()
        found = {key: (here[key], there[key]) for key in here if key in there and here[key] != there[key]}
        if AUTO in (self.precision, other.precision):
            found.pop(PRECISION, None)
        if self._has_old_fingerprint_of(other) or other._has_old_fingerprint_of(self):
            found.pop("dataset", None)
        if not self._same_origin(other):
            found["init_from"] = (self._origin(), other._origin())
        return found

    def _same_origin(self, other: "RunOptions") -> bool:
        """Whether the weights come from one file, wherever it lies: by its content, unless a side does not know it.

        A generator that is moved lies in the run, and need not be named.
        """
        if self._moves_a_generator and other._moves_a_generator and None in (self.init_from, other.init_from):
            return True
        if self.init_from is None or other.init_from is None:
            return self.init_from == other.init_from
        if self.init_from_sha256 and other.init_from_sha256:
            return self.init_from_sha256 == other.init_from_sha256
        paths = (self.init_from, other.init_from)
        if len(set(map(os.path.abspath, paths))) == 1:
            return True
        return all(map(os.path.isfile, paths)) and filecmp.cmp(*paths, shallow=False)

    def _origin(self) -> str | None:
        """Return the file that the weights come from, as a message calls it."""
        if self.init_from is None or self.init_from_sha256 is None:
            return self.init_from
        return f"{self.init_from} (sha256 {self.init_from_sha256[:SHOWN_DIGITS]}...)"

    @property
    def _moves_a_generator(self) -> bool:
        """Whether the generator is that of a file, as it is."""
        return METHODS[self.config.method].moves_a_generator

    def _has_old_fingerprint_of(self, other: "RunOptions") -> bool:
        """Return whether an earlier version wrote these options, for a dataset of the other's names and sizes."""
        return self.fingerprint == other.names_and_sizes

    def _binding(self) -> dict[str, Any]:
        """Return all that a run cannot change when it goes on, with dotted keys."""
        binding = {key: value for key, value in _flat(to_dict(self.config)).items() if key not in FREE}
        if self._moves_a_generator:  # it is that of a file, which is compared
            binding = {key: value for key, value in binding.items() if not key.startswith("generator.")}
        start = {"init_kimg": self.init_kimg, "fresh_motion": self.fresh_motion}
        return {**binding, "dataset": self.fingerprint, "image_dataset": self.image_fingerprint, **start}


def configuration(cfg: str, method: str | None = None) -> tuple[str, Config]:
    """Return a preset's name and values; of a run's `training_options.json`, those of the run.

    Args:
        method: of a preset, None: PV3D; of a run, None: the run's.

    Raises:
        UserError: it is neither, the file is damaged, or that run is of another method.
    """
    path = Path(cfg)
    if cfg in PRESETS or path.suffix != ".json":
        return cfg, preset(cfg, method or Config.method)
    if path.name != OPTIONS:
        raise UserError(f"--cfg={cfg} is no preset, and no run's {OPTIONS}: choose one of {', '.join(PRESETS)}.")
    named = RUN_NAME.match(path.absolute().parent.name)
    saved = RunOptions.load(path.parent)
    config = saved.config
    if method not in (None, config.method):
        raise UserError(f"--cfg={cfg} is of --method={config.method}: leave --method out, or begin with a preset.")
    if not saved.exact_precision:  # an earlier version may have computed in another than it said
        config = override(config, {PRECISION: AUTO})
    return named[1] if named else "run", validate(config)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one with dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            flat |= _flat(value, f"{key}.")
        else:
            flat[key] = value
    return flat
