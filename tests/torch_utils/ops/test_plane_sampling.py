import pytest
import torch

from tests import golden
from torch_utils.ops.plane_sampling import sample_planes, sample_planes_mean

AXES = ((0, 1), (0, 2), (2, 0))         # the golden planes' (u, v)


def uv_of(xyz: torch.Tensor, box: float) -> torch.Tensor:
    return torch.stack([xyz[..., list(axes)] for axes in AXES], dim=1) * (2 / box)


def test_matches_golden():
    planes = golden.tensor('rendering', 'planes').requires_grad_()
    xyz = golden.tensor('rendering', 'sample_xyz').requires_grad_()
    out = sample_planes(planes, uv_of(xyz, float(golden.load('rendering')['sample_box_warp'])))
    golden.check('rendering', 'sample_out', out)
    golden.check('rendering', 'sample_out_box_warp2', sample_planes(planes, uv_of(xyz[:, :40], 2)))
    dout = golden.seeded(golden.load('rendering')['sample_dout_seed'], out.shape)
    dplanes, dxyz = torch.autograd.grad(out, [planes, xyz], dout)
    golden.check('rendering', 'sample_dxyz', dxyz)
    golden.check('rendering', 'sample_dplanes_c0', dplanes[:, :, :2])
    flat = dplanes.double().flatten(3)
    stat = torch.stack([flat.mean(-1), flat.std(-1, unbiased=False)], -1)
    golden.check('rendering', 'sample_dplanes_stat', stat)
