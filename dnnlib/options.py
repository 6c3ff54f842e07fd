"""Options declared once: a field of a dataclass says default, heading, flag, help and range, all else follows from it.

A configuration is a frozen dataclass whose fields are options, or configurations again:

    batch: int = option(16, "Length", "--batch", "Clips per iteration.", low=1, high=1024)
    hidden: int = option(64, low=1)     # no flag: presets and files set it
    mirror: bool = True                 # nothing to declare

The key of an option is the way to it, `training.batch`. From the declarations come the checks (`check`), the click
options of a command (`add_flags`), and plain dictionaries for files (`to_dict`, `from_dict`).
"""

import dataclasses
import functools
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.files import shown

MAX_WHOLE = 2**63 - 1  # what other software takes for a whole number
METADATA = "option"  # where a field keeps its declaration

Value = TypeVar("Value")
Configuration = TypeVar("Configuration")


# --- Declaring -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of a configuration: its key and type, what it may be, and how a command line offers it."""

    key: str = ""  # known once the option belongs to a configuration
    kind: type = object  # bool, int, float or str; of a tuple, that of its items
    group: str | None = None  # heading in `--help`
    flag: str | None = None
    help: str | None = None
    low: float | None = None  # least value
    high: float | None = None  # greatest value
    above: float | None = None  # values are greater than this
    below: float | None = None  # values are less than this
    power_of_two: bool = False
    choices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What users know it by."""
        return self.flag or self.key

    @property
    def parameter(self) -> str:
        """The argument that click hands to the command."""
        return self.key.replace(".", "__")

    def conditions(self, value: Any) -> dict[str, bool]:
        """Return everything that a value must be, in words, and whether this one is."""
        found = {}
        if self.power_of_two:
            found["a power of two"] = value > 0 and value.bit_count() == 1
        found |= cli.number_conditions(value, low=self.low, above=self.above, high=self.high, below=self.below)
        if self.choices:
            found[f"one of {', '.join(self.choices)}"] = value in self.choices
        return found

    def check(self, value: Any) -> None:
        """Raise a UserError that names option, value and what is possible, unless the value is."""
        cli.require(self.name, value, self.conditions(value))


def option(
    default: Value,
    group: str | None = None,
    flag: str | None = None,
    help: str | None = None,
    **limits: Any,
) -> Value:
    """Declare a field of a configuration; `limits` are low, high, above, below, power_of_two or choices of `Option`."""
    declared = Option(group=group, flag=flag, help=help, **limits)
    return dataclasses.field(default=default, metadata={METADATA: declared})


def options_of(kind: type, prefix: str = "") -> tuple[Option, ...]:
    """Return all options of a configuration class, in order."""
    found: list[Option] = []
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        key = prefix + field.name
        hint = hints[field.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            found.extend(options_of(hint, f"{key}."))
            continue
        item = _without_none(hint)
        if typing.get_origin(item) is tuple:
            item = typing.get_args(item)[0]
        declared = field.metadata.get(METADATA, Option())
        found.append(dataclasses.replace(declared, key=key, kind=item))
    return tuple(found)


def flags_of(kind: type) -> dict[str, str]:
    """Return {key: flag} of all options that have a flag."""
    return {option.key: option.flag for option in options_of(kind) if option.flag}


def _without_none(hint: Any) -> Any:
    """Return T of a hint `T | None`, any other hint as it is."""
    if typing.get_origin(hint) is tuple:
        return hint
    for member in typing.get_args(hint):
        if member is not type(None):
            return member
    return hint


# --- Values ----------------------------------------------------------------------------------------------------------


def value_of(config: Any, key: str) -> Any:
    """Return the value of an option."""
    return functools.reduce(getattr, key.split("."), config)


def check(config: Any) -> None:
    """Refuse values that are not possible by their declarations, and floats that are not finite, with a UserError."""
    for option in options_of(type(config)):
        value = value_of(config, option.key)
        items = value if isinstance(value, tuple) else (value,)
        for item in items:
            if item is not None:
                option.check(item)


def override(config: Configuration, changes: dict[str, Any]) -> Configuration:
    """Return a copy of `config` with options replaced: {"loss.gamma": 1.0}. UserError for unknown keys."""
    for key, value in changes.items():
        config = _replaced(config, key.split("."), value, key)
    return config


def _replaced(node: Any, path: list[str], value: Any, key: str) -> Any:
    name, *rest = path
    names = [field.name for field in dataclasses.fields(node)]
    if name not in names:
        raise UserError(f"{key} is no option of this version; it was probably written by another one.")
    if rest:
        value = _replaced(getattr(node, name), rest, value, key)
    return dataclasses.replace(node, **{name: value})


# --- Command lines ---------------------------------------------------------------------------------------------------


def add_flags(defaults: Any, first: dict[str, Callable] | None = None) -> Callable[[Callable], Callable]:
    """Return a decorator that gives a command one click option for each option of a configuration that has a flag.

    The command gets them as arguments named by `Option.parameter`; `given` makes them changes for `override`. Ranges
    are left to `check`, so that a flag and a file are refused with the same sentence.

    Args:
        defaults: a configuration with the values that `--help` shows; a context's `default_map` may replace them.
        first: click's callbacks of options, by key, that are looked at before those whose defaults depend on them.
    """
    callbacks = first or {}

    def decorate(function: Callable) -> Callable:
        for option in reversed(options_of(type(defaults))):
            if option.flag is not None:
                callback = callbacks.get(option.key)
                function = _click_option(option, value_of(defaults, option.key), callback)(function)
        return function

    return decorate


def _click_option(option: Option, default: Any, callback: Callable | None) -> Callable[[Callable], Callable]:
    assert option.flag is not None
    names = option.flag
    if option.kind is bool:
        off = option.flag.replace("--", "--no-", 1)
        names = f"{option.flag}/{off}"
    kind: Any = option.kind
    if option.choices:
        kind = click.Choice(option.choices)
    return cli.option(
        names,
        option.parameter,
        group=option.group,
        type=kind,
        default=default,
        help=option.help,
        is_eager=callback is not None,
        callback=callback,
    )


def parameters_of(config: Any) -> dict[str, Any]:
    """Return {argument of the command: value} of all options that have a flag."""
    options = options_of(type(config))
    return {option.parameter: value_of(config, option.key) for option in options if option.flag}


def given(kind: type, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return {key: value} of those of a command's arguments that are options of a configuration class and not None."""
    found = {}
    for option in options_of(kind):
        value = parameters.get(option.parameter)
        if value is not None:
            found[option.key] = value
    return found


