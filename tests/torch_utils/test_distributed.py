"""torch_utils.distributed: no-ops when alone, and two processes under torchrun that agree."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from dnnlib.errors import UserError
from dnnlib.files import read_json
from torch_utils import distributed

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> list[dict]:
    """The reports of two processes."""
    folder = tmp_path_factory.mktemp("distributed")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        str(ROOT / "tests" / "helpers" / "distributed_worker.py"),
        str(folder),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return [read_json(folder / f"{rank}.json") for rank in (0, 1)]


def test_ranks(seen):
    ranks = [(s["rank"], s["world"], s["main"], s["device"]) for s in seen]
    assert ranks == [(0, 2, True, "cpu"), (1, 2, False, "cpu")]


def test_average_gradients(seen):
    gradients = seen[0]["gradients"]
    assert gradients == seen[1]["gradients"], "every process holds the same average"
    assert gradients["faults"] == 2
    assert gradients["grads"] == [[1.5, 0.0, 5.0], [1e5] + [1.0] * 95, [1.0, 1e300]]
    assert gradients["dtypes"] == ["torch.float32", "torch.float32", "torch.float64"]
    assert gradients["channels_last"]


def test_sums_that_begin_in_backward_passes_change_no_bit(seen):
    """Of two processes with data of their own: in order, some before the passes' end, all from the second run on."""
    for s in seen:
        assert s["overlapped"]["gradients"] == s["overlapped"]["expected"]
        assert s["overlapped"]["early"] == [0, 3, 3]
    assert seen[0]["overlapped"] == seen[1]["overlapped"]


def test_broadcast_takes_the_main_process(seen):
    expected = [[[0.0, 0.0], [0.0, 0.0]], [7], [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]]
    assert seen[0]["broadcast"] == seen[1]["broadcast"] == expected


def test_statistics_are_summed_over_processes(seen):
    for s in seen:
        loss = s["statistics"]["loss"]
        assert loss["num"] == 4
        assert loss["mean"] == 6.5
        assert loss["std"] == pytest.approx(torch.tensor([1.0, 2, 11, 12]).std(correction=0).item())
        assert s["statistics"]["only_there"] == {"mean": 4.0, "std": 0.0, "num": 1}


def test_gather(seen):
    for s in seen:
        assert s["gather"] == [{"rank": 0}, {"rank": 1}]


def test_the_greatest_of_all_processes(seen):
    assert [s["greatest"] for s in seen] == [[1, 1, 0, 1.1, 0]] * 2


def test_the_main_process_reads_a_fingerprint_for_all(seen):
    main, other = (s["fingerprints"] for s in seen)
    read = "read by 0"
    different = "The processes see different files in data: give a path that all machines share."
    assert main == [read, "UserError The disk is gone.", f"UserError {different}", read]
    assert other == [read, "SystemExit 2", "SystemExit 2", read]


def test_shutdown_ends_the_threads(seen):
    """One that is left may abort the process when Python ends."""
    assert [name for s in seen for name in s["threads"] if "gloo" in name] == []


def test_one_process_s_error_ends_all_and_is_raised_once(seen):
    main, other = (s["failures"] for s in seen)
    assert main == ["UserError The data is gone.", "well"]
    assert other == ["SystemExit 2", "well"]


def test_alone_errors_pass_through():
    with distributed.fail_together():
        pass
    with pytest.raises(UserError, match="gone") as caught, distributed.fail_together():
        raise UserError("The data is gone.") from KeyError("x")
    assert isinstance(caught.value.__cause__, KeyError)


def test_alone_everything_is_a_no_op():
    cpu = torch.device("cpu")
    assert distributed.init(cpu) == cpu
    assert distributed.rank() == 0
    assert distributed.world_size() == 1
    assert distributed.is_main()
    assert distributed.gather("x") == ["x"]
    assert distributed.greatest(True, -0.5) == (True, -0.5)
    distributed.barrier()
    tensor = torch.ones(2)
    distributed.broadcast([tensor])
    distributed.shutdown()
    assert torch.equal(tensor, torch.ones(2))


@pytest.fixture
def environment(monkeypatch) -> Callable[..., None]:
    """Sets the variables of launchers; none is left of the test's own."""
    others = [name for names in distributed.LAUNCHERS.values() for name in names]
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", *others):
        monkeypatch.delenv(name, raising=False)

    def change(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    return change


@pytest.mark.parametrize(
    "values, match",
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two .* not a number"),
        ({"WORLD_SIZE": "2"}, "environment is incomplete .* start with torchrun"),
        ({"WORLD_SIZE": "2", "RANK": "-1"}, "RANK=-1 .* not a number"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost"}, "environment is incomplete .*MASTER_PORT"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK=2 is none of WORLD_SIZE=2 processes"),
        ({"WORLD_SIZE": "1", "RANK": "1"}, "RANK=1 is none of WORLD_SIZE=1 processes"),
        ({"WORLD_SIZE": "0"}, "none of WORLD_SIZE=0"),
        ({"RANK": "1"}, "RANK=1 is in the environment without WORLD_SIZE: start with torchrun, or unset it"),
        (
            {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"},
            r"srun started 2 processes .* torchrun \(examples/slurm.sbatch\)",
        ),
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, "srun started 2 processes"),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}, "mpirun started 4 processes"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "x"}, "incomplete .*'x'"),
    ],
)
def test_broken_environment(environment, values, match):
    environment(**values)
    with pytest.raises(UserError, match=match):
        distributed.init(torch.device("cpu"))


@pytest.mark.parametrize(
    "values",
    [
        {"WORLD_SIZE": 1, "RANK": 0, "SLURM_STEP_NUM_TASKS": 2, "SLURM_PROCID": 1},  # torchrun in each of two tasks
        {"SLURM_STEP_NUM_TASKS": 1, "SLURM_PROCID": 0},
        {"SLURM_NTASKS": 2, "SLURM_PROCID": 0},  # a batch script, itself no step
    ],
)
def test_one_process_of_its_own(environment, values):
    environment(**values)
    assert distributed.init(torch.device("cpu")) == torch.device("cpu") and distributed.world_size() == 1


def test_a_port_that_is_taken(environment):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        environment(RANK=0, WORLD_SIZE=2, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        with pytest.raises(UserError, match=f"MASTER_PORT={port} is taken .* torchrun --master-port"):
            distributed.init(torch.device("cpu"))


def test_processes_that_do_not_come(environment):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    environment(RANK=0, WORLD_SIZE=2, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    with pytest.raises(UserError, match=rf"do not meet at 127.0.0.1:{port} \(Timed out .*1/2 clients joined"):
        distributed.init(torch.device("cpu"), timedelta(seconds=1))


def test_processes_of_a_command_that_do_not_come(tmp_path):
    meeting = distributed.Meeting(rank=0, world=2, path=str(tmp_path / "place"))
    with pytest.raises(UserError, match="The processes of this command do not meet .*: --processes=1 keeps to one."):
        distributed.init(torch.device("cpu"), timedelta(seconds=1), meeting)


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="--nproc_per_node=1"):
        distributed.init(torch.device("cuda"))
    with pytest.raises(UserError, match="use --device=cuda"):
        distributed.init(torch.device("cuda", 0))
