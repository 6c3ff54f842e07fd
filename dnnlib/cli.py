"""Command lines: click commands that show a user's mistake as one line, and the parameter types they share.

Exit status: 0 done, 2 the user's mistake (bad usage, `UserError`, a full disk), 130 stopped (Ctrl-C; in training also
SIGTERM and --time-limit), 1 a fault of ours (with a traceback) or the end of another process of the run.
"""

import contextlib
import difflib
import math
import operator
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from dnnlib.errors import UserError
from dnnlib.files import FULL_ERRNOS, printable, shown
from dnnlib.printing import print_anything

USAGE_STATUS = 2
INTERRUPTED_STATUS = 130  # 128 + SIGINT, as shells report it
MAX_LIST = 1_000_000  # numbers in one IntList; more is a slip of the finger
PATH = click.Path(path_type=Path)  # type of options that name a file or a folder
SOURCE = click.Path(path_type=str)  # of those that take other names, too: ./NAME is a path, and stays so
NO_BREAK = "\N{NO-BREAK SPACE}"
CONTEXT_SETTINGS = {
    "help_option_names": ["-h", "--help"],
    "show_default": True,
    "max_content_width": 120,
}

# Limits of a number, how messages call them, and what holds between a value and the limit.
LIMITS = {
    "low": ("at least", operator.ge),
    "above": ("above", operator.gt),
    "high": ("at most", operator.le),
    "below": ("below", operator.lt),
}

Records = list[tuple[str, str]]  # names and help text of options


def print_notes(notes: Iterable[str]) -> None:
    """Print sentences that the user should know, on standard error."""
    for note in notes:
        click.echo(note, err=True)


# --- Failures --------------------------------------------------------------------------------------------------------


class _Failure(click.ClickException):
    """A sentence that click prints as `Error: ...`; what a terminal might take for commands is spelled out."""

    exit_code = USAGE_STATUS

    def __init__(self, message: str):
        super().__init__("\n".join(printable(line) for line in message.split("\n")))


@contextlib.contextmanager
def _failures_as_sentences() -> Iterator[None]:
    """Turn errors that a user can solve, and Ctrl-C, into click's own ways to end."""
    try:
        yield
    except UserError as error:
        raise _Failure(str(error)) from error
    except OSError as error:
        if error.errno in FULL_ERRNOS:
            where = f" to write {error.filename}" if error.filename else ""
            raise _Failure(f"No space left{where}: free some space or choose another folder.") from error
        if error.filename is None:
            raise
        raise _Failure(f"{error.filename}: {error.strerror}; choose another path, or repair this one.") from error
    except KeyboardInterrupt:
        click.echo("\nInterrupted.", err=True)
        raise click.exceptions.Exit(INTERRUPTED_STATUS) from None


@contextlib.contextmanager
def _said_once() -> Iterator[None]:
    """Let one process of each machine say what is wrong with a command line, which all of a `torchrun` share."""
    try:
        yield
    except click.ClickException as failure:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            raise
        raise click.exceptions.Exit(failure.exit_code) from failure


def ended_by(error: BaseException) -> int:
    """Say why this process ends, as a command does, and return its exit status."""
    try:
        with _failures_as_sentences():
            raise error
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as failure:
        failure.show()
        return failure.exit_code
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as fault:
        sys.excepthook(type(fault), fault, fault.__traceback__)
        return 1


# --- Commands --------------------------------------------------------------------------------------------------------


