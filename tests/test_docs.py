"""README.md, CONTRIBUTING.md and docs/: links lead somewhere, commands parse, the table of presets is the presets'."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import calc_metrics
import checkpoint_tool
import dataset_tool
import gen_videos
import train
from benchmarks import detectors, geometry, gradients, phases
from dnnlib.options import options_of
from training import config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = {
    "train.py": train.main,
    "gen_videos.py": gen_videos.main,
    "dataset_tool.py": dataset_tool.main,
    "calc_metrics.py": calc_metrics.main,
    "benchmarks/phases.py": phases.main,
    "benchmarks/detectors.py": detectors.main,
    "benchmarks/geometry.py": geometry.main,
    "benchmarks/gradients.py": gradients.main,
    "checkpoint_tool.py": checkpoint_tool.main,
}
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
BASE = re.compile(r'^PV3D="(.*)"$', re.MULTILINE)


def commands(text: str) -> Iterator[str]:
    """Command lines in blocks and in `...`, with $PV3D spelled out."""
    base = BASE.search(text)
    lines = "".join(BLOCK.findall(text)).split("\n")
    lines += re.findall(r"^    (\S.*)$", text, re.MULTILINE)
    lines += re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))
    for line in lines:
        line = line.replace("$PV3D", base.group(1)) if base else line
        if re.match(r"(python|torchrun) ", line) and not re.search(r"--help|-m torch_utils.doctor", line):
            yield line


def parse(line: str) -> click.Context | None:
    """What click makes of a command line, without running it; None if the program is not one of ours."""
    words = shlex.split(line, comments=True)
    place = next((i for i, word in enumerate(words) if word in COMMANDS), None)
    if place is None:
        return None
    command, rest = COMMANDS[words[place]], words[place + 1 :]
    if isinstance(command, click.Group):
        command, rest = command.commands[rest[0]], rest[1:]
    return command.make_context(words[place], rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_parse(page):
    for line in commands(page.read_text(encoding="utf-8")):
        assert parse(line) is not None, line


def test_a_wrong_command_is_noticed():
    text = '```\nPV3D="python train.py --outdir=a --cfg=demo --data=b"\n```\n`$PV3D --motion-wait` and `python x.py`\n'
    lines = list(commands(text))
    assert len(lines) == 2 and parse(lines[1]) is None
    with pytest.raises(click.NoSuchOption, match="motion-wait"):
        parse(lines[0])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("http"):
            file, _, anchor = target.partition("#")
            found = (page.parent / file) if file else page
            assert found.exists(), target
            assert not anchor or anchor in anchors(found.read_text(encoding="utf-8")), target


def anchors(text: str) -> set[str]:
    """Those of headings, and those that are set."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


def rows(text: str, first: str) -> list[list[str]]:
    """Cells of the table whose heading row begins with `first`."""
    block = text[text.index(first) :].split("\n\n")[0]
    return [[cell.strip(" `") for cell in re.split(r"\|", line)[1:-1]] for line in block.splitlines()]


def test_the_table_of_presets_is_the_presets():
    head, _, *table = rows((ROOT / "docs" / "training.md").read_text(encoding="utf-8"), "| | `voxceleb` |")
    names = head[1:]
    assert names == list(config.PRESETS)
    keys = {option.flag: option.key for option in options_of(config.Config)}
    for label, *cells in table:
        flags = re.findall(r"--[\w-]+", label)
        for name, cell in zip(names, cells, strict=True):
            for flag, shown in zip(flags, re.split(r" \+ |, ", cell), strict=True):
                assert shown == spelled(config.preset(name), keys[flag]), (name, flag)


def spelled(options: config.Config, key: str) -> str:
    """An option's value as the pages write it."""
    value = options
    for part in key.split("."):
        value = getattr(value, part)
    return value if isinstance(value, str) else f"{value:g}"


def test_every_ablation_has_its_command():
    lines = list(commands((ROOT / "docs" / "training.md").read_text(encoding="utf-8")))
    given = {re.sub("^--no-", "--", word.split("=")[0]) for line in lines for word in line.split()}
    assert {option.flag for option in options_of(config.Config) if option.group == config.ABLATIONS} <= given
