"""The options of every command are those of tests/data/options.txt: none is lost or renamed, no default changes unseen.

`python -m tests.test_options` writes the list anew.
"""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

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


def float_flags() -> Iterator[tuple[click.Command, str]]:
    """Yield every option of every command that takes a number, or those of a range."""
    for command in COMMANDS.values():
        members = command.commands.values() if isinstance(command, click.Group) else [command]
        for member in members:
            for parameter in member.params:
                if parameter.type.name in ("float", "float range"):
                    yield member, parameter.opts[0]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
def test_numbers_that_are_not_finite_are_refused(value):
    found = list(float_flags())
    assert {"--fps", "--trunc", "--time-limit", "--kimg", "--seconds"} <= {flag for _, flag in found}
    for command, flag in found:
        before = [f"{other.opts[0]}=demo" for other in command.params if other.required and other.is_eager]
        result = CliRunner().invoke(command, [*before, f"{flag}={value}"])
        assert result.exit_code == 2 and isinstance(result.exception, SystemExit), flag
        last = result.stderr.splitlines()[-1]
        assert last.startswith(f"Error: {flag}={float(value)} is not possible: it must be a finite number")
        assert "Traceback" not in result.output


def test_what_is_no_number_is_said_in_words_by_every_option():
    count = 0
    for command in COMMANDS.values():
        members = command.commands.values() if isinstance(command, click.Group) else [command]
        for member in members:
            before = [f"{other.opts[0]}=demo" for other in member.params if other.required and other.is_eager]
            for parameter in member.params:
                if parameter.type.name.startswith(("integer", "float")):
                    result = CliRunner().invoke(member, [*before, f"{parameter.opts[0]}=abc"])
                    assert re.search("'abc' is no (whole )?number.$", result.stderr), result.stderr
                    count += 1
    assert count > 60


if __name__ == "__main__":
    FROZEN.write_text("\n".join(all_lines()) + "\n", encoding="utf-8")