class GroupedOption(click.Option):
    """An option that `--help` lists under the heading `group`."""

    def __init__(self, *names: Any, group: str | None = None, **attrs: Any):
        super().__init__(*names, **attrs)
        self.group = group
        kind = self.type
        if self.metavar is None and isinstance(kind, (click.IntRange, click.FloatRange)):
            self.metavar = kind.name.removesuffix(" range").upper()

    def type_cast_value(self, context: click.Context, value: Any) -> Any:
        """Return the value as the option's type; what is no number of its range is refused in words."""
        if isinstance(value, str) and isinstance(self.type, click.types.IntParamType | click.types.FloatParamType):
            whole = isinstance(self.type, click.types.IntParamType)
            try:
                number = int(value) if whole else float(value)
            except ValueError:
                problem = f"{shown(repr(value))} is no {'whole number' if whole else 'number'}."
                raise click.BadParameter(problem, context, self) from None
            require(self.opts[0], number, number_conditions(number, **_limits(self.type)))
        return super().type_cast_value(context, value)

    def get_help_record(self, context: click.Context) -> tuple[str, str] | None:
        """Return names and help; of a switch `--[no-]mirror`, with the default on or off."""
        record = super().get_help_record(context)
        if record is None:
            return None
        names, text = record
        text = re.sub(r"\[default: \((.*?)\)", r"[default: \1", text)  # words in place of a value
        if self.secondary_opts:
            name = self.opts[0].removeprefix("--")
            names = f"--[no-]{name}"
            text = text.replace(f"[default: {name}]", "[default: on]")
            text = text.replace(f"[default: no-{name}]", "[default: off]")
        return names, text


def _limits(kind: click.ParamType) -> dict[str, float | None]:
    """Return the limits of one of click's types by the names of LIMITS."""
    if not isinstance(kind, click.IntRange | click.FloatRange):
        return {}
    return {"above" if kind.min_open else "low": kind.min, "below" if kind.max_open else "high": kind.max}


def number_conditions(value: Any, **limits: float | None) -> dict[str, bool]:
    """Return everything that a number must be, in words, and whether this one is; `limits` are those of LIMITS."""
    found = {}
    if isinstance(value, float):
        found["a finite number"] = math.isfinite(value)
    for name, (words, holds) in LIMITS.items():
        limit = limits.get(name)
        if limit is not None:
            found[f"{words} {limit}"] = holds(value, limit)
    return found


def require(name: str, value: Any, conditions: dict[str, bool]) -> None:
    """Raise a UserError that names option, value and what is possible, unless all conditions hold."""
    if not all(conditions.values()):
        raise UserError(f"{name}={shown(str(value))} is not possible: it must be {' and '.join(conditions)}.")


