"""training.checkpoints.snapshots: what a snapshot holds, who can open it, compact ones, and what is refused."""

import re

import pytest
import torch
from click.testing import CliRunner

import checkpoint_tool
from dnnlib.errors import UserError
from tests.helpers import tiny
from torch_utils import checkpoint
from training.checkpoints import snapshots
from training.checkpoints.opener import load_generator, open_snapshot
from training.checkpoints.snapshots import build_networks, compact_snapshot, init_networks

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


def plain(value) -> bool:
    if isinstance(value, dict):
        return all(type(key) in (str, int) and plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(plain, value))
    return value is None or type(value) in (bool, int, float, str, torch.Tensor)


def change(source, dest, edit):
    """A copy of a snapshot with its payload edited."""
    payload = checkpoint.load(source, "snapshot")
    edit(payload)
    checkpoint.save(dest, payload, "snapshot")
    return dest


def test_networks_depend_on_the_seed_alone():
    options = tiny.config()
    state = torch.random.get_rng_state()
    first, same, other = (build_networks(options, seed, CPU) for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator is left alone"
    assert [name for name, _ in first.items()] == ["G", "G_ema", "D_img", "D_vid"]
    for (_, a), (_, b), (_, c) in zip(first.items(), same.items(), other.items(), strict=True):
        pairs = list(zip(a.state_dict().values(), b.state_dict().values(), c.state_dict().values(), strict=True))
        assert all(torch.equal(x, y) for x, y, _ in pairs) and not all(torch.equal(x, z) for x, _, z in pairs)
    assert not any(p.requires_grad for _, module in first.items() for p in module.parameters())
    assert not first.G_ema.training and first.G_ema is not first.G
    half = build_networks(options, 3, CPU, torch.bfloat16)
    assert {module.precision for _, module in half.items()} == {torch.bfloat16} and not half.G_ema.half_backbone


def test_a_snapshot_opens_safely_and_holds_plain_values_only(snapshot):
    content = torch.load(snapshot, weights_only=True)
    assert plain(content) and content["format"] == "pv3d" and content["version"] == 1
    payload = content["payload"]
    assert set(payload) == {"config", "weights", "camera_bank", "progress"}
    assert set(payload["weights"]) == {"G", "G_ema", "D_img", "D_vid"}
    assert payload["camera_bank"].shape == (3, 16, 25) and payload["camera_bank"].dtype == torch.float32
    assert "backbone.mapping.w_avg" in payload["weights"]["G_ema"]


def test_the_averaged_generator_comes_back(snapshot):
    loaded = load_generator(snapshot)
    options = tiny.config()
    expected = tiny.networks(options).G_ema
    assert loaded.config == options and loaded.progress == {"kimg": 2.0} and loaded.camera_bank.shape == (3, 16, 25)
    assert not loaded.G.training and not any(p.requires_grad for p in loaded.G.parameters())
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in loaded.G.state_dict().items())


@pytest.mark.parametrize("dtype, half", [(None, False), (torch.float16, False), (torch.bfloat16, True)])
def test_the_precision_of_sampling_is_the_loader_s(snapshot, dtype, half):
    G = load_generator(snapshot, dtype=dtype).G
    assert (G.precision, G.half_backbone) == (dtype, half)


def test_ablations_come_back(tmp_path):
    ablation = {"discriminator__image": False, "generator__motion_generator": "naive", "generator__motion_weight": True}
    options = tiny.config(**ablation)
    nets = tiny.networks(options)
    snapshots.save_snapshot(tmp_path / "a.pkl", options, nets, torch.zeros(1, 16, 25), {"kimg": 1.0})
    assert load_generator(tmp_path / "a.pkl").config == options
    assert init_networks(build_networks(options, 5, CPU), open_snapshot(tmp_path / "a.pkl")) == 1000


def test_compact_snapshots(snapshot, tmp_path):
    small = tmp_path / "small.pkl"
    compact_snapshot(snapshot, small)
    weights = torch.load(small, weights_only=True)["payload"]["weights"]
    assert set(weights) == {"G_ema", "D_img", "D_vid"}
    assert {value.dtype for module in weights.values() for value in module.values()} == {torch.float16}
    sizes = [
        sum(
            value.nbytes
            for module in torch.load(path, weights_only=True)["payload"]["weights"].values()
            for value in module.values()
        )
        for path in (snapshot, small)
    ]
    assert sizes[1] < 0.4 * sizes[0]
    full, compact = load_generator(snapshot).G, load_generator(small).G
    for name, value in compact.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.allclose(value, full.state_dict()[name], rtol=1e-3, atol=1e-4), name


