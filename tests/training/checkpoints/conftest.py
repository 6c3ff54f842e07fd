"""What tests of checkpoints share: a folder that hostile files must leave alone, networks, files of PV3D and EG3D."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers import foreign_files, tiny
from tests.helpers.foreign_files import MARKER
from training.checkpoints.snapshots import Networks


@pytest.fixture
def here(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder of its own, in which nothing may be made by a hostile file."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / MARKER).exists(), "something in the file was run"


@pytest.fixture
def nets() -> Networks:
    """Tiny networks with w_avg and G unlike G_ema."""
    networks = tiny.networks(tiny.config())
    for seed, G in enumerate((networks.G, networks.G_ema)):
        w_avg = G.backbone.mapping.w_avg
        bias = G.decoder.net[0].bias
        w_avg.copy_(tiny.normal(seed, 8))
        bias.data.copy_(tiny.normal(seed + 2, 8))
    return networks


@pytest.fixture
def pv3d(nets, here) -> Callable[..., Path]:
    """Function that writes a checkpoint as PV3D does; entries of its model may be changed."""
    return lambda **changes: foreign_files.pv3d(nets, here / "pv3d.pt", **changes)


@pytest.fixture
def eg3d(nets, here) -> Callable[..., Path]:
    """Function that writes a pickle as EG3D does, from the tiny networks without motion and raw image layers."""
    return lambda **choices: foreign_files.eg3d(nets, here / "eg3d.pkl", **choices)
