"""A run that is killed, stopped, out of disk, or gone on with by more or fewer processes ends like one left alone."""

import json
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.forks import Ended, Forks
from torch_utils import checkpoint
from training.checkpoints.states import require_sound
from training.runs.folder import RunFolder

ITERATIONS = 32
LENGTH = "--kimg=0.064"  # so many iterations of two clips
SAVING = [LENGTH, "--snap=1", "--keep=1"]  # a snapshot and a state in each of them
# Moments of a start and its saves: what happens, to which file, the how manieth time in this start.
MOMENTS = [
    ("writing", "network-snapshot", 9),
    ("renamed", "network-snapshot", 1),
    ("writing", "training-state", 1),
    ("renaming", "training-state", 1),
    ("renaming", "training_options", 1),
    ("renamed", "training-state", 1),
    ("syncing", "training-state", 2),
    ("renamed", "training_options", 1),
    ("writing", "training-state", 900),
    ("removing", "training-state", 2),
    ("syncing", "network-snapshot", 2),
    ("syncing", "00000-", 4),
    ("writing", "training-state", 40),
    ("renaming", "fakes", 2),
]
KILLS = 20


@pytest.fixture(scope="module")
def forks(tmp_path_factory) -> Iterator[Forks]:
    with Forks(tmp_path_factory.mktemp("forks")) as forks:
        yield forks


# --- What a run has done and left -------------------------------------------------------------------------------------


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_weights(line: dict) -> dict:
    """Drop what differs between numbers of processes: sums in another order round otherwise."""
    return {name: value for name, value in line.items() if name != "weights"}


def newest(outdir: Path) -> dict | None:
    """Return the newest state of the one run there that can be used; None if there is none."""
    folders = list(outdir.iterdir()) if outdir.exists() else []
    if not folders:
        return None
    (folder,) = folders
    found = RunFolder(folder).newest_state(require_sound, print)
    if found is None:
        return None
    _, state = found
    return state


def clips_of(outdir: Path) -> int:
    """Return the clips of the newest state, 0 without one."""
    state = newest(outdir)
    return 0 if state is None else state["progress"]["clips"]


def unfinished(outdir: Path) -> list[Path]:
    """Return the temporary files."""
    return [path for path in outdir.rglob("*") if path.name.startswith(".")]


def flat(value: Any, where: str = "") -> dict[str, Any]:
    """Return all tensors and numbers of a state but the time it took, by name."""
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    else:
        return {where: value}
    found = {}
    for key, item in items:
        if key != "seconds":
            found |= flat(item, f"{where}.{key}")
    return found


def is_same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    return first == second


def assert_same(first: dict, second: dict) -> None:
    first = flat(first)
    second = flat(second)
    assert first.keys() == second.keys()
    assert len(first) > 300
    assert [name for name, value in first.items() if not is_same(value, second[name])] == []


def assert_whole(outdir: Path) -> None:
    """States and the last snapshots open: a file that has its name is whole, one that is not whole has none."""
    for path in outdir.glob("*/training-state-*.pt"):
        checkpoint.load(path, "state")
    snapshots = sorted(outdir.glob("*/network-snapshot-*.pkl"))
    for path in snapshots[-2:]:
        checkpoint.load(path, "snapshot")


@dataclass
class Command:
    """A command that is started again and again, whose runs are in <folder>/runs."""

    forks: Forks
    data: Path
    folder: Path

    @property
    def outdir(self) -> Path:
        return self.folder / "runs"

    def start(self, *more: str, **options: Any) -> Ended:
        """Start it and wait for its end; options as for `Forks.start`."""
        for old in self.folder.glob("record.*"):
            old.unlink()
        return self.forks.start(self.outdir, self.data, *more, record=str(self.folder / "record"), **options)

    def record(self, rank: int = 0) -> list[dict]:
        """Return what a process of the last start did in each iteration."""
        return lines(self.folder / f"record.{rank}")


@pytest.fixture
def command(forks, heads, tmp_path) -> Command:
    return Command(forks, heads, tmp_path)


@dataclass
class LeftAlone:
    """A run that nothing happened to: its last state, and what it did in each iteration."""

    state: dict
    record: list[dict]


@pytest.fixture(scope="module")
def left_alone(forks, heads, tmp_path_factory) -> LeftAlone:
    command = Command(forks, heads, tmp_path_factory.mktemp("left_alone"))
    ended = command.start(LENGTH, "--snap=0")
    assert ended.statuses == [0], ended.text
    state = newest(command.outdir)
    assert state is not None
    return LeftAlone(state, command.record())


# --- Killed -----------------------------------------------------------------------------------------------------------


def twenty_kills() -> list[dict[str, Any]]:
    """Return options of `Forks.start`, each of which ends with a kill."""
    chance = random.Random(0)
    kills: list[dict[str, Any]] = []
    for moment in MOMENTS:
        _, file, _ = moment
        kills.append({"fault": ["killed_at", *moment], "pictures": file == "fakes"})
    kills.append({"kill_at": [0, chance.random() * 0.8, signal.SIGKILL]})
    while len(kills) < KILLS:
        kills.append({"kill_at": [2, chance.random() * 2, signal.SIGKILL]})
    return kills


