"""What a method is made of."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from dnnlib.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method as settings of what exists. Keys of options are `section.field`, as in presets.

    Args:
        name: value of `--method`.
        about: what it is, in a few words for `--help`.
        fixed: options that make it this method; a configuration with others is refused.
        defaults: options that it has in place of a preset's; flags may change them.
        of_presets: further ones, by preset.
        moves_a_generator: whether it needs a trained one (`--generator`), which stays as it is.
        refused: flags that would do nothing, or make another method of it, and why.
    """

    name: str
    about: str
    fixed: dict[str, Any]
    defaults: dict[str, Any] = field(default_factory=dict)
    of_presets: dict[str, dict[str, Any]] = field(default_factory=dict)
    moves_a_generator: bool = False
    refused: dict[str, str] = field(default_factory=dict)

    def over(self, preset: str | None = None) -> dict[str, Any]:
        """Return what it changes of a preset; None: of the defaults."""
        own = self.of_presets.get(preset, {}) if preset else {}
        return {**self.defaults, **own, **self.fixed, "method": self.name}

    def help(self) -> str:
        """Return its line of `--help`."""
        names = ", ".join(self.refused)
        return f"{self.name}: {self.about}" + (f" (without {names})" if names else "")

    def refuse(self, flags: Collection[str]) -> None:
        """Raise a UserError if one of the flags that a user gives is refused."""
        for flag, why in self.refused.items():
            if flag in flags:
                raise UserError(f"{flag} is not possible with --method={self.name}, for {why}: leave it out.")
