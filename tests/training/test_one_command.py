"""train.py that divides itself into two processes: the numbers of torchrun's, the manners of one process."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.helpers.forks import ENVIRONMENT, Ended, Forks, ends
from tests.helpers.train_command import command, wait_for
from torch_utils import checkpoint
from training.runs.folder import RunFolder

TWO = "--processes=2"
SAVING = ["--kimg=0.02", "--snap=1"]
SAID = "Computing in 2 processes of one thread each.\n"


@pytest.fixture(scope="module")
def forks(tmp_path_factory) -> Iterator[Forks]:
    with Forks(tmp_path_factory.mktemp("forks")) as forks:
        yield forks


def states_of(outdir: Path) -> list[Path]:
    (folder,) = outdir.iterdir()
    assert [path for path in folder.iterdir() if path.name.startswith(".")] == [], "nothing unfinished"
    return RunFolder(folder).states()


def networks_of(outdir: Path) -> dict[str, torch.Tensor]:
    """Return the weights of the newest state of the one run there."""
    networks = checkpoint.load(states_of(outdir)[-1], "state")["networks"]
    return {f"{name}.{key}": value for name, values in networks.items() for key, value in values.items()}


def assert_same(first: Path, second: Path) -> None:
    """Whether the runs below two folders have the same weights, to the bit."""
    one = networks_of(first)
    other = networks_of(second)
    assert one.keys() == other.keys() and len(one) > 100
    assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []


def records(path: Path) -> list[dict]:
    """Return what both processes did, in order of iterations and ranks."""
    found = [json.loads(line) for file in path.parent.glob(f"{path.name}.*") for line in file.read_text().splitlines()]
    return sorted(found, key=lambda line: (line["iteration"], line["rank"]))


# --- Numbers ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def launched(forks, heads, tmp_path_factory) -> Path:
    """A folder with the runs and records of two processes that a launcher started."""
    folder = tmp_path_factory.mktemp("launched")
    ended = forks.start(folder / "runs", heads, "--kimg=0.008", ranks=2, record=str(folder / "record"))
    assert ended.statuses == [0, 0], ended.text
    assert SAID not in ended.text
    return folder


def test_the_numbers_are_those_of_a_launcher_s_processes(forks, heads, launched, tmp_path):
    ended = forks.start(tmp_path / "runs", heads, "--kimg=0.008", TWO, record=str(tmp_path / "record"))
    assert ended.statuses == [0], ended.text
    assert ended.text.count(SAID) == ended.text.count("Starting") == ended.text.count("Done.") == 1
    assert records(tmp_path / "record") == records(launched / "record")
    assert_same(tmp_path / "runs", launched / "runs")


def test_it_goes_on_exactly(forks, heads, launched, tmp_path):
    for length in ("--kimg=0.004", "--kimg=0.008"):
        ended = forks.start(tmp_path / "runs", heads, length, TWO, record=str(tmp_path / "record"))
        assert ended.statuses == [0], ended.text
    assert "Continuing" in ended.text
    assert records(tmp_path / "record") == records(launched / "record")
    assert_same(tmp_path / "runs", launched / "runs")


def test_one_process_goes_on_with_the_run_of_two(forks, heads, tmp_path):
    assert forks.start(tmp_path / "runs", heads, "--kimg=0.004", TWO).statuses == [0]
    ended = forks.start(tmp_path / "runs", heads, "--kimg=0.006", "--processes=1")
    assert "Continuing" in ended.text and SAID not in ended.text, ended.text


# --- Ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_command_saves_and_stops(forks, heads, tmp_path, number):
    ended = forks.start(tmp_path / "runs", heads, "--kimg=0.064", TWO, kill_at=[4, 0.5, number])
    assert ended.statuses == [130], ended.text
    assert ended.text.count("Stopping after this iteration; saving.") == 1
    assert ended.text.count("Stopped; the same command continues.") == 1
    assert "Process " not in ended.text and "Traceback" not in ended.text
    assert len(states_of(tmp_path / "runs")) == 1


def test_the_time_limit_saves_and_stops(forks, heads, tmp_path):
    ended = forks.start(tmp_path / "runs", heads, "--kimg=1", TWO, "--time-limit=0.001")
    assert ended.statuses == [130], ended.text
    assert ended.text.count("--time-limit is over; saving.") == 1
    assert len(states_of(tmp_path / "runs")) == 1


def test_ctrl_c_on_a_terminal_reaches_all_and_one_answers(heads, tmp_path):
    """Two cores and a batch of eight: what divides pays, and nothing needs to be asked for."""
    arguments = ["--kimg=50", "--batch=8", "--tick=0.008", "--workers=1"]
    process = subprocess.Popen(
        [sys.executable, *command(tmp_path, heads, *arguments)],
        env=ENVIRONMENT | {"OMP_NUM_THREADS": "2"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for(lambda: list(tmp_path.glob("*/stats.jsonl")), process)
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.count(SAID) == stderr.count("Stopping after this iteration; saving.") == 1
    assert "Process " not in stderr and "Traceback" not in stderr and "Interrupted" not in stderr
    assert stdout.count("Stopped; the same command continues.") == 1
    assert len(states_of(tmp_path)) == 1
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_a_command_that_is_killed_leaves_no_process(forks, heads, tmp_path):
    ended = forks.start(
        tmp_path / "runs",
        heads,
        *SAVING,
        TWO,
        fault=["in_rank", 1, "process_noted", str(tmp_path / "child")],
        kill_at=[4, 0.5, signal.SIGKILL],
    )
    assert ended.statuses == [-signal.SIGKILL], ended.text
    assert ends(int((tmp_path / "child").read_text())), "with its parent"
    assert "Traceback" not in ended.text
    again = forks.start(tmp_path / "runs", heads, "--kimg=0.006", TWO)
    assert again.statuses == [0] and "Continuing" in again.text, again.text


def assert_says_why_once(ended: Ended, why: str) -> None:
    assert len(re.findall(why, ended.text)) == 1, ended.text
    assert ended.text.count("another one failed or was killed") == 1, "the main process says so"


@pytest.mark.parametrize("fault", ["killed_in_phase", "raised_in_phase"])
def test_a_child_that_ends_ends_the_command_at_once(forks, heads, tmp_path, fault):
    ended = forks.start(tmp_path / "runs", heads, *SAVING, TWO, fault=["in_rank", 1, fault, "d_main", 3])
    assert ended.statuses == [1], ended.text
    assert_says_why_once(ended, "Process 0 ends, because another one failed or was killed")
    assert ended.text.count("RuntimeError: The phase went wrong.") == (fault == "raised_in_phase")
    assert ended.text.count("Traceback (most") == (fault == "raised_in_phase")
    assert len(states_of(tmp_path / "runs")) == 2


def test_an_error_of_ours_in_the_main_process_ends_all(forks, heads, tmp_path):
    ended = forks.start(tmp_path / "runs", heads, *SAVING, TWO, fault=["in_rank", 0, "raised_in_phase", "g_main", 3])
    assert ended.statuses == [1]
    assert ended.text.count("RuntimeError: The phase went wrong.") == ended.text.count("Traceback (most") == 1
    assert "Process " not in ended.text


@pytest.mark.parametrize("rank", [0, 1])
def test_a_data_worker_that_is_killed_is_the_user_s_to_mend(forks, heads, tmp_path, rank):
    fault = ["in_rank", rank, "loader_workers_killed", 3]
    ended = forks.start(tmp_path / "runs", heads, *SAVING, TWO, "--workers=1", fault=fault)
    assert ended.statuses == [2], ended.text
    assert len(re.findall(r"^Error: A process that loads data died", ended.text, re.MULTILINE)) == 1
    assert "Traceback" not in ended.text


def test_a_full_disk_keeps_the_last_state(forks, heads, tmp_path):
    ended = forks.start(tmp_path / "runs", heads, *SAVING, TWO, fault=["disk_full", "training-state", 700])
    assert ended.statuses == [2]
    assert ended.text.count("Error: No space left to write") == 1
    assert "Process " not in ended.text and "Traceback" not in ended.text


@pytest.mark.parametrize(
    "options, said",
    [
        (["--processes=4"], "--batch=2 is not divisible by the 4 processes; try --batch=4."),
        ([TWO, "--init-from=gone.pkl"], "gone.pkl does not exist"),
        ([TWO, "--ops=cuda"], "--ops=cuda needs a CUDA GPU"),
    ],
)
def test_mistakes_are_said_once(forks, heads, tmp_path, options, said):
    ended = forks.start(tmp_path / "runs", heads, *options)
    assert ended.statuses == [2], ended.text
    assert ended.text.count("Error: ") == ended.text.count(said) == 1, ended.text
    assert not (tmp_path / "runs").exists() or list((tmp_path / "runs").iterdir()) == []
