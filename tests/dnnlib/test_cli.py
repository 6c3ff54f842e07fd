"""dnnlib.cli: exit statuses, one line an error, number lists."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dnnlib.cli import CONTEXT_SETTINGS, Command, IntList, command, group, option
from dnnlib.errors import UserError

ROOT = Path(__file__).parents[2]


def run(body, args=(), params=()):
    """Run a command with this body; the result has exit_code, stdout, stderr."""
    for param in params:
        body = param(body)
    return CliRunner().invoke(command(name="tool")(body), list(args))


def raising(error):
    def body():
        raise error

    return body


def test_success_and_usage_error():
    assert run(lambda: click.echo("fine")).exit_code == 0
    result = run(lambda: None, ["--nonsense"])
    assert result.exit_code == 2 and "No such option" in result.stderr


def test_one_process_of_a_machine_says_what_all_of_them_were_told(monkeypatch):
    for rank, said in (("0", "No such option"), ("1", "")):
        monkeypatch.setenv("LOCAL_RANK", rank)
        result = run(lambda: None, ["--nonsense"])
        assert result.exit_code == 2 and said in result.stderr and bool(result.stderr) == bool(said)
        assert "Broken" in run(raising(UserError("Broken: repair it."))).stderr, "what befell one of them"


def test_user_error_is_one_line_and_status_2():
    result = run(raising(UserError("The data is missing: check --data.")))
    assert result.exit_code == 2
    assert result.stderr == "Error: The data is missing: check --data.\n"
    assert result.stdout == ""


def test_names_cannot_command_the_terminal():
    result = run(raising(UserError("No folder \x1b[2Jevil\x07 or \u00fcber.")))
    assert result.stderr == "Error: No folder \\x1b[2Jevil\\x07 or \u00fcber.\n"


PRINT = r"""
import sys
import click
from dnnlib import cli, printing

@cli.command()
@click.argument("path")
def main(path):
    click.echo(path)
    print(path, "\u00e4")
    print(path, "\u00e4", file=sys.stderr)
    printing.ignore_broken_pipes()
    print(path, "\u00e4")