def flags_given(kind: type) -> list[str]:
    """Return those flags of a configuration class that the running command was given."""
    context = click.get_current_context()
    found = []
    for option in options_of(kind):
        if option.flag and context.get_parameter_source(option.parameter) is ParameterSource.COMMANDLINE:
            found.append(option.flag)
    return found


def lines_of(config: Any) -> Iterator[str]:
    """Yield a line for each option, indented under that of its section."""
    for section, values in to_dict(config).items():
        if not isinstance(values, dict):
            yield f"{section}: {values}"
            continue
        yield f"{section}:"
        for key, value in values.items():
            yield f"  {key}: {value}"


# --- Files -----------------------------------------------------------------------------------------------------------


def to_dict(config: Any) -> dict[str, Any]:
    """Return a configuration as plain nested dictionaries (tuples become lists), fit for JSON."""
    return _listed(dataclasses.asdict(config))


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _listed(item) for name, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def from_dict(kind: type[Configuration], values: Any) -> Configuration:
    """Return the configuration that `to_dict` made plain. UserError for unknown keys or values of the wrong type."""
    if not isinstance(values, dict):
        raise UserError(f"The saved {kind.__name__} is damaged: expected a dictionary, found {type(values).__name__}.")
    hints = typing.get_type_hints(kind)
    unknown = sorted(str(name) for name in values if name not in hints)
    if unknown:
        names = shown(", ".join(unknown))
        raise UserError(f"The saved {kind.__name__} has options this version does not know: {names}.")
    typed = {name: _typed(value, hints[name], f"{kind.__name__}.{name}") for name, value in values.items()}
    return kind(**typed)


def _typed(value: Any, hint: Any, name: str) -> Any:
    """Return a value from a file as the hinted type, else UserError."""
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value)
    if value is None and type(None) in typing.get_args(hint):
        return None
    hint = _without_none(hint)
    if typing.get_origin(hint) is tuple:
        return _typed_items(value, typing.get_args(hint), name)
    if type(value) is int and not -MAX_WHOLE <= value <= MAX_WHOLE:
        raise UserError(f"{name} is a number of {value.bit_length()} bits, far out of range.")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise UserError(f"{name} is {_described(value)}; expected {hint.__name__}.")
    return value


def _typed_items(value: Any, hints: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    expected = len(hints)
    if not isinstance(value, (list, tuple)) or len(value) != expected:
        raise UserError(f"{name} is {_described(value)}; expected {expected} numbers.")
    return tuple(_typed(item, hint, name) for item, hint in zip(value, hints, strict=True))


def _described(value: Any) -> str:
    """Return a short value as it stands in a message, the type of a long one."""
    if isinstance(value, (dict, list, tuple)):
        return f"a {type(value).__name__}"
    return shown(repr(value))