def test_a_run_killed_at_twenty_moments_ends_as_if_it_never_was(command, left_alone):
    outdir = command.outdir
    clips = 0
    for kill in twenty_kills():
        workers = 1 if "kill_at" in kill else 0  # workers that are left behind block nothing
        ended = command.start(*SAVING, f"--workers={workers}", **kill)
        assert ended.statuses == [-signal.SIGKILL], (kill, ended.text)
        before = clips
        clips = clips_of(outdir)
        assert clips >= before, (kill, "a state was lost")
        assert_whole(outdir)
    assert 20 < clips < 2 * ITERATIONS

    ended = command.start(*SAVING)
    assert ended.statuses == [0], ended.text
    assert f"at {clips / 1000:.3f} kimg" in ended.text
    assert_same(newest(outdir), left_alone.state)
    assert unfinished(outdir) == []
    (folder,) = outdir.iterdir()
    assert [path.name[-7:] for path in RunFolder(folder).states()] == [".064.pt"]
    iterations = [line["iteration"] for line in lines(folder / "stats.jsonl")]
    assert iterations == list(range(1, ITERATIONS + 1)), "none twice, none left out"


def test_a_damaged_last_state_is_passed_over_with_a_warning(command, left_alone):
    assert command.start("--kimg=0.004", "--snap=1").statuses == [0]
    (last,) = command.outdir.glob("*/training-state-000000.004.pt")
    content = last.read_bytes()
    last.write_bytes(content[:-1000])
    ended = command.start("--kimg=0.006")
    assert ended.statuses == [0], ended.text
    assert "at 0.002 kimg" in ended.text
    assert ended.text.count(f"Warning: The checkpoint {last} is damaged") == 1
    assert "Going on from the earlier training-state-000000.002.pt." in ended.text
    assert command.record() == left_alone.record[1:3]


# --- Stopped, out of disk ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_saves_and_goes_on(command, left_alone, number):
    ended = command.start(LENGTH, kill_at=[2, 0.5, number])
    assert ended.statuses == [130], ended.text
    assert "Stopped; the same command continues." in ended.text
    clips = clips_of(command.outdir)
    assert 4 <= clips < 2 * ITERATIONS
    one_more = (clips + 2) / 1000
    ended = command.start(f"--kimg={one_more}")
    assert ended.statuses == [0]
    assert command.record() == [left_alone.record[clips // 2]]


@pytest.mark.parametrize(
    "fault, full, kept",
    [
        (["files_limited", 3_000_000], "training-state-000000.006.pt", 4),  # enough for a snapshot, not for a state
        (["disk_full", "training-state", 700], "training-state-000000.006.pt", 4),
        (["disk_full", "network-snapshot", 1], "network-snapshot-000000.006.pkl", 6),
    ],
)
def test_a_full_disk_keeps_the_last_state(command, left_alone, fault, full, kept):
    assert command.start("--kimg=0.004", "--snap=1").statuses == [0]
    ended = command.start("--kimg=0.008", "--snap=1", fault=fault)
    (folder,) = command.outdir.iterdir()
    assert ended.statuses == [2], ended.text
    assert f"Error: No space left to write {folder / full}" in ended.text
    assert f"training-state-000000.00{kept}.pt is kept: the same command goes on there" in ended.text
    assert "Traceback" not in ended.text
    assert clips_of(command.outdir) == kept
    assert unfinished(command.outdir) == []
    ended = command.start("--kimg=0.008", "--snap=1")
    assert ended.statuses == [0]
    assert command.record() == left_alone.record[kept // 2 : 4]


# --- Several processes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [(1, 2), (2, 1)])
def test_another_number_of_processes_sees_the_same_clips_and_schedules(command, left_alone, ranks):
    seen = []
    for number, length in zip(ranks, ("--kimg=0.004", "--kimg=0.008"), strict=True):
        ended = command.start(length, ranks=number)
        assert ended.statuses == [0] * number, ended.text
        if number == 1:
            seen += command.record()
            continue
        for first, second in zip(command.record(0), command.record(1), strict=True):
            assert first["weights"] == second["weights"]
            both = first["batch"] + second["batch"]
            seen.append(first | {"batch": both})
    assert "Continuing" in ended.text
    assert [without_weights(line) for line in seen] == [without_weights(line) for line in left_alone.record[:4]]


def test_two_processes_go_on_exactly(forks, heads, tmp_path):
    once = Command(forks, heads, tmp_path / "once")
    twice = Command(forks, heads, tmp_path / "twice")
    for command in (once, twice):
        command.folder.mkdir()
    assert once.start("--kimg=0.008", ranks=2).statuses == [0, 0]
    assert twice.start("--kimg=0.004", ranks=2).statuses == [0, 0]
    first_half = [twice.record(rank) for rank in (0, 1)]
    assert twice.start("--kimg=0.008", ranks=2).statuses == [0, 0]
    for rank in (0, 1):
        assert first_half[rank] + twice.record(rank) == once.record(rank)
    assert_same(newest(twice.outdir), newest(once.outdir))


# --- A state that is named --------------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_state_that_is_named_starts_a_branch_if_there_are_later_ones(command, left_alone):
    assert command.start("--kimg=0.008", "--snap=1", "--keep=9").statuses == [0]
    (old,) = command.outdir.iterdir()
    new = old.with_name(old.name.replace("00000", "00001", 1))
    before = contents(old)

    # An earlier one: a new run goes on, the old one stays as it is.
    ended = command.start("--kimg=0.006", f"--resume={old / 'training-state-000000.004.pt'}")
    assert ended.statuses == [0], ended.text
    assert f"Continuing {new} at 0.004 kimg." in ended.text
    assert command.record() == left_alone.record[2:3]
    assert [line["iteration"] for line in lines(new / "stats.jsonl")] == [1, 2, 3]
    assert contents(old) == before

    # Then auto takes the new one.
    ended = command.start("--kimg=0.008")
    assert ended.statuses == [0]
    assert f"Continuing {new} at 0.006 kimg." in ended.text

    # The last one: it needs no branch.
    ended = command.start("--kimg=0.01", f"--resume={old / 'training-state-000000.008.pt'}")
    assert ended.statuses == [0]
    assert f"Continuing {old} at 0.008 kimg." in ended.text
