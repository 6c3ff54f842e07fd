"""Blocks of the networks inside an activation checkpoint: gradients stay as they are."""

import torch

from tests.helpers.recompute import check_gradients
from tests.helpers.tiny import normal, seeded
from training.networks.backbone import SynthesisBlock
from training.networks.discriminators import Epilogue, ResidualBlock


@seeded(0)
def test_a_synthesis_block():
    block = SynthesisBlock(4, 6, w_dim=5, resolution=16, img_channels=3)
    inputs = [tensor.requires_grad_() for tensor in (normal(0, 2, 4, 8, 8), normal(1, 2, 3, 8, 8), normal(2, 2, 3, 5))]
    check_gradients(lambda *args: torch.cat(block(*args), dim=1), inputs, block.parameters())


@seeded(0)
def test_blocks_of_a_discriminator():
    first = ResidualBlock(0, 4, 6, img_channels=3)
    check_gradients(first, [normal(0, 2, 3, 8, 8).requires_grad_()], first.parameters())
    last = Epilogue(6, 4, mbstd_group=2)
    check_gradients(last, [normal(1, 4, 6, 4, 4).requires_grad_()], last.parameters())
