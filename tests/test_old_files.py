"""Files that an earlier version wrote still open, and its runs go on (tests/data/written_by_4471a8b/README.md)."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers import tiny
from torch_utils import checkpoint, random_numbers
from training.checkpoints.opener import load_generator
from training.checkpoints.states import require_sound
from training.data.dataset import ClipDataset
from training.runs.folder import RunFolder
from training.runs.options import RunOptions
from training.runs.resume import open_run
from training.training_loop import Trainer

WRITTEN = Path(__file__).parent / "data" / "written_by_4471a8b"
RUN = WRITTEN / "runs" / "00000-tiny"
SNAPSHOT = RUN / "network-snapshot-000000.004.pkl"
STATE = RUN / "training-state-000000.004.pt"
TOLERANCE = 1e-5  # relative, of sums over all parameters

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_snapshot_is_sampled():
    found = load_generator(SNAPSHOT)
    camera = found.camera_bank[0, :1]
    z = tiny.normal(0, 1, found.config.generator.z_dim)
    z_motion = tiny.normal(1, 1, found.config.generator.z_motion_dim)
    frames = found.G.synthesis(found.G.mapping(z, camera), camera, z_motion, torch.full([1, 1], 0.5))
    assert found.progress == {"kimg": 0.004}
    assert found.G.max_time == 1
    assert frames["image"].shape == (1, 3, 32, 32)
    assert frames["image"].isfinite().all()


def test_the_training_state_is_sound():
    require_sound(checkpoint.load(STATE, "state"), STATE)


def test_the_dataset_is_the_same_one():
    assert ClipDataset(WRITTEN / "heads.zip").names_and_sizes == RunOptions.load(RUN).fingerprint


@pytest.mark.parametrize("resume", ["auto", "latest", "{run}", "{run}/training-state-000000.004.pt"])
def test_the_run_knows_its_dataset_by_its_content_from_now_on(tmp_path, resume):
    run = tmp_path / RUN.name
    shutil.copytree(RUN, run)
    dataset = ClipDataset(WRITTEN / "heads.zip")
    old = RunOptions.load(RUN)
    asked = replace(old, fingerprint=dataset.fingerprint(), names_and_sizes=dataset.names_and_sizes)
    lines = []
    for _ in range(2):
        with open_run(
            tmp_path,
            name="tiny",
            alike="tiny",
            options=asked,
            resume=resume.format(run=run),
            flags={},
            warn=lines.append,
        ) as found:
            assert found.path == run
        assert RunOptions.load(run).fingerprint == dataset.fingerprint() != old.fingerprint
    (line,) = lines
    assert str(run) in line and "names and sizes" in line

    edited = replace(asked, fingerprint="beef")
    assert RunFolder.find(tmp_path, "tiny", edited) is None, "names and sizes count no more"


@pytest.mark.parametrize("is_reordered", [False, True])
def test_a_run_that_has_seen_frames_out_of_order_is_told(tmp_path, is_reordered):
    run = Path(shutil.copytree(RUN, tmp_path / RUN.name))
    old = RunOptions.load(RUN)
    asked = replace(old, fingerprint="beef", names_and_sizes=old.fingerprint, is_reordered=is_reordered)
    lines: list[str] = []
    with open_run(tmp_path, name="tiny", alike="tiny", options=asked, resume="auto", flags={}, warn=lines.append):
        assert RunOptions.load(run).fingerprint == "beef"
    assert ("frame10 before frame2" in lines[0]) == is_reordered


def test_names_and_sizes_do_not_tell_data_of_another_name_apart(tmp_path):
    run = Path(shutil.copytree(RUN, tmp_path / RUN.name))
    old = RunOptions.load(RUN)
    renamed = replace(old, data="other.zip", fingerprint="beef", names_and_sizes=old.fingerprint)
    assert RunFolder.find(tmp_path, "tiny", replace(renamed, data=old.data)) == run
    assert RunFolder.find(tmp_path, "tiny", renamed) is None
    lines: list[str] = []
    start = partial(open_run, tmp_path, name="tiny", alike="tiny", options=renamed, flags={}, warn=lines.append)
    with start(resume="auto") as found:
        assert found.path != run
    assert f"--resume={run} goes on with that one" in lines[0]
    with start(resume=str(run)) as found:
        assert found.path == run


@pytest.fixture
def numbers_of_then(monkeypatch) -> None:
    """Random numbers as 4471a8b drew them: each clip of a batch from a generator of its own, draw after draw."""
    generators: dict[tuple[int, ...], torch.Generator] = {}

    def generator_of(random: random_numbers.Streams, item: int) -> torch.Generator:
        *key, stand_ins = random.key
        own = (*key, random.batch * stand_ins + item)
        if own not in generators:
            seed = int(np.random.SeedSequence(own).generate_state(1, np.uint64)[0]) >> 1
            generators[own] = torch.Generator().manual_seed(seed)
        return generators[own]

    def draw(function, shape, random, **keywords) -> torch.Tensor:
        part = [shape[0] // len(random), *shape[1:]]
        return torch.cat([function(part, generator=generator_of(random, item), **keywords) for item in random.items])

    monkeypatch.setattr(random_numbers, "_draw", draw)


@pytest.mark.usefixtures("numbers_of_then")
def test_the_run_is_found_and_goes_on_as_it_would_have(tmp_path):
    """But for the random numbers, which are others by now (docs/training.md)."""
    shutil.copytree(RUN, tmp_path / RUN.name)
    options = RunOptions.load(RUN)
    longer = replace(options.config, training=replace(options.config.training, kimg=0.008))
    found = RunFolder.find(tmp_path, "tiny", replace(options, config=longer))
    assert found == tmp_path / RUN.name

    dataset = ClipDataset(WRITTEN / "heads.zip")
    with RunFolder(found) as run:
        trainer = Trainer(longer, dataset, run, torch.device("cpu"))
        assert trainer.restore()
        assert trainer.progress.kimg == 0.004
        trainer.train()

    expected = json.loads((WRITTEN / "continued.json").read_text())["sum of absolute parameters"]
    sums = {
        name: sum(parameter.double().abs().sum().item() for parameter in network.parameters())
        for name, network in trainer.networks.items()
    }
    assert sums == pytest.approx(expected, rel=TOLERANCE)