class Command(click.Command):
    """A click command whose parsing and body may raise UserError, with options grouped in `--help`.

    Args:
        headings: groups of options in the order in which `--help` shows them; others follow in order of appearance.
    """

    def __init__(self, *args: Any, headings: Sequence[str] = (), **attrs: Any):
        super().__init__(*args, **attrs)
        self.headings = headings

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Parse --help last, so that it shows what all other options have set, also those behind it."""
        names = context.help_option_names
        asked = [arg for arg in args if arg in names]
        others = [arg for arg in args if arg not in names]
        return super().parse_args(context, others + asked)

    def make_context(self, *args: Any, **attrs: Any) -> click.Context:
        print_anything()
        with _said_once(), _failures_as_sentences():
            return super().make_context(*args, **attrs)

    def invoke(self, context: click.Context) -> Any:
        with _failures_as_sentences():
            return super().invoke(context)

    def get_help(self, context: click.Context) -> str:
        return super().get_help(context).replace(NO_BREAK, " ")

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under the headings of their groups, texts in one column through all of them."""
        sections = self._sections(context)
        longest = 0
        for records in sections.values():
            longest = max(longest, *(len(names) for names, _ in records))
        column = min(longest, formatter.width // 3)
        room = formatter.width - column - 4  # for texts: between the columns, and at the left, are two spaces each
        for heading, records in sections.items():
            with formatter.section(heading):
                lines = [(names.ljust(column), _unbroken(text, room)) for names, text in records]
                formatter.write_dl(lines, col_max=column)

    def _sections(self, context: click.Context) -> dict[str, Records]:
        """Return the options by heading; those without a group come last."""
        sections: dict[str, Records] = {heading: [] for heading in self.headings}
        ungrouped: Records = []
        for parameter in self.get_params(context):
            record = parameter.get_help_record(context)
            if record is None or isinstance(parameter, click.Argument):  # which the usage line shows
                continue
            heading = getattr(parameter, "group", None)
            section = sections.setdefault(heading, []) if heading else ungrouped
            section.append(record)
        sections["Other options" if sections else "Options"] = ungrouped
        return {heading: records for heading, records in sections.items() if records}


def _unbroken(text: str, room: int) -> str:
    """Keep what stands in brackets, such as [default: 16], on one line, if it fits in one of so many characters."""
    whole = re.compile(r"\[.*?\]")
    return whole.sub(lambda found: found[0].replace(" ", NO_BREAK) if len(found[0]) <= room else found[0], text)


class Group(click.Group):
    """A click group (`dataset_tool.py check ...`) whose subcommands are `Command`s."""

    command_class = Command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is meant; a mistyped name is refused with those that are like it."""
        try:
            return super().resolve_command(context, args)
        except click.UsageError as error:
            alike = difflib.get_close_matches(args[0], self.list_commands(context))
            if not alike or "?" in error.message:
                raise
            raise click.UsageError(f"{error.message} Did you mean {' or '.join(alike)}?", context) from error


def option(*names: str, group: str | None = None, **attrs: Any) -> Callable[[Callable], Callable]:
    """`@option()`: like `@click.option()`, under the heading `group` of `--help`."""
    return click.option(*names, cls=GroupedOption, group=group, **attrs)


def together(*options: Callable[[Callable], Callable]) -> Callable[[Callable], Callable]:
    """Return a decorator that gives a command all of these options, in this order."""

    def decorate(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def command(name: str | None = None, **attrs: Any) -> Callable[[Callable], Command]:
    """`@command()`: like `@click.command()`, with `-h`, defaults shown, and the exit statuses above."""
    attrs.setdefault("context_settings", CONTEXT_SETTINGS)
    return click.command(name, cls=Command, **attrs)


def group(name: str | None = None, **attrs: Any) -> Callable[[Callable], Group]:
    """`@group()`: like `@click.group()`, whose `@tool.command()`s are the commands of this module."""
    attrs.setdefault("context_settings", CONTEXT_SETTINGS)
    return click.group(name, cls=Group, **attrs)


# --- Parameter types -------------------------------------------------------------------------------------------------


class IntList(click.ParamType):
    """Numbers and inclusive ranges of non-negative integers: `0-3,20` -> [0, 1, 2, 3, 20], in that order."""

    name = "list"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> list[int]:
        if not isinstance(value, str):
            return list(value)  # click converts defaults too
        numbers: list[int] = []
        for part in value.split(","):
            match = re.fullmatch(r"\s*(\d{1,18})\s*(?:-\s*(\d{1,18})\s*)?", part, re.ASCII)
            if match is None:
                self.fail(f"{value!r} is not a list like 0-15,20 (wrong at {part!r}).", param, ctx)
            first = int(match[1])
            last = int(match[2] or match[1])
            if last < first:
                self.fail(f"{value!r} has a range that runs backwards: {part.strip()}.", param, ctx)
            if last - first + len(numbers) >= MAX_LIST:
                self.fail(f"{value!r} is more than {MAX_LIST} numbers.", param, ctx)
            numbers.extend(range(first, last + 1))
        return numbers


class NameList(click.ParamType):
    """Some of a set of names, in the order given: `rgb,depth` -> ("rgb", "depth").

    Args:
        kind: what one is called, such as layer.
        known: all that there are.
    """

    def __init__(self, kind: str, known: Sequence[str]):
        self.kind = kind
        self.name = f"{kind}s"
        self.known = tuple(known)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if not isinstance(value, str):
            return tuple(value)  # click converts defaults too
        names = tuple(part.strip() for part in value.split(","))
        unknown = [name for name in names if name not in self.known]
        if unknown:
            these = ", ".join(unknown) or "nothing"
            self.fail(f"{these} is no {self.kind}; choose from {', '.join(self.known)}.", param, ctx)
        return names
