"""dnnlib.options: one declaration gives flag, check, help and what files hold."""

from dataclasses import dataclass
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.options import (
    add_flags,
    check,
    flags_of,
    from_dict,
    given,
    option,
    options_of,
    override,
    parameters_of,
    to_dict,
)

COLOURS = ("red", "green")


@dataclass(frozen=True, kw_only=True)
class Brush:
    """Options of one part."""

    width: int = option(4, "Look", "--width", "Width in pixels.", low=1, high=64, power_of_two=True)
    colour: str = option("red", "Look", "--colour", "What it paints.", choices=COLOURS)
    sizes: tuple[int, int] | None = option(None, low=1)


@dataclass(frozen=True, kw_only=True)
class Painting:
    """A configuration."""

    brush: Brush = Brush()
    hours: float = option(1.5, "Time", "--hours", "How long.", above=0, below=24)
    signed: bool = option(True, "Look", "--signed", "Sign it.")
    layers: int = 2


@cli.command()
@add_flags(Painting())
def paint(**flags: Any) -> None:
    """Paint."""
    painting = override(Painting(), given(Painting, flags))
    check(painting)
    click.echo(painting)


def run(*arguments: str, defaults: Painting | None = None) -> Result:
    """Run the command; with `defaults` as a preset would."""
    attributes = {} if defaults is None else {"default_map": parameters_of(defaults)}
    return CliRunner().invoke(paint, arguments, **attributes)


def test_options_have_keys_types_and_flags():
    assert [(found.key, found.kind) for found in options_of(Painting)] == [
        ("brush.width", int),
        ("brush.colour", str),
        ("brush.sizes", int),
        ("hours", float),
        ("signed", bool),
        ("layers", int),
    ]
    assert flags_of(Painting) == {
        "brush.width": "--width",
        "brush.colour": "--colour",
        "hours": "--hours",
        "signed": "--signed",
    }


@pytest.mark.parametrize(
    "arguments, changes",
    [
        ([], {}),
        (["--width=8", "--hours=2"], {"brush.width": 8, "hours": 2.0}),
        (["--no-signed", "--colour=green"], {"signed": False, "brush.colour": "green"}),
    ],
)
def test_flags_set_options(arguments, changes):
    assert run(*arguments).output == f"{override(Painting(), changes)}\n"


@pytest.mark.parametrize(
    "key, value, flag, sentence",
    [
        ("brush.width", 3, "--width=3", "--width=3 is not possible: it must be a power of two and at least 1 and"),
        ("brush.width", 128, "--width=128", "at most 64."),
        ("brush.width", -8, "--width=-8", "--width=-8 is not possible"),
        (
            "hours",
            0.0,
            "--hours=0",
            "--hours=0.0 is not possible: it must be a finite number and above 0 and below 24.",
        ),
        ("hours", 24.0, "--hours=24", "--hours=24.0 is not possible"),
    ],
)
def test_a_flag_and_a_file_are_refused_with_one_sentence(key, value, flag, sentence):
    with pytest.raises(UserError) as caught:
        check(override(Painting(), {key: value}))
    assert sentence in str(caught.value)
    result = run(flag)
    assert result.exit_code == 2 and result.stderr == f"Error: {caught.value}\n"


def test_an_option_without_a_flag_is_named_by_its_key():
    with pytest.raises(UserError, match="brush.sizes=0 is not possible: it must be at least 1"):
        check(override(Painting(), {"brush.sizes": (2, 0)}))


def test_help_shows_defaults_under_headings():
    lines = run("--help").stdout.splitlines()
    assert "Look:" in lines and "Time:" in lines
    shown = "\n".join(lines)
    assert "--colour [red|green]" in shown and "[default: red]" in shown
    assert "--[no-]signed" in shown and "[default: on]" in shown


def test_a_preset_replaces_the_defaults_also_in_the_help():
    preset = override(Painting(), {"brush.width": 16, "signed": False})
    assert run(defaults=preset).output == f"{preset}\n"
    assert run("--width=2", defaults=preset).output == f"{override(preset, {'brush.width': 2})}\n"
    text = run("--help", defaults=preset).stdout
    assert "[default: 16]" in text and "[default: off]" in text


def test_files_keep_every_option():
    painting = override(Painting(), {"brush.sizes": (2, 3), "layers": 5})
    plain = to_dict(painting)
    assert plain["brush"]["sizes"] == [2, 3]
    assert from_dict(Painting, plain) == painting