main()
"""


@pytest.mark.parametrize("encoding", ["ascii", "utf-8:strict"])
def test_no_name_ends_a_command_that_prints_it(encoding):
    """Bytes that are no text of the locale's become surrogates, which strict streams refuse."""
    done = subprocess.run(
        [sys.executable, "-c", PRINT, b"d\xc3\xa4t\xff"],
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": encoding},
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 3, done.stderr


def test_closed_standard_streams_end_no_command():
    script = "from dnnlib import cli, printing; cli.command()(lambda: printing.ignore_broken_pipes())()"
    closed = ["sh", "-c", '"$@" >&- 2>&-', "sh", sys.executable, "-c", script]
    assert subprocess.run(closed, cwd=ROOT, check=False).returncode == 0


def test_user_error_from_an_option_callback():
    def check(ctx, param, value):
        raise UserError("No such preset: choose demo.")

    result = run(lambda cfg: None, params=[click.option("--cfg", default="x", callback=check)])
    assert result.exit_code == 2 and result.stderr == "Error: No such preset: choose demo.\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk(number):
    result = run(raising(OSError(number, os.strerror(number), "/data/out.png")))
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: No space left to write /data/out.png") and result.stderr.count("\n") == 1


def test_interrupt_is_one_line_and_status_130():
    result = run(raising(KeyboardInterrupt()))
    assert result.exit_code == 130 and result.stderr.strip() == "Interrupted."


def test_faults_of_ours_keep_their_traceback():
    for error in (ValueError("bug"), OSError(errno.EIO, "broken disk")):
        assert run(raising(error)).exception is error


def test_subcommands_of_a_group():
    @group()
    def tool():
        pass

    @tool.command()
    def check():
        raise UserError("Broken: repair it.")

    result = CliRunner().invoke(tool, ["check"])
    assert result.exit_code == 2 and result.stderr == "Error: Broken: repair it.\n"
    assert CliRunner().invoke(tool, ["check", "-h"]).exit_code == 0
    mistyped = CliRunner().invoke(tool, ["chekc"])
    assert mistyped.exit_code == 2 and "No such command 'chekc'. Did you mean check?" in mistyped.stderr
    assert "mean" not in CliRunner().invoke(tool, ["banana"]).stderr


@click.command(cls=Command, context_settings=CONTEXT_SETTINGS, headings=["Second", "First"])
@option("--loose", help="Without a group.")
@option("--one", group="First", default=1, help="In a group.")
@option("--two", group="Second", type=click.IntRange(1), show_default="many", help="In the group that comes first.")
@option("--three/--no-three", group="Third", default=False, help="In a group without a place of its own.")
@click.argument("path")
def grouped(**values):
    """Do nothing."""


HELP = """\
Usage: grouped [OPTIONS] PATH

  Do nothing.

Second:
  --two INTEGER  In the group that comes first.  [default: many; x>=1]

First:
  --one INTEGER  In a group.  [default: 1]

Third:
  --[no-]three   In a group without a place of its own.  [default: off]

Other options:
  --loose TEXT   Without a group.
  -h, --help     Show this message and exit.
"""


def test_help_groups_options_under_headings():
    assert CliRunner().invoke(grouped, ["-h"], terminal_width=100).stdout == HELP


def test_a_default_is_not_broken_over_two_lines():
    text = CliRunner().invoke(grouped, ["-h"], terminal_width=55).stdout
    assert "[default: many; x>=1]" in text and "[default: off]" in text and max(map(len, text.splitlines())) <= 55


def test_words_of_a_default_that_is_longer_than_a_line_stay_whole():
    default = "as many as latents or a file of cameras have, else sixteen"

    @command()
    @option("--frames", type=int, show_default=default, help="Of each video.")
    def long_default(frames: int | None) -> None:
        """Do nothing."""

    for width in range(40, 70):
        text = CliRunner().invoke(long_default, ["-h"], terminal_width=width).stdout
        assert set(default.split()) <= set(text.replace("]", "").split()), text
        assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize(
    "kind, text, said",
    [
        (int, "abc", "Invalid value for '--batch': 'abc' is no whole number."),
        (click.IntRange(1), "abc", "Invalid value for '--batch': 'abc' is no whole number."),
        (click.IntRange(1), "1.5", "Invalid value for '--batch': '1.5' is no whole number."),
        (click.IntRange(1), "", "Invalid value for '--batch': '' is no whole number."),
        (click.IntRange(1), "0", "--batch=0 is not possible: it must be at least 1."),
        (click.IntRange(1, 1024), "1025", "--batch=1025 is not possible: it must be at least 1 and at most 1024."),
        (click.IntRange(1), "9" * 5000, f"Invalid value for '--batch': '{'9' * 296}... is no whole number."),
        (
            click.IntRange(1, 9),
            "9" * 999,
            f"--batch={'9' * 297}... is not possible: it must be at least 1 and at most 9.",
        ),
        (float, "fast\x1b[2J", r"Invalid value for '--batch': 'fast\x1b[2J' is no number."),
        (float, "inf", "--batch=inf is not possible: it must be a finite number."),
        (
            click.FloatRange(0, 240, min_open=True, max_open=True),
            "240",
            "--batch=240.0 is not possible: it must be a finite number and above 0 and below 240.",
        ),
        (
            click.FloatRange(0, min_open=True),
            "0",
            "--batch=0.0 is not possible: it must be a finite number and above 0.",
        ),
    ],
)
def test_what_is_no_number_of_the_range_is_refused_in_words(kind, text, said):
    result = run(lambda batch: None, [f"--batch={text}"], [option("--batch", type=kind)])
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == f"Error: {said}"


def test_numbers_of_the_range_pass():
    params = [
        option("--batch", type=click.IntRange(1, 4)),
        option("--fps", type=click.FloatRange(min=0, min_open=True)),
    ]
    result = run(lambda batch, fps: click.echo(f"{batch} {fps}"), ["--batch=4", "--fps=1e-3"], params)
    assert result.stdout == "4 0.001\n"


@pytest.mark.parametrize(
    "text, numbers", [("0-3,20", [0, 1, 2, 3, 20]), ("7", [7]), (" 1 , 4 - 5 ", [1, 4, 5]), ("3-3,1,1", [3, 1, 1])]
)
def test_int_list(text, numbers):
    assert IntList().convert(text, None, None) == numbers


@pytest.mark.parametrize("text", ["", "1,", "a", "-3", "1-", "5-2", "1-2-3", "1.5", "0-99999999", "٣"])
def test_int_list_errors_are_usage_errors(text):
    result = run(lambda seeds: None, [f"--seeds={text}"], [click.option("--seeds", type=IntList())])
    assert result.exit_code == 2 and "Invalid value for '--seeds'" in result.stderr
