"""torch_utils.training_stats on one process (several: test_distributed.py)."""

import math

import pytest
import torch

from torch_utils.training_stats import Collector


@pytest.fixture
def collector() -> Collector:
    return Collector()


def test_mean_and_spread_over_reports(collector):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(7, 3, generator=generator)
    for row in values:
        collector.report({"x": row})
    collector.report({"y": 2})
    collector.report({"y": torch.tensor(4.0, requires_grad=True)})
    stats = collector.collect()
    assert list(stats) == ["x", "y"]
    expected_mean = values.double().mean().item()
    expected_std = values.double().std(correction=0).item()
    x = stats["x"]
    assert x["num"] == 21
    assert x["mean"] == pytest.approx(expected_mean)
    assert x["std"] == pytest.approx(expected_std)
    assert stats["y"] == {"mean": 3.0, "std": 1.0, "num": 2}


def test_several_at_once_of_any_shape_and_type(collector):
    """As one report each; what is reported may change afterwards."""
    logits = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    faults = torch.tensor(2**40 + 1)
    for _ in range(2):
        collector.report({"loss": torch.tensor(5.0), "logits": logits, "seconds": 0.5})
        collector.report({"faults": faults, "seconds": 1.5})
    logits.zero_()
    faults.zero_()
    stats = collector.collect()
    assert stats["loss"] == {"mean": 5.0, "std": 0.0, "num": 2}
    assert (stats["logits"]["mean"], stats["logits"]["num"]) == (3.0, 8)
    assert stats["seconds"] == {"mean": 1.0, "std": 0.5, "num": 4}
    assert stats["faults"]["mean"] == 2**40 + 1, "whole numbers stay whole"


def test_collect_starts_afresh(collector):
    collector.report({"x": 1.0})
    collector.collect()
    assert collector.collect() == {}


def test_no_elements_are_no_statistics(collector):
    collector.report({"none": torch.zeros(0)})
    assert collector.collect() == {}


def test_nan_stays_visible(collector):
    collector.report({"nan": torch.tensor([1.0, float("nan")])})
    nan = collector.collect()["nan"]
    assert math.isnan(nan["mean"])
    assert math.isnan(nan["std"])


def test_equal_and_whole_numbers(collector):
    collector.report({"equal": torch.full((1000,), 0.1)})
    collector.report({"whole": torch.tensor([1, 2])})
    stats = collector.collect()
    assert stats["equal"]["std"] == pytest.approx(0, abs=1e-8)
    assert stats["whole"]["mean"] == 1.5
