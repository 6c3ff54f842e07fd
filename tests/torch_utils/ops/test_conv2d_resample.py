import pytest
import torch

from tests import golden
from torch_utils.ops.conv2d_resample import conv2d_resample

CASES = golden.cases('ops', 'conv2d_resample_')


@pytest.mark.parametrize('case', CASES)
def test_matches_golden(case):
    options = golden.config('ops', case)
    f = golden.tensor('ops', f'{case}_f') if options.pop('f', None) else None
    x = golden.tensor('ops', f'{case}_x').requires_grad_()
    w = golden.tensor('ops', f'{case}_w').requires_grad_()
    y = conv2d_resample(x, w, f, **options)
    golden.check('ops', f'{case}_y', y)
    dx, dw = torch.autograd.grad(y, [x, w], golden.tensor('ops', f'{case}_dy'))
    golden.check('ops', f'{case}_dx', dx)
    golden.check('ops', f'{case}_dw', dw)
