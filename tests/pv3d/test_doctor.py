"""`pv3d doctor`: what it finds, in words and as JSON, and its exit status where something is broken."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dnnlib import video
from dnnlib.errors import UserError
from pv3d.actions import doctor
from pv3d.doctor import main
from tests.helpers.imports import ROOT
from torch_utils import doctor as machine
from torch_utils import kernel_builder

HEADINGS = ["PV3D", "Environment", "Python", "Videos", "Machine", "Tools", "CUDA ops", "Extras", "Cache"]


@pytest.fixture(autouse=True)
def sound(monkeypatch, tmp_path):
    """A machine on which everything is usable, whatever this one is."""
    monkeypatch.setenv("PV3D_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(doctor, "imported", lambda module: None)
    monkeypatch.setattr(doctor, "is_there", lambda module: True)
    monkeypatch.setattr(video, "require_ffmpeg", lambda: None)
    monkeypatch.setattr(machine, "examined_ops", lambda build: dict.fromkeys(kernel_builder.OPS, ("ok", None)))
    monkeypatch.setattr(machine, "unusable_gpu", lambda: None)


def examine(*arguments: str, status: int = 0) -> Result:
    """Run the doctor to its expected end."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == status, result.output
    return result


def faults() -> list[str]:
    """Return the sentences about what is broken, of which there are some."""
    as_json = json.loads(examine("--json", status=1).stdout)
    assert not as_json["usable"]
    said = examine(status=1).stdout.partition("Broken:\n")[2].splitlines()
    assert [line.strip() for line in said] == as_json["faults"]
    return as_json["faults"]


def test_everything_that_matters_is_there():
    found = json.loads(examine("--json").stdout)
    assert found["usable"] and found["faults"] == [] and list(found["facts"]) == HEADINGS
    facts = found["facts"]
    assert facts["PV3D"]["folder"] == str(ROOT) and facts["PV3D"]["modules"] == "its own"
    assert facts["PV3D"]["model heads"].endswith("heads.pkl")
    assert set(doctor.PACKAGES) | {"python"} == set(facts["Python"])
    assert {"CPU", "features", "threads", "auto on the CPU"} <= set(facts["Machine"])
    assert facts["Machine"]["auto on the CPU"] in ("fp32", "bf16")
    assert set(facts["Tools"]) == {"nvcc", "C++ compiler", "ninja"}
    assert set(facts["CUDA ops"]) == set(kernel_builder.OPS)
    assert set(doctor.EXTRAS) <= set(facts["Extras"])
    assert facts["Environment"]["PV3D_CACHE_DIR"] == facts["Cache"]["folder"]


def test_words_say_what_json_says():
    facts = json.loads(examine("--json").stdout)["facts"]
    lines = examine().stdout.splitlines()
    for heading, answers in facts.items():
        start = lines.index(f"{heading}:")
        for line, (name, answer) in zip(lines[start + 1 :], answers.items(), strict=False):
            assert line == f"  {name:<16} {answer}" or heading == "Cache"  # whose free space changes
    assert lines[-1] == "All is usable."


def test_the_cache_is_measured(tmp_path):
    (tmp_path / "cache" / "ops").mkdir(parents=True)
    (tmp_path / "cache" / "ops" / "a.so").write_bytes(bytes(2**20))
    facts = json.loads(examine("--json").stdout)["facts"]
    assert facts["Cache"]["size"].startswith("1.0 MiB, ")


# --- What is broken --------------------------------------------------------------------------------------------------


def test_a_package_that_does_not_import(monkeypatch):
    monkeypatch.setattr(doctor, "imported", lambda module: "OSError: no libpng" if module == "pyspng" else None)
    (fault,) = faults()
    assert fault == "pyspng does not import (OSError: no libpng): `pip install --force-reinstall pyspng`."


def test_an_extra_that_does_not_import_is_broken_one_that_is_missing_is_not(monkeypatch):
    monkeypatch.setattr(doctor, "imported", lambda module: "ImportError: libGL" if module == "cv2" else None)
    (fault,) = faults()
    assert "opencv-python-headless does not import (ImportError: libGL)" in fault
    monkeypatch.setattr(doctor, "is_there", lambda module: False)
    extras = json.loads(examine("--json").stdout)["facts"]["Extras"]
    assert extras["mesh"].startswith("missing (scikit-image, trimesh): `pip install scikit-image trimesh`; for meshes")


def test_ffmpeg(monkeypatch):
    def refuse():
        raise UserError("ffmpeg cannot be used: reinstall imageio-ffmpeg.")

    monkeypatch.setattr(video, "require_ffmpeg", refuse)
    assert faults() == ["ffmpeg cannot be used: reinstall imageio-ffmpeg."]


def test_an_op(monkeypatch):
    monkeypatch.setattr(machine, "examined_ops", lambda build: {"bias_act": ("failed", "The compiler is too new.")})
    assert faults() == ["The compiler is too new."]


def test_a_gpu_that_torch_cannot_use(monkeypatch):
    monkeypatch.setattr(machine, "unusable_gpu", lambda: "There is an NVIDIA H100.")
    assert faults() == ["There is an NVIDIA H100."]


def test_a_shipped_model_that_is_gone(monkeypatch, tmp_path):
    monkeypatch.setitem(doctor.SHIPPED, "heads", tmp_path / "heads.pkl")
    assert faults() == [f"The shipped model {tmp_path / 'heads.pkl'} is missing: install PV3D anew."]


def test_a_cache_that_cannot_be_written_to(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert faults() == [f"{tmp_path} cannot be written to: name another cache folder in PV3D_CACHE_DIR."]


def test_modules_of_others(monkeypatch):
    monkeypatch.setattr(doctor.shadowing, "fault", lambda names: "The module metrics of /a hides ours.")
    assert faults() == ["The module metrics of /a hides ours."]


def test_a_torch_that_does_not_import(tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libcudart.so.12: cannot open')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    line = [sys.executable, "-m", "pv3d", "doctor", "--json"]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    said = "torch does not import (ImportError: libcudart.so.12: cannot open)"
    assert any(said in fault for fault in found["faults"])
    assert list(found["facts"]) == [heading for heading in HEADINGS if heading not in ("Machine", "Tools", "CUDA ops")]


# --- Its tables ------------------------------------------------------------------------------------------------------


def test_its_packages_are_those_of_the_project():
    text = Path(ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = text[text.index("\ndependencies = [") : text.index("\n[project.optional-dependencies]")]
    assert re.findall(r'^    "([\w-]+)', needed, re.MULTILINE) == list(doctor.PACKAGES)
    optional = text[text.index("[project.optional-dependencies]") : text.index("\n[tool.setuptools]")]
    extras = dict(re.findall(r"^(\w+) = \[(.*)\]$", optional, re.MULTILINE))
    del extras["test"], extras["dev"]
    packages = {name: re.findall(r'"([\w-]+)[>=]', listed) for name, listed in extras.items()}
    assert packages == {name: list(there) for name, there in doctor.EXTRAS.items()}
    assert set(doctor.PURPOSES) == set(doctor.EXTRAS)
