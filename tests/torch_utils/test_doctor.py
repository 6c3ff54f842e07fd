"""The doctor's report and exit status, with and without a GPU."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner, Result

from torch_utils import custom_ops, doctor, kernel_builder
from torch_utils.kernel_builder import BuildProblem


def examine(*arguments: str, status: int = 0) -> Result:
    """Run the doctor in this process, to its expected end."""
    result = CliRunner().invoke(doctor.main, arguments)
    assert result.exit_code == status, result.output
    return result


@pytest.fixture
def gpu(monkeypatch):
    """A machine with one GPU, as far as the doctor asks."""
    properties = SimpleNamespace(name="Test GPU", major=9, minor=0, total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: properties)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda i: (9, 0))


def test_runs_as_a_module_and_names_what_matters(tmp_path):
    environment = os.environ | {"PV3D_CACHE_DIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(
        [sys.executable, "-m", "torch_utils.doctor", "--no-build"], env=environment, text=True, capture_output=True
    )
    assert run.returncode == 0, run.stderr
    for text in (
        "python",
        f"torch                {torch.__version__}",
        "torch CUDA",
        "GPU",
        "nvcc",
        "C++ compiler",
        "ninja",
        f"cache                {tmp_path}",
        "writable",
        "PV3D_BUILD_TIMEOUT",
        "plain PyTorch",
    ):
        assert text in run.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_gpu_nothing_is_needed(monkeypatch):
    monkeypatch.setattr(kernel_builder, "find_nvcc", lambda: None)
    assert examine().stdout.count("not needed here") == len(kernel_builder.OPS)


def test_failing_op_gives_reason_fix_and_status(gpu, monkeypatch):
    def load(name, device):
        raise BuildProblem("The compiler is too new.", "Take an older one.")

    monkeypatch.setattr(custom_ops, "load_library", load)
    out = examine(status=1).stdout
    assert "Test GPU, sm_90, 80.0 GiB" in out
    assert out.count("FAILED: The compiler is too new. Take an older one.") == len(kernel_builder.OPS)


def test_working_ops_are_reported(gpu, monkeypatch):
    monkeypatch.setattr(doctor, "try_on_gpu", lambda name: "ok")
    out = examine().stdout
    assert all(f"{name:<20} ok" in out for name in kernel_builder.OPS)


NVIDIA_SMI = """#!/bin/sh
case "$1" in *name*) echo "NVIDIA H100" ;; *) echo "525.60" ;; esac
exit $STATUS
"""


@pytest.mark.parametrize(
    "cuda, variables, expected",
    [
        (None, {}, "There is an NVIDIA H100, but torch .* is built for CPUs only"),
        (
            "13.0",
            {},
            ".* H100, but .* a driver newer than 525.60, or a torch for an older CUDA than 13.0",
        ),
        (None, {"STATUS": "9"}, None),
        (None, {"CUDA_VISIBLE_DEVICES": ""}, None),
    ],
    ids=["build for CPUs", "old driver", "driver that fails", "hidden"],
)
def test_a_gpu_that_torch_cannot_use(monkeypatch, tmp_path, cuda, variables, expected):
    (tmp_path / "nvidia-smi").write_text(NVIDIA_SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, value in {"STATUS": "0", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    found = doctor.unusable_gpu()
    if expected is None:
        assert found is None
    else:
        assert re.match(expected, found)


@pytest.mark.parametrize("build", [True, False])
def test_ops_are_examined_as_they_are_used(gpu, monkeypatch, tmp_path, build):
    monkeypatch.setenv("PV3D_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(kernel_builder, "architectures", lambda: ("90",))
    library = kernel_builder.library_folder(("90",)) / "bias_act.so"
    library.parent.mkdir(parents=True)
    library.touch()

    def load(name, device):
        raise BuildProblem("The compiler is too new.", "Take an older one.")

    monkeypatch.setattr(custom_ops, "load_library", load)
    found = doctor.examined_ops(build)
    if build:
        assert set(found.values()) == {("failed", "The compiler is too new. Take an older one.")}
    else:
        assert found["bias_act"] == (f"built ({library})", None) and found["upfirdn2d"] == ("not built yet", None)


def test_without_a_gpu_no_op_is_examined(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(kernel_builder, "compile_library", lambda *_: pytest.fail("it tried to build"))
    assert all(
        answer.startswith("not needed") and fault is None for answer, fault in doctor.examined_ops(True).values()
    )


def test_no_build_compiles_nothing(gpu, monkeypatch):
    monkeypatch.setattr(doctor, "report", lambda *_: pytest.fail("it tried to build"))
    examine("--no-build")


def test_unwritable_cache_is_shown(monkeypatch, tmp_path):
    monkeypatch.setenv("PV3D_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert f"NOT WRITABLE: {tmp_path}; set PV3D_CACHE_DIR" in examine("--no-build").stdout
