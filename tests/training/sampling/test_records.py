"""training.sampling.records: which code a clip's record names."""

import shutil

import pytest
import torch

from tests.test_house import Module
from training.sampling import records

CPU = torch.device("cpu")
# Whose effect the options show: the order of a file's cameras, whose checksum is one; cameras that are refused.
IN_THE_OPTIONS = {"training.data.published", "training.camera_checks.views"}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    for room in ("dnnlib", "torch_utils", "training"):
        shutil.copytree(records.ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(records, "ROOT", tmp_path)
    return tmp_path


def test_only_code_that_decides_pixels_makes_files_anew(checkout):
    before = records.software(CPU)
    assert before == records.software(CPU)
    for name in ("training/loss.py", "training/runs/folder.py", "training/data/dataset.py", "dnnlib/progress.py"):
        (checkout / name).write_text("# edited")
        assert records.software(CPU) == before, name
    for name in ("training/networks/layers.py", "training/cameras.py", "torch_utils/ops/launch.cuh", "dnnlib/video.py"):
        (checkout / name).write_text("# edited")
        after = records.software(CPU)
        assert after != before, name
        before = after


def test_the_code_is_there_with_what_it_imports():
    files = set(records.code())
    assert all(any(path.is_relative_to(records.ROOT / name) for path in files) for name in records.CODE)
    own = [Module(records.ROOT, path) for path in files if path.suffix == ".py"]
    names = {module.name for module in own}
    for module in own:
        for name, _ in module.imports():
            if name.startswith(("training.", "torch_utils.")):
                found = {name, name.rpartition(".")[0]}
                assert found & (names | IN_THE_OPTIONS), f"{module.path} imports {name}"
