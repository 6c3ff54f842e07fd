"""Faults in one of two processes: both end, soon and with a reason, or go on alike; the same command continues."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.forks import ENVIRONMENT, SECONDS, TINY, Ended, Forks
from training.checkpoints.states import require_sound
from training.runs.folder import RunFolder

ROOT = Path(__file__).parents[2]
SAVING = ["--kimg=0.02", "--snap=1"]
IS_KEPT = "is kept: the same command goes on there"


@pytest.fixture(scope="module")
def forks(tmp_path_factory) -> Iterator[Forks]:
    with Forks(tmp_path_factory.mktemp("forks")) as forks:
        yield forks


def torchrun(outdir: Path, data: Path, rank: int, fault: list, *more: str) -> subprocess.CompletedProcess:
    """Run train.py in two processes, one of which meets `fault`."""
    worker = ROOT / "tests" / "helpers" / "torchrun_training.py"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(worker)]
    arguments = [*TINY, f"--outdir={outdir}", f"--data={data}", *SAVING, *more]
    return subprocess.run(
        [*launch, str(rank), json.dumps(fault), *arguments],
        env=ENVIRONMENT,
        text=True,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )


def clips_of(outdir: Path) -> int:
    """Return the clips of the newest state of the one run there, which must be usable."""
    (folder,) = outdir.iterdir()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == [], "nothing unfinished"
    found = RunFolder(folder).newest_state(require_sound, print)
    assert found is not None
    _, state = found
    return state["progress"]["clips"]


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_says_that_a_peer_failed(ended: Ended, rank: int) -> None:
    assert f"Process {rank} ends, because another one failed or was killed" in ended.text


def test_nan_in_one_process_s_gradient_spoils_no_weights(forks, heads, tmp_path):
    runs = tmp_path / "runs"
    fault = {"fault": ["nan_gradient", 2], "fault_rank": 1}
    ended = forks.start(runs, heads, "--kimg=0.008", ranks=2, **fault, record=str(tmp_path / "record"))
    assert ended.statuses == [0, 0], ended.text
    first = lines(tmp_path / "record.0")
    second = lines(tmp_path / "record.1")
    assert len(first) == len(second) == 4
    assert [line["weights"] for line in first] == [line["weights"] for line in second], "both stay one model"
    assert clips_of(runs) == 8, "and finite: nothing else is written"
    (folder,) = runs.iterdir()
    faults = [line["health/nonfinite_gradients"] > 0 for line in lines(folder / "stats.jsonl")]
    assert faults == [False, False, True, False]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_data_worker_that_is_killed_ends_all(forks, heads, tmp_path, rank):
    runs = tmp_path / "runs"
    fault = {"fault": ["loader_workers_killed", 3], "fault_rank": rank}
    ended = forks.start(runs, heads, *SAVING, "--workers=1", ranks=2, **fault)
    assert ended.statuses[rank] == 2, ended.text
    assert ended.statuses[1 - rank] in (1, 2), ended.text
    assert re.search(r"Error: A process that loads data died \(.*killed.*\).*start the same command again", ended.text)
    assert ended.text.count("Error: ") == 1
    assert "Traceback" not in ended.text
    assert IS_KEPT in ended.text
    clips = clips_of(runs)
    assert clips in (6, 8)
    again = forks.start(runs, heads, "--kimg=0.01", ranks=2)
    assert again.statuses == [0, 0]
    assert f"at {clips / 1000:.3f} kimg" in again.text


def test_a_frame_that_vanishes_ends_all(heads, tmp_path):
    runs = tmp_path / "runs"
    data = Path(shutil.copytree(heads, tmp_path / "heads"))
    ended = torchrun(runs, data, 0, ["clip_gone", 2, str(data / "00001")])
    assert ended.returncode == 1, "torchrun's own, whatever its processes' are"
    assert re.search(r"exitcode\s*: 2", ended.stderr)
    assert "train.py" not in ended.stderr, "no traceback of ours"
    assert len(re.findall(r"^Error: Frame 00001/\d+\.png of .*heads is missing: ", ended.stderr, re.MULTILINE)) == 1
    assert "ends, because another" not in ended.stderr, "both know"
    clips = clips_of(runs)
    assert clips >= 4
    assert f"training-state-{clips / 1000:010.3f}.pt {IS_KEPT}" in ended.stderr


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_of_ours_in_one_process_ends_the_other_at_once(forks, heads, tmp_path, rank):
    fault = {"fault": ["raised_in_phase", "g_main", 3], "fault_rank": rank}
    ended = forks.start(tmp_path / "runs", heads, *SAVING, ranks=2, **fault)
    assert ended.statuses == [1, 1]
    assert ended.text.count("RuntimeError: The phase went wrong.") == 1
    assert ended.text.count("Traceback (most") == 1
    assert_says_that_a_peer_failed(ended, 1 - rank)
    assert clips_of(tmp_path / "runs") == 4


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_ends_the_other_at_once(forks, heads, tmp_path, rank):
    fault = {"fault": ["killed_in_phase", "d_main", 3], "fault_rank": rank}
    ended = forks.start(tmp_path / "runs", heads, *SAVING, ranks=2, **fault)
    assert ended.statuses[rank] == -signal.SIGKILL
    assert ended.statuses[1 - rank] == 1
    assert "Traceback" not in ended.text
    assert_says_that_a_peer_failed(ended, 1 - rank)
    assert clips_of(tmp_path / "runs") == 4


@pytest.mark.parametrize(
    "fault, said",
    [
        (["raised_in_phase", "d_main", 2], "RuntimeError: The phase went wrong."),
        (["killed_in_phase", "d_main", 2], r"Signal 9 \(SIGKILL\)"),
    ],
)
def test_torchrun_ends_what_is_left(heads, tmp_path, fault, said):
    ended = torchrun(tmp_path / "runs", heads, 1, fault)
    assert ended.returncode == 1
    assert len(re.findall(said, ended.stderr)) == 1, ended.stderr
    assert clips_of(tmp_path / "runs") == 2


def test_processes_that_do_not_see_the_same_states_refuse_together(forks, heads, tmp_path):
    runs = tmp_path / "runs"
    assert forks.start(runs, heads, "--kimg=0.002").statuses == [0]
    ended = forks.start(runs, heads, "--kimg=0.004", ranks=2, fault=["states_unseen"], fault_rank=1)
    assert ended.statuses == [2, 2]
    sentence = r"\(training-state-000000.002.pt [0-9a-f]{8}, None\): give an --outdir that all machines share\."
    assert len(re.findall(sentence, ended.text)) == 1
    assert clips_of(runs) == 2