def test_compact_snapshots_start_training(snapshot, tmp_path):
    compact_snapshot(snapshot, tmp_path / "small.pkl")
    nets = build_networks(tiny.config(), 5, CPU)
    assert init_networks(nets, open_snapshot(tmp_path / "small.pkl")) == 2000
    for a, b in zip(nets.G.parameters(), nets.G_ema.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_cannot_be_made_compact(snapshot, tmp_path):
    def fill(name, value):
        return lambda payload: payload["weights"][name]["mapping.embed.bias"].fill_(value)

    for edit, match in (
        (fill("D_vid", float("inf")), "weights of D_vid in .* not finite"),
        (fill("D_img", 1e5), "weights of D_img in .* too large for half precision"),
        (lambda payload: payload["weights"]["G"].popitem(), "weights of G in .* 1 entries differ"),
    ):
        path = change(snapshot, tmp_path / "a.pkl", edit)
        with pytest.raises(UserError, match=match):
            compact_snapshot(path, tmp_path / "small.pkl")
    assert not (tmp_path / "small.pkl").exists()


def test_a_bad_network_changes_none(snapshot, tmp_path):
    def spoil(payload):
        payload["weights"]["D_vid"]["mapping.embed.bias"].fill_(float("nan"))

    nets, fresh = (build_networks(tiny.config(), 5, CPU) for _ in range(2))
    with pytest.raises(UserError, match="weights of D_vid"):
        init_networks(nets, open_snapshot(change(snapshot, tmp_path / "a.pkl", spoil)))
    for (_, module), (_, other) in zip(nets.items(), fresh.items(), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))
    assert load_generator(tmp_path / "a.pkl").progress == {"kimg": 2.0}, "the generator is of use"


def test_compact_command(snapshot, tmp_path):
    small, other = str(tmp_path / "small.pkl"), str(tmp_path / "other.pkl")
    result = CliRunner().invoke(checkpoint_tool.main, ["compact", str(snapshot), small])
    assert result.exit_code == 0 and load_generator(tmp_path / "small.pkl").progress == {"kimg": 2.0}
    result = CliRunner().invoke(checkpoint_tool.main, ["compact", str(tmp_path / "absent.pkl"), other])
    assert result.exit_code == 2 and "does not exist" in result.stderr and not (tmp_path / "other.pkl").exists()


def test_a_snapshot_without_a_discriminator_leaves_the_fresh_one(snapshot, tmp_path):
    path = change(snapshot, tmp_path / "a.pkl", lambda payload: payload["weights"].pop("D_img"))
    nets, fresh = (build_networks(tiny.config(), 5, CPU) for _ in range(2))
    init_networks(nets, open_snapshot(path))
    assert all(torch.equal(a, b) for a, b in zip(nets.D_img.parameters(), fresh.D_img.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(nets.D_vid.parameters(), fresh.D_vid.parameters(), strict=True))


def unknown_option(payload):
    payload["config"]["generator"]["hue"] = 1


def impossible_option(payload):
    payload["config"]["generator"]["motion_blocks"] = 9


def narrower(payload):
    payload["config"]["generator"]["channel_base"] = 64


@pytest.mark.parametrize(
    "edit, match",
    [
        (lambda payload: payload.pop("camera_bank"), "damaged snapshot: it lacks camera_bank"),
        (lambda payload: payload["weights"].pop("G_ema"), "holds no weights of G_ema"),
        (lambda payload: payload["weights"].update(G_ema=[]), "holds no weights of G_ema"),
        (lambda payload: payload["weights"].update(H={}), "damaged snapshot: its weights are not those of G, G_ema"),
        (lambda payload: payload.update(camera_bank=torch.zeros(1, 16, 24)), r"the shape \[clips, frames, 25\]"),
        (lambda payload: payload["camera_bank"].fill_(float("nan")), "numbers that no camera has"),
        (lambda payload: payload.update(progress={"kimg": "2"}), "progress is not made of numbers"),
        (lambda payload: payload.update(progress={}), "progress lacks the kimg"),
        (
            lambda payload: payload["weights"]["G_ema"]["decoder.net.0.bias"].fill_(float("nan")),
            "weights of G_ema .* hold numbers that are not finite, in decoder.net.0.bias",
        ),
        (lambda payload: payload["weights"]["G_ema"].popitem(), "do not fit this configuration: 1 entries differ"),
        (narrower, "do not fit this configuration"),
        (unknown_option, "does not fit this version: .* does not know: hue"),
        (impossible_option, "does not fit this version: --motion-blocks=9 is out of range"),
    ],
)
def test_broken_snapshots(snapshot, tmp_path, edit, match):
    path = change(snapshot, tmp_path / "a.pkl", edit)
    with pytest.raises(UserError, match=match) as error:
        load_generator(path)
    assert str(path) in str(error.value)


def test_files_that_are_no_snapshots(snapshot, tmp_path):
    text, cut, old, state = (tmp_path / name for name in ("text.pkl", "cut.pkl", "old.pkl", "state.pt"))
    text.write_text("hello")
    cut.write_bytes(snapshot.read_bytes()[:-300])
    torch.save(torch.load(snapshot, weights_only=True) | {"version": 0}, old)
    checkpoint.save(state, {}, "state")
    for path, match in (
        (text, "not a checkpoint"),
        (cut, "damaged"),
        (old, "checkpoint version 0, .* version 1"),
        (state, "is a training state"),
        (tmp_path, "is a folder"),
        (tmp_path / "no", "does not exist"),
    ):
        with pytest.raises(UserError, match=match):
            load_generator(path)


def test_weights_of_another_shape_are_refused(snapshot):
    nets = build_networks(tiny.config(generator__channel_base=64), 0, CPU)
    with pytest.raises(UserError, match=re.escape(f"The weights of G in {snapshot} do not fit")):
        init_networks(nets, open_snapshot(snapshot))
