"""benchmarks/study_costs.py: parameters and FLOPs of a generator, once a run."""

from pathlib import Path

import pytest
import torch

from benchmarks import study_costs
from benchmarks.study_costs import cost_of, known_cost
from tests.helpers import tiny
from training.checkpoints.snapshots import save_snapshot


def saved(path: Path, **changes: object) -> Path:
    """Write the snapshot of a tiny model; return its path."""
    config = tiny.config(**changes)
    save_snapshot(path, config, tiny.networks(config), torch.zeros(0, 16, 25), {"kimg": 0.0})
    return path


def test_parameters_and_flops_of_a_frame(tmp_path):
    G = tiny.generator()
    cost = cost_of(saved(tmp_path / "a.pkl"))
    assert cost.parameters == sum(parameter.numel() for parameter in G.parameters())
    rays = G.config.rendering.resolution
    double = cost_of(saved(tmp_path / "b.pkl", generator__rendering__resolution=2 * rays))
    first, last = (layer.weight for layer in (G.decoder.net[0], G.decoder.net[-1]))
    samples = G.config.rendering.depth_samples + G.config.rendering.importance_samples
    decoder = 2 * samples * (first.numel() + last.numel())  # of one ray
    assert double.parameters == cost.parameters
    more = double.flops - cost.flops
    assert more >= 3 * rays**2 * decoder, "four times the rays, and what super-resolution has to do with them"
    static = cost_of(saved(tmp_path / "c.pkl", method="eg3d"))
    assert static.parameters < cost.parameters and static.flops < cost.flops


def test_a_run_keeps_its_cost(tmp_path, monkeypatch):
    snapshot = saved(tmp_path / "a.pkl")
    first = known_cost(tmp_path, snapshot)
    monkeypatch.setattr(study_costs, "cost_of", lambda path: pytest.fail("it is known"))
    assert first is not None and known_cost(tmp_path, snapshot) == first


def test_snapshots_of_other_software_have_none(tmp_path):
    (tmp_path / "a.pkl").write_text("of another checkout")
    assert known_cost(tmp_path, tmp_path / "a.pkl") is None and not (tmp_path / study_costs.COST).exists()
