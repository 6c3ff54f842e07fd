"""README.md, CONTRIBUTING.md and docs/: links lead somewhere, commands parse, the table of presets is the presets'."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from dnnlib.options import options_of, value_of
from pv3d.command import COMMANDS as SUBCOMMANDS
from pv3d.command import main as pv3d
from tests.helpers.commands import COMMANDS
from training import config

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
BASE = re.compile(r'^PV3D="(.*)"$', re.MULTILINE)
OURS = re.compile("(python|torchrun) |pv3d .*--")  # pv3d alone is a word of the pages
NOT_RUN_HERE = re.compile("--help|-m torch_utils.doctor|-m pv3d$|-m tests.")


def name_of(page: Path) -> str:
    """Return the name of a page, for the names of tests."""
    return page.name


# --- Commands --------------------------------------------------------------------------------------------------------


def commands(text: str) -> Iterator[str]:
    """Yield command lines in blocks and in `...`, with $PV3D spelled out."""
    base = BASE.search(text)
    lines = "".join(BLOCK.findall(text)).split("\n")
    lines += re.findall(r"^    (\S.*)$", text, re.MULTILINE)
    lines += re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))
    for line in lines:
        if base:
            line = line.replace("$PV3D", base.group(1))
        if OURS.match(line) and not NOT_RUN_HERE.search(line):
            yield line


def parse(line: str) -> click.Context | None:
    """Return what click makes of a command line, without running it; None if the program is not one of ours."""
    words = shlex.split(line, comments=True)
    if "pv3d" in words[: words.index("-m") + 2 if "-m" in words else 1]:
        return parse_pv3d(words[words.index("pv3d") + 1 :])
    ours = [word for word in words if word in COMMANDS]
    if not ours:
        return None
    command = COMMANDS[ours[0]]
    arguments = words[words.index(ours[0]) + 1 :]
    if isinstance(command, click.Group):
        name, *arguments = arguments
        command = command.commands[name]
    return command.make_context(ours[0], arguments)


def parse_pv3d(words: list[str]) -> click.Context:
    """Return what click makes of the words behind `pv3d`, without running them."""
    context = pv3d.make_context("pv3d", words)
    name, command, arguments = pv3d.resolve_command(context, words)
    if isinstance(command, click.Group):
        name, command, arguments = command.resolve_command(context, arguments)
    return command.make_context(name, arguments)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_parse(page):
    for line in commands(page.read_text(encoding="utf-8")):
        assert parse(line) is not None, line


def test_a_wrong_command_is_noticed():
    text = '```\nPV3D="python train.py --outdir=a --cfg=demo --data=b"\n```\n`$PV3D --motion-wait` and `python x.py`\n'
    wrong, foreign = commands(text)
    assert parse(foreign) is None
    with pytest.raises(click.NoSuchOption, match="motion-wait"):
        parse(wrong)
    lines = ["pv3d train --cfg=demo --data=a", "torchrun -m pv3d data sinth", "python -m pv3d videos --grid=4"]
    assert list(commands("```\n" + "\n".join(lines) + "\n```")) == lines
    for line, message in zip(lines, ("outdir", "sinth", "grid"), strict=True):
        with pytest.raises(click.UsageError, match=message):
            parse(line)


def test_the_page_of_commands_names_all():
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    named = {name: script for name, script, *_ in rows(page, "| `pv3d` | script |")[2:]}
    scripts = {name: f"{place.partition(':')[0]}.py" for name, place in SUBCOMMANDS.items()}
    assert named == {name: script if script in COMMANDS else "" for name, script in scripts.items()}


# --- Links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        found = page.parent / file if file else page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found.read_text(encoding="utf-8")), target


def anchors(text: str) -> set[str]:
    """Return the anchors of headings, and those that are set."""
    found = set(re.findall(r'<a id="([^"]+)">', text))
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(words.replace(" ", "-"))
    return found


# --- Versions --------------------------------------------------------------------------------------------------------


def test_the_citation_names_this_version():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    (version,) = re.findall('^version = "(.*)"$', project, re.MULTILINE)
    assert f"\nversion: {version}\n" in citation


# --- Options ---------------------------------------------------------------------------------------------------------


def rows(text: str, first: str) -> list[list[str]]:
    """Return the cells of the table whose heading row begins with `first`."""
    start = text.index(first)
    block, _, _ = text[start:].partition("\n\n")
    found = []
    for line in block.splitlines():
        cells = line.strip("|").split("|")
        found.append([cell.strip(" `") for cell in cells])
    return found


def test_the_table_of_presets_is_the_presets():
    training = (DOCS / "training.md").read_text(encoding="utf-8")
    head, _, *table = rows(training, "| | `voxceleb` |")
    _, *names = head
    assert names == list(config.PRESETS)
    keys = {option.flag: option.key for option in options_of(config.Config)}
    for label, *cells in table:
        flags = re.findall(r"--[\w-]+", label)
        for name, cell in zip(names, cells, strict=True):
            preset = config.preset(name)
            values = [spelled(value_of(preset, keys[flag])) for flag in flags]
            assert re.split(r" \+ |, ", cell) == values, (name, flags)


def spelled(value: object) -> str:
    """Return an option's value as the pages write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else f"{value:g}"


def test_every_ablation_has_its_command():
    training = (DOCS / "training.md").read_text(encoding="utf-8")
    given = set()
    for line in commands(training):
        for word in line.split():
            flag, _, _ = word.partition("=")
            given.add(flag.replace("--no-", "--"))
    for option in options_of(config.Config):
        assert option.group != config.ABLATIONS or option.flag in given, option.flag
