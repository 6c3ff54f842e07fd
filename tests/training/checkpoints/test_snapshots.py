"""training.checkpoints.snapshots: what a snapshot holds, who can open it, compact ones, and what is refused."""

import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import checkpoint_tool
from dnnlib.errors import UserError
from tests.helpers import tiny
from tests.helpers.edits import Edit, drop, fill, put
from torch_utils import checkpoint
from training.checkpoints.opener import load_generator, open_snapshot
from training.checkpoints.snapshots import Networks, build_networks, compact_snapshot, init_networks, save_snapshot

pytestmark = pytest.mark.usefixtures("one_thread")
NAN = float("nan")


def plain(value) -> bool:
    if isinstance(value, dict):
        return all(type(key) in (str, int) and plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(plain, value))
    return value is None or type(value) in (bool, int, float, str, torch.Tensor)


def changed(source: Path, dest: Path, edit: Edit) -> Path:
    """A copy of a snapshot with its payload edited."""
    payload = checkpoint.load(source, "snapshot")
    edit(payload)
    checkpoint.save(dest, payload, "snapshot")
    return dest


def fresh(seed: int = 5, dtype: torch.dtype | None = None, **changes) -> Networks:
    return build_networks(tiny.config(**changes), seed, torch.device("cpu"), dtype)


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# --- Networks ---------------------------------------------------------------------------------------------------------


def test_networks_depend_on_the_seed_alone():
    state = torch.random.get_rng_state()
    first = dict(fresh(3).items())
    again = dict(fresh(3).items())
    other = dict(fresh(4).items())
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator is left alone"
    assert list(first) == ["G", "G_ema", "D_img", "D_vid"]
    for name, module in first.items():
        assert same(module, again[name])
        assert not same(module, other[name])
        assert not any(parameter.requires_grad for parameter in module.parameters())
    assert not first["G_ema"].training
    assert first["G_ema"] is not first["G"]


def test_the_precision_of_training_is_an_argument():
    networks = fresh(dtype=torch.bfloat16)
    assert {module.precision for _, module in networks.items()} == {torch.bfloat16}


@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16])
def test_the_precision_of_sampling_is_an_argument(snapshot, dtype):
    assert load_generator(snapshot, dtype=dtype).G.precision == dtype


# --- What comes back --------------------------------------------------------------------------------------------------


def test_a_snapshot_opens_safely_and_holds_plain_values_only(snapshot):
    content = torch.load(snapshot, weights_only=True)
    assert plain(content)
    assert content["format"] == "pv3d"
    assert content["version"] == 1
    payload = content["payload"]
    assert set(payload) == {"config", "weights", "camera_bank", "progress", "max_time"}
    assert set(payload["weights"]) == {"G", "G_ema", "D_img", "D_vid"}
    bank = payload["camera_bank"]
    assert bank.shape == (3, 16, 25)
    assert bank.dtype == torch.float32
    assert "backbone.mapping.w_avg" in payload["weights"]["G_ema"]


def test_the_averaged_generator_comes_back(snapshot):
    loaded = load_generator(snapshot)
    options = tiny.config()
    assert loaded.config == options
    assert loaded.progress == {"kimg": 2.0}
    assert loaded.notes == ()
    assert loaded.camera_bank.shape == (3, 16, 25)
    assert not loaded.G.training
    assert not any(parameter.requires_grad for parameter in loaded.G.parameters())
    assert same(loaded.G, tiny.networks(options).G_ema)


def test_the_greatest_trained_time_comes_back(tmp_path, snapshot):
    options = tiny.config()
    networks = tiny.networks(options)
    networks.G_ema.max_time = 4 / 15
    path = tmp_path / "a.pkl"
    save_snapshot(path, options, networks, torch.zeros(1, 16, 25), {"kimg": 1.0})
    compact_snapshot(path, tmp_path / "compact.pkl")
    for written in (path, tmp_path / "compact.pkl"):
        assert load_generator(written).G.max_time == 4 / 15
    old = changed(snapshot, tmp_path / "old.pkl", drop("max_time"))
    assert load_generator(old).G.max_time == 1


def test_ablations_come_back(tmp_path):
    ablation = {"discriminator__image": False, "generator__motion_generator": "naive", "generator__motion_weight": True}
    options = tiny.config(**ablation)
    save_snapshot(tmp_path / "a.pkl", options, tiny.networks(options), torch.zeros(1, 16, 25), {"kimg": 1.0})
    assert load_generator(tmp_path / "a.pkl").config == options
    assert init_networks(fresh(**ablation), open_snapshot(tmp_path / "a.pkl")) == 1000


def test_a_bad_network_changes_none(snapshot, tmp_path):
    spoil = fill(NAN, "weights", "D_vid", "mapping.embed.bias")
    path = changed(snapshot, tmp_path / "a.pkl", spoil)
    networks = fresh()
    with pytest.raises(UserError, match="weights of D_vid"):
        init_networks(networks, open_snapshot(path))
    before = dict(fresh().items())
    assert all(same(module, before[name]) for name, module in networks.items())
    assert load_generator(path).progress == {"kimg": 2.0}, "the generator is of use"


