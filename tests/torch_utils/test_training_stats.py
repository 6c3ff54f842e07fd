"""torch_utils.training_stats on one process (several: test_distributed.py)."""

import math

import pytest
import torch

from torch_utils.training_stats import Collector


def test_mean_and_spread_over_reports():
    collector = Collector()
    values = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    for row in values:
        collector.report("x", row)
    collector.report("y", 2)
    collector.report("y", torch.tensor(4.0, requires_grad=True))
    stats = collector.collect()
    assert list(stats) == ["x", "y"]
    assert stats["x"]["num"] == 21 and stats["x"]["mean"] == pytest.approx(values.double().mean().item())
    assert stats["x"]["std"] == pytest.approx(values.double().std(correction=0).item())
    assert stats["y"] == {"mean": 3.0, "std": 1.0, "num": 2}


def test_collect_starts_afresh():
    collector = Collector()
    collector.report("x", 1.0)
    collector.collect()
    assert collector.collect() == {}


def test_odd_values():
    collector = Collector()
    collector.report("none", torch.zeros(0))
    collector.report("nan", torch.tensor([1.0, float("nan")]))
    collector.report("equal", torch.full((1000,), 0.1))
    collector.report("whole", torch.tensor([1, 2]))
    stats = collector.collect()
    assert "none" not in stats and math.isnan(stats["nan"]["mean"]) and math.isnan(stats["nan"]["std"])
    assert stats["equal"]["std"] == pytest.approx(0, abs=1e-8)
    assert stats["whole"]["mean"] == 1.5
