"""The options of every command are those of tests/data/options.txt: none is lost or renamed, no default changes unseen.

`python -m tests.test_options` writes the list anew.
"""

import difflib
from collections.abc import Iterator
from pathlib import Path

import click

from tests.helpers.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
FROZEN = ROOT / "tests" / "data" / "options.txt"
TYPES = {"integer range": "integer", "float range": "float", "boolean": "switch"}


def lines_of(name: str, command: click.Command) -> Iterator[str]:
    """Yield a line per option of a command, or of the commands of a group: command, names, type, default."""
    if isinstance(command, click.Group):
        for member, inner in command.commands.items():
            yield from lines_of(f"{name} {member}", inner)
        return
    for parameter in command.params:
        names = " ".join([*parameter.opts, *parameter.secondary_opts])
        columns = [name, names, type_of(parameter), default_of(parameter)]
        yield "  ".join(columns)


def type_of(parameter: click.Parameter) -> str:
    """Return a word for a type; of a choice its values."""
    if isinstance(parameter.type, click.Choice):
        return "|".join(parameter.type.choices)
    return TYPES.get(parameter.type.name, parameter.type.name)


def default_of(parameter: click.Parameter) -> str:
    """Return the default as users would write it; of what depends on the machine, what `--help` says."""
    if parameter.required:
        return "required"
    default = parameter.to_info_dict()["default"]
    if isinstance(parameter, click.Option):
        if parameter.is_flag:
            return "on" if default is True else "off"
        if default is None or callable(default):
            return f"({parameter.show_default or 'none'})"
    return str(default).replace(str(ROOT), "CHECKOUT") or '""'


def all_lines() -> list[str]:
    """Return the lines of all commands."""
    found: list[str] = []
    for name, command in COMMANDS.items():
        found.extend(lines_of(name, command))
    return found


def test_options_are_the_frozen_ones():
    text = FROZEN.read_text(encoding="utf-8")
    frozen = text.splitlines()
    difference = difflib.unified_diff(frozen, all_lines(), "options.txt", "commands", lineterm="", n=0)
    assert list(difference) == [], "if this is meant: python -m tests.test_options"


if __name__ == "__main__":
    FROZEN.write_text("\n".join(all_lines()) + "\n", encoding="utf-8")