def test_a_snapshot_without_a_discriminator_leaves_the_fresh_one(snapshot, tmp_path):
    path = changed(snapshot, tmp_path / "a.pkl", drop("weights", "D_img"))
    networks = fresh()
    init_networks(networks, open_snapshot(path))
    assert same(networks.D_img, fresh().D_img)
    assert not same(networks.D_vid, fresh().D_vid)


# --- Compact ones -----------------------------------------------------------------------------------------------------


def weights_in(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    return torch.load(path, weights_only=True)["payload"]["weights"]


def size_of(path: Path) -> int:
    return sum(value.nbytes for network in weights_in(path).values() for value in network.values())


def test_compact_snapshots(snapshot, tmp_path):
    small = tmp_path / "small.pkl"
    compact_snapshot(snapshot, small)
    weights = weights_in(small)
    assert set(weights) == {"G_ema", "D_img", "D_vid"}
    assert {value.dtype for network in weights.values() for value in network.values()} == {torch.float16}
    assert size_of(small) < 0.4 * size_of(snapshot)
    full = load_generator(snapshot).G.state_dict()
    for name, value in load_generator(small).G.state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, full[name], rtol=1e-3, atol=1e-4)


def test_compact_snapshots_start_training(snapshot, tmp_path):
    compact_snapshot(snapshot, tmp_path / "small.pkl")
    networks = fresh()
    assert init_networks(networks, open_snapshot(tmp_path / "small.pkl")) == 2000
    assert same(networks.G, networks.G_ema)


@pytest.mark.parametrize(
    "edit, match",
    [
        (fill(float("inf"), "weights", "D_vid", "mapping.embed.bias"), "weights of D_vid in .* not finite"),
        (fill(1e5, "weights", "D_img", "mapping.embed.bias"), "weights of D_img in .* too large for half precision"),
        (drop("weights", "G", "decoder.net.0.bias"), "weights of G in .* 1 entries differ"),
    ],
)
def test_what_cannot_be_made_compact(snapshot, tmp_path, edit, match):
    path = changed(snapshot, tmp_path / "a.pkl", edit)
    with pytest.raises(UserError, match=match):
        compact_snapshot(path, tmp_path / "small.pkl")
    assert not (tmp_path / "small.pkl").exists()


def test_compact_command(snapshot, tmp_path):
    small = tmp_path / "small.pkl"
    done = CliRunner().invoke(checkpoint_tool.main, ["compact", str(snapshot), str(small)])
    assert done.exit_code == 0
    assert load_generator(small).progress == {"kimg": 2.0}
    other = tmp_path / "other.pkl"
    done = CliRunner().invoke(checkpoint_tool.main, ["compact", str(tmp_path / "absent.pkl"), str(other)])
    assert done.exit_code == 2
    assert "does not exist" in done.stderr
    assert not other.exists()


# --- What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "edit, match",
    [
        (drop("camera_bank"), "damaged snapshot: it lacks camera_bank"),
        (drop("weights", "G_ema"), "holds no weights of G_ema"),
        (put([], "weights", "G_ema"), "holds no weights of G_ema"),
        (put({}, "weights", "H"), "damaged snapshot: its weights are not those of G, G_ema"),
        (put(torch.zeros(1, 16, 24), "camera_bank"), r"the shape \[clips, frames, 25\]"),
        (fill(NAN, "camera_bank"), "numbers that no camera has"),
        (put("2", "progress", "kimg"), "progress is not made of numbers"),
        (drop("progress", "kimg"), "progress lacks the kimg"),
        (put(-1, "progress", "stream_kimg"), "stream_kimg is negative"),
        (fill(NAN, "weights", "G_ema", "decoder.net.0.bias"), "of G_ema .* not finite, in decoder.net.0.bias"),
        (drop("weights", "G_ema", "decoder.net.0.bias"), "do not fit this configuration: 1 entries differ"),
        (put(64, "config", "generator", "channel_base"), "do not fit this configuration"),
        (put(1, "config", "generator", "hue"), "does not fit this version: .* does not know: hue"),
        (
            put(9, "config", "generator", "motion_blocks"),
            "does not fit this version: --motion-blocks=9 is out of range",
        ),
    ],
)
def test_broken_snapshots(snapshot, tmp_path, edit, match):
    path = changed(snapshot, tmp_path / "a.pkl", edit)
    with pytest.raises(UserError, match=match) as error:
        load_generator(path)
    assert str(path) in str(error.value)


def refused(path: Path, match: str) -> None:
    with pytest.raises(UserError, match=match):
        load_generator(path)


def test_files_that_are_no_snapshots(snapshot, tmp_path):
    path = tmp_path / "a.pkl"
    path.write_text("hello")
    refused(path, "not a checkpoint")
    path.write_bytes(snapshot.read_bytes()[:-300])
    refused(path, "damaged")
    content = torch.load(snapshot, weights_only=True)
    torch.save(content | {"version": 0}, path)
    refused(path, "checkpoint version 0, .* version 1")
    checkpoint.save(path, {}, "state")
    refused(path, "is a training state")
    refused(tmp_path, "is a folder")
    refused(tmp_path / "no", "does not exist")


def test_weights_of_another_shape_are_refused(snapshot):
    narrow = fresh(generator__channel_base=64)
    with pytest.raises(UserError, match=re.escape(f"The weights of G in {snapshot} do not fit")):
        init_networks(narrow, open_snapshot(snapshot))
