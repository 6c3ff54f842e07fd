"""A run that is killed, stopped, out of disk, or gone on with by more or fewer processes: it ends as if nothing was."""

import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.helpers.forks import Forks
from torch_utils import checkpoint
from training.checkpoints.states import require_sound
from training.runs.folder import RunFolder

ITERATIONS = 32
LENGTH = "--kimg=0.064"  # so many iterations of two clips
SAVING = [LENGTH, "--snap=1", "--keep=1"]  # a snapshot and a state in each of them
# Places in a start and its saves: what happens, to which file, for the how manieth time in this start.
PLACES = [
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


@pytest.fixture(scope="module")
def forks(tmp_path_factory) -> Iterator[Forks]:
    with Forks(tmp_path_factory.mktemp("forks")) as forks:
        yield forks


@pytest.fixture(scope="module")
def unharmed(forks, heads, tmp_path_factory) -> tuple[dict, list[dict]]:
    """The last state of a run that nothing befell, and what it did in each iteration."""
    folder = tmp_path_factory.mktemp("unharmed")
    ended = forks.start(folder / "runs", heads, LENGTH, "--snap=0", record=str(folder / "record"))
    assert ended.statuses == [0], ended.text
    return newest(folder / "runs"), lines(folder / "record.0")


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def newest(outdir: Path) -> dict | None:
    """The newest state of the one run there that can be used; None if there is none."""
    folders = list(outdir.iterdir()) if outdir.exists() else []
    assert len(folders) < 2, folders
    found = RunFolder(folders[0]).newest_state(require_sound, print) if folders else None
    return found and found[1]


def unfinished(outdir: Path) -> list[Path]:
    """Temporary files."""
    return [path for path in outdir.rglob("*") if path.name.startswith(".")]


def tensors(value, where="") -> dict[str, torch.Tensor]:
    """All tensors and numbers of a state but the time it took, by name."""
    if isinstance(value, (dict, list, tuple)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {
            name: tensor
            for key, item in items
            if key != "seconds"
            for name, tensor in tensors(item, f"{where}.{key}").items()
        }
    return {where: value}


def assert_same(first: dict, second: dict) -> None:
    first, second = tensors(first), tensors(second)
    assert first.keys() == second.keys() and len(first) > 300
    different = [
        name
        for name, value in first.items()
        if not (torch.equal(value, second[name]) if isinstance(value, torch.Tensor) else value == second[name])
    ]
    assert different == []


def assert_whole(outdir: Path) -> None:
    """States and the last snapshots open: what has its name is whole, what is not has none."""
    for path in outdir.glob("*/training-state-*.pt"):
        checkpoint.load(path, "state")
    for path in sorted(outdir.glob("*/network-snapshot-*.pkl"))[-2:]:
        checkpoint.load(path, "snapshot")


def test_a_run_killed_at_twenty_moments_ends_as_if_it_never_was(forks, heads, tmp_path, unharmed):
    chance = random.Random(0)
    kills = [{"fault": ["killed_at", *place], "pictures": place[1] == "fakes"} for place in PLACES]
    kills += [{"kill_at": [0, chance.random() * 0.8, signal.SIGKILL]}]
    kills += [{"kill_at": [2, chance.random() * 2, signal.SIGKILL]} for _ in range(20 - len(kills))]
    clips = 0
    for kill in kills:
        workers = "--workers=1" if "kill_at" in kill else "--workers=0"  # left behind, they hold nothing up
        ended = forks.start(tmp_path, heads, *SAVING, workers, **kill)
        assert ended.statuses == [-signal.SIGKILL], (kill, ended.text)
        state = newest(tmp_path)
        assert (state["progress"]["clips"] if state else 0) >= clips, (kill, "a state was lost")
        clips = state["progress"]["clips"] if state else 0
        assert_whole(tmp_path)
    assert len(kills) == 20 and 20 < clips < 2 * ITERATIONS
    ended = forks.start(tmp_path, heads, *SAVING)
    assert ended.statuses == [0] and f"at {clips / 1000:.3f} kimg" in ended.text, ended.text
    assert_same(newest(tmp_path), unharmed[0])
    (folder,) = tmp_path.iterdir()
    assert unfinished(tmp_path) == []
    assert [path.name[-7:] for path in RunFolder(folder).states()] == [".064.pt"]
    iterations = [line["iteration"] for line in lines(folder / "stats.jsonl")]
    assert iterations == list(range(1, ITERATIONS + 1)), "none twice, none left out"


def test_a_damaged_last_state_is_told_and_passed_over(forks, heads, tmp_path, unharmed):
    runs = tmp_path / "runs"
    assert forks.start(runs, heads, "--kimg=0.004", "--snap=1").statuses == [0]
    last = next(runs.glob("*/training-state-000000.004.pt"))
    last.write_bytes(last.read_bytes()[:-1000])
    ended = forks.start(runs, heads, "--kimg=0.006", record=str(tmp_path / "record"))
    assert ended.statuses == [0] and "at 0.002 kimg" in ended.text, ended.text
    assert ended.text.count(f"Warning: The checkpoint {last} is damaged") == 1
    assert "Going on from the earlier training-state-000000.002.pt." in ended.text
    assert lines(tmp_path / "record.0") == unharmed[1][1:3]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_saves_and_goes_on(forks, heads, tmp_path, unharmed, number):
    ended = forks.start(tmp_path / "runs", heads, LENGTH, kill_at=[2, 0.5, number])
    assert ended.statuses == [130] and "Stopped; the same command continues." in ended.text, ended.text
    clips = newest(tmp_path / "runs")["progress"]["clips"]
    assert 4 <= clips < 2 * ITERATIONS
    ended = forks.start(tmp_path / "runs", heads, f"--kimg={(clips + 2) / 1000}", record=str(tmp_path / "record"))
    assert ended.statuses == [0] and lines(tmp_path / "record.0") == [unharmed[1][clips // 2]]


@pytest.mark.parametrize(
    "fault, full, kept",
    [
        (["files_limited", 3_000_000], "training-state-000000.006.pt", 4),  # enough for a snapshot, not for a state
        (["disk_full", "training-state", 700], "training-state-000000.006.pt", 4),
        (["disk_full", "network-snapshot", 1], "network-snapshot-000000.006.pkl", 6),
    ],
)
def test_a_full_disk_keeps_the_last_state(forks, heads, tmp_path, unharmed, fault, full, kept):
    runs = tmp_path / "runs"
    assert forks.start(runs, heads, "--kimg=0.004", "--snap=1").statuses == [0]
    ended = forks.start(runs, heads, "--kimg=0.008", "--snap=1", fault=fault)
    (folder,) = runs.iterdir()
    assert ended.statuses == [2] and f"Error: No space left to write {folder / full}" in ended.text, ended.text
    assert f"training-state-000000.00{kept}.pt is kept: the same command goes on there" in ended.text
    assert newest(runs)["progress"]["clips"] == kept and unfinished(runs) == [] and "Traceback" not in ended.text
    ended = forks.start(runs, heads, "--kimg=0.008", "--snap=1", record=str(tmp_path / "record"))
    assert ended.statuses == [0] and lines(tmp_path / "record.0") == unharmed[1][kept // 2 : 4]


@pytest.mark.parametrize("ranks", [(1, 2), (2, 1)])
def test_another_number_of_processes_sees_the_same_clips_and_schedules(forks, heads, tmp_path, unharmed, ranks):
    for number, end in zip(ranks, ("--kimg=0.004", "--kimg=0.008"), strict=True):
        ended = forks.start(tmp_path / "runs", heads, end, ranks=number, record=str(tmp_path / f"by{number}"))
        assert ended.statuses == [0] * number, ended.text
    assert "Continuing" in ended.text and newest(tmp_path / "runs")["progress"]["iteration"] == 4
    alone, first, second = (lines(tmp_path / name) for name in ("by1.0", "by2.0", "by2.1"))
    assert [line["weights"] for line in first] == [line["weights"] for line in second]
    pair = [{**one, "batch": one["batch"] + other["batch"]} for one, other in zip(first, second, strict=True)]
    seen = alone + pair if ranks[0] == 1 else pair + alone
    assert [but_weights(line) for line in seen] == [but_weights(line) for line in unharmed[1][:4]]


def test_two_processes_go_on_exactly(forks, heads, tmp_path):
    for folder, ends in (("once", ("--kimg=0.008",)), ("twice", ("--kimg=0.004", "--kimg=0.008"))):
        for end in ends:
            ended = forks.start(tmp_path / folder, heads, end, ranks=2, record=str(tmp_path / f"{folder}.record"))
            assert ended.statuses == [0, 0], ended.text
    for rank in (0, 1):
        assert lines(tmp_path / f"twice.record.{rank}") == lines(tmp_path / f"once.record.{rank}")
    assert_same(newest(tmp_path / "twice"), newest(tmp_path / "once"))


def but_weights(line: dict) -> dict:
    """Sums in another order round otherwise."""
    return {name: value for name, value in line.items() if name != "weights"}


def test_a_state_that_is_named_starts_a_branch_if_there_are_later_ones(forks, heads, tmp_path, unharmed):
    runs = tmp_path / "runs"
    assert forks.start(runs, heads, "--kimg=0.008", "--snap=1", "--keep=9").statuses == [0]
    (old,) = runs.iterdir()
    before = {path.name: path.read_bytes() for path in old.iterdir()}
    ended = forks.start(
        runs, heads, "--kimg=0.006", f"--resume={old / 'training-state-000000.004.pt'}", record=str(tmp_path / "record")
    )
    new = old.with_name(old.name.replace("00000", "00001", 1))
    assert ended.statuses == [0] and f"Continuing {new} at 0.004 kimg." in ended.text, ended.text
    assert lines(tmp_path / "record.0") == unharmed[1][2:3]
    assert [line["iteration"] for line in lines(new / "stats.jsonl")] == [1, 2, 3]
    assert {path.name: path.read_bytes() for path in old.iterdir()} == before
    ended = forks.start(runs, heads, "--kimg=0.008")
    assert ended.statuses == [0] and f"Continuing {new} at 0.006 kimg." in ended.text, "auto takes the branch"
    ended = forks.start(runs, heads, "--kimg=0.01", f"--resume={old / 'training-state-000000.008.pt'}")
    assert ended.statuses == [0] and f"Continuing {old} at 0.008 kimg." in ended.text, "the last one needs no branch"
