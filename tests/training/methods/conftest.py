"""Snapshots of methods that others build on."""

from pathlib import Path

import pytest
import torch

from tests.helpers import tiny
from training.checkpoints.opener import open_snapshot
from training.checkpoints.snapshots import save_snapshot


@pytest.fixture(scope="session")
def static(tmp_path_factory) -> Path:
    """A snapshot of method eg3d, whose G is not its G_ema."""
    config = tiny.config(method="eg3d")
    networks = tiny.networks(config)
    for parameter in networks.G_ema.parameters():
        parameter.mul_(1.05)
    networks.G_ema.backbone.mapping.w_avg.copy_(tiny.normal(3, 8))
    path = tmp_path_factory.mktemp("static") / "network-snapshot-000003.000.pkl"
    save_snapshot(path, config, networks, tiny.labels(0, 3, 16), {"kimg": 3.0})
    return path


@pytest.fixture(scope="session")
def moving(tmp_path_factory, static) -> Path:
    """A snapshot whose chain takes large steps."""
    config = tiny.config(method="eg3d-mcghd")
    networks = tiny.networks(config)
    stored = open_snapshot(static).weights["G_ema"]
    for G in (networks.G, networks.G_ema):
        G.load_state_dict({**G.state_dict(), **stored})
        G.chain.components.copy_(torch.eye(8))
        G.chain.deviations.copy_(torch.linspace(3, 1, 8))
        G.chain.step.weight.mul_(100)
    path = tmp_path_factory.mktemp("moving") / "network-snapshot-000000.004.pkl"
    save_snapshot(path, config, networks, tiny.labels(0, 3, 16), {"kimg": 0.004})
    return path
