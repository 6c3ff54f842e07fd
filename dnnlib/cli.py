"""Command lines: click commands that show a user's mistake as one line, and the parameter types they share.

Exit status: 0 done, 2 the user's mistake (bad usage, `UserError`, a full disk), 130 stopped (Ctrl-C; in training also
SIGTERM and --time-limit), 1 a fault of ours (with a traceback) or the end of another process of the run.
"""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from dnnlib.errors import UserError
from dnnlib.files import FULL_ERRNOS, printable

USAGE_STATUS = 2
INTERRUPTED_STATUS = 130  # 128 + SIGINT, as shells report it
MAX_LIST = 1_000_000  # numbers in one IntList; more is a slip of the finger
CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 120}


class _Failure(click.ClickException):
    """Printed by click as `Error: message`, without what a path in it may tell the terminal to do."""

    exit_code = USAGE_STATUS

    def __init__(self, message: str):
        super().__init__("\n".join(map(printable, message.split("\n"))))


@contextlib.contextmanager
def _friendly() -> Iterator[None]:
    """Turn what a user can mend, and Ctrl-C, into click's own ways to end."""
    try:
        yield
    except UserError as error:
        raise _Failure(str(error)) from error
    except OSError as error:
        if error.errno not in FULL_ERRNOS:
            if error.filename is None:
                raise
            raise _Failure(f"{error.filename}: {error.strerror}; choose another path, or mend this one.") from error
        where = f" to write {error.filename}" if error.filename else ""
        raise _Failure(f"No space left{where}: free some space or choose another folder.") from error
    except KeyboardInterrupt:
        click.echo("\nInterrupted.", err=True)
        raise click.exceptions.Exit(INTERRUPTED_STATUS) from None


class _Pipe(io.FileIO):
    """Writes to a descriptor; from the moment that nobody reads it any more, to nowhere."""

    def write(self, data: bytes) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def outlive_readers() -> None:
    """What is printed may get lost, but must not end the command: Ctrl-C on `train.py | tee log` also ends tee."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):  # nobody has replaced it
            stream.flush()
            pipe = io.BufferedWriter(_Pipe(stream.fileno(), "wb", closefd=False))
            setattr(sys, name, io.TextIOWrapper(pipe, stream.encoding, stream.errors, line_buffering=True))


class Command(click.Command):
    """A click command whose parsing and body may raise UserError."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _friendly():
            return super().make_context(*args, **kwargs)

    def invoke(self, context: click.Context) -> Any:
        with _friendly():
            return super().invoke(context)


class Group(click.Group):
    """A click group (`dataset_tool.py check ...`) whose subcommands are `Command`s."""

    command_class = Command


def command(name: str | None = None, **attrs: Any) -> Callable[[Callable], Command]:
    """`@command()`: like `@click.command()`, with `-h`, defaults shown, and the exit statuses above."""
    attrs.setdefault("context_settings", CONTEXT_SETTINGS)
    return click.command(name, cls=Command, **attrs)


def group(name: str | None = None, **attrs: Any) -> Callable[[Callable], Group]:
    """`@group()`: like `@click.group()`, whose `@tool.command()`s are the commands of this module."""
    attrs.setdefault("context_settings", CONTEXT_SETTINGS)
    return click.group(name, cls=Group, **attrs)


class IntList(click.ParamType):
    """Numbers and inclusive ranges of non-negative integers: `0-3,20` -> [0, 1, 2, 3, 20], in that order."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        if not isinstance(value, str):
            return list(value)  # click converts defaults too
        numbers: list[int] = []
        for part in value.split(","):
            match = re.fullmatch(r"\s*(\d{1,18})\s*(?:-\s*(\d{1,18})\s*)?", part, re.ASCII)
            if match is None:
                self.fail(f"{value!r} is not a list like 0-15,20 (wrong at {part!r}).", param, ctx)
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first:
                self.fail(f"{value!r} has a range that runs backwards: {part.strip()}.", param, ctx)
            if last - first + len(numbers) >= MAX_LIST:
                self.fail(f"{value!r} is more than {MAX_LIST} numbers.", param, ctx)
            numbers.extend(range(first, last + 1))
        return numbers
