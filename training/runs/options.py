"""What a run is started with: kept in its folder, and compared with what a later start asks for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnnlib.errors import UserError
from dnnlib.files import read_json, write_json
from dnnlib.options import from_dict, to_dict
from training.config import Config

OPTIONS = "training_options.json"
FREE = frozenset(f"training.{name}" for name in ("kimg", "tick", "snap", "keep", "workers", "batch_gpu"))


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a run is started with, kept as `training_options.json`."""

    config: Config
    data: str  # path of the dataset
    fingerprint: str  # of its content
    init_from: str | None  # snapshot that the weights come from

    def save(self, folder: Path) -> None:
        """Write the options into a run's folder."""
        write_json(
            folder / OPTIONS,
            {
                "data": self.data,
                "fingerprint": self.fingerprint,
                "init_from": self.init_from,
                "config": to_dict(self.config),
            },
        )

    @classmethod
    def load(cls, folder: Path) -> "RunOptions":
        """Read the options of a run. UserError if they are missing, damaged or of another version."""
        values = read_json(folder / OPTIONS)
        try:
            return cls(
                config=from_dict(Config, values["config"]),
                data=values["data"],
                fingerprint=values["fingerprint"],
                init_from=values["init_from"],
            )
        except (KeyError, TypeError) as error:
            raise UserError(f"{folder / OPTIONS} is no list of options of this version: start a new run.") from error

    def differences(self, other: "RunOptions") -> dict[str, tuple[Any, Any]]:
        """Return {option: (value here, value in `other`)} of all that a run cannot change when it goes on.

        How long it trains and how often it reports (FREE) it can, and where its dataset lies.
        """
        here = self._binding()
        there = other._binding()
        return {key: (here[key], there[key]) for key in here if here[key] != there[key]}

    def _binding(self) -> dict[str, Any]:
        """Return all that a run cannot change when it goes on, with dotted keys."""
        binding = {key: value for key, value in _flat(to_dict(self.config)).items() if key not in FREE}
        return {**binding, "dataset": self.fingerprint, "init_from": self.init_from}


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
