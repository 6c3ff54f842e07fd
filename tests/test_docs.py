"""README.md, CONTRIBUTING.md and docs/: links lead somewhere, commands parse, the table of presets is the presets'."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from dnnlib.options import options_of, value_of
from tests.helpers.commands import COMMANDS
from training import config

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
BASE = re.compile(r'^PV3D="(.*)"$', re.MULTILINE)
NOT_RUN_HERE = re.compile("--help|-m torch_utils.doctor|-m tests.")


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
        if re.match("(python|torchrun) ", line) and not NOT_RUN_HERE.search(line):
            yield line


def parse(line: str) -> click.Context | None:
    """Return what click makes of a command line, without running it; None if the program is not one of ours."""
    words = shlex.split(line, comments=True)
    ours = [word for word in words if word in COMMANDS]
    if not ours:
        return None
    command = COMMANDS[ours[0]]
    arguments = words[words.index(ours[0]) + 1 :]
    if isinstance(command, click.Group):
        name, *arguments = arguments
        command = command.commands[name]
    return command.make_context(ours[0], arguments)


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
