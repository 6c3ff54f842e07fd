"""The mapping networks: golden vectors, truncation, the tracked mean, what the outputs depend on."""

import copy

import pytest
import torch

from tests.helpers import golden
from tests.helpers.tiny import normal, seeded
from training.networks.mapping import CameraMapping, MappingNetwork


def mapping_inputs():
    return golden.tensor("generator", "z"), golden.tensor("generator", "camera")


@pytest.mark.parametrize(
    "array, options",
    [
        ("ws", {}),
        ("ws_psi0.7", {"truncation_psi": 0.7}),
        ("ws_psi0.7_cutoff5", {"truncation_psi": 0.7, "truncation_cutoff": 5}),
    ],
)
def test_latents_match_golden(generator, array, options):
    golden.check("generator", array, generator.mapping(*mapping_inputs(), **options))


def test_latents_match_golden_in_float64(scene64):
    golden.check("generator_f64", "ws", scene64.ws[:, 0])
    assert torch.equal(scene64.ws, scene64.ws[:, :1].expand_as(scene64.ws))


def test_tracked_mean_matches_golden(generator):
    mapping = copy.deepcopy(generator.backbone.mapping)
    assert torch.equal(mapping.w_avg, golden.tensor("generator", "w_avg_before"))
    mapping.update_w_avg(mapping(*mapping_inputs()), 0.998)
    golden.check("generator", "w_avg_after_update", mapping.w_avg)


@pytest.fixture
def mapping():
    with seeded(0):
        network = MappingNetwork(z_dim=8, camera_dim=25, w_dim=6, num_ws=5, layers=2).requires_grad_(False)
    network.w_avg.copy_(normal(9, 6))
    return network


def test_truncation_goes_from_the_mean_to_the_latent(mapping):
    z, camera = normal(0, 3, 8), normal(1, 3, 25)
    full, half, none = (mapping(z, camera, truncation_psi=psi) for psi in (1.0, 0.5, 0.0))
    torch.testing.assert_close(none, mapping.w_avg.expand(3, 5, 6))
    torch.testing.assert_close(half, (full + none) / 2)
    cut = mapping(z, camera, truncation_psi=0.5, truncation_cutoff=2)
    assert torch.equal(cut[:, :2], half[:, :2]) and torch.equal(cut[:, 2:], full[:, 2:])
    assert torch.equal(mapping(z, camera, truncation_psi=0.5, truncation_cutoff=0), full)


def test_codes_are_normalised_and_conditions_embedded(mapping):
    z, camera = normal(0, 3, 8), normal(1, 3, 25)
    torch.testing.assert_close(mapping(z * 7, camera), mapping(z, camera))
    assert not torch.allclose(mapping(z, camera * torch.linspace(1, 2, 25)), mapping(z, camera))


def test_samples_do_not_mix(mapping):
    z, camera = normal(0, 3, 8), normal(1, 3, 25)
    torch.testing.assert_close(mapping(z, camera)[1:2], mapping(z[1:2], camera[1:2]))


def test_only_an_update_moves_the_mean(mapping):
    before = mapping.w_avg.clone()
    ws = mapping(normal(0, 3, 8), normal(1, 3, 25))
    assert torch.equal(mapping.w_avg, before)
    mapping.update_w_avg(ws, 0.9)
    torch.testing.assert_close(mapping.w_avg, 0.9 * before + 0.1 * ws[:, 0].mean(dim=0))


def test_naive_motion_is_a_second_embedded_condition():
    with seeded(0):
        network = MappingNetwork(z_dim=8, camera_dim=25, w_dim=6, num_ws=5, layers=2, motion_dim=4)
    z, camera, motion = normal(0, 3, 8), normal(1, 3, 25), normal(2, 3, 5)
    ws = network(z, camera, motion)
    assert ws.shape == (3, 5, 6) and not torch.allclose(ws, network(z, camera, motion.flip(0)))


def test_camera_mapping_needs_no_code():
    with seeded(0):
        network = CameraMapping(50, 6, layers=3)
    assert network(normal(0, 2, 50)).shape == (2, 6)
    assert sorted(dict(network.named_children())) == ["embed", "fc0", "fc1", "fc2"]
