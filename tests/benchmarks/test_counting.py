"""What benchmarks/counting.py counts, against closed forms; and the roofline of the paper's configuration."""

import json
import re

import pytest
import torch
from click.testing import CliRunner
from torch.utils.checkpoint import checkpoint

from benchmarks import roofline
from benchmarks.counting import OUTSIDE, Counting, Rates, Tally, labelled
from benchmarks.meta_gpu import META
from training.config import preset

RATES = Rates(name="unit", full=1e3, tf32=1e4, half=1e6, memory=10.0)


def empty(*shape: int, grad: bool = False, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, device=META, dtype=dtype, requires_grad=grad)


def total(counting: Counting) -> Tally:
    summed = Tally()
    for tally in counting.tallies.values():
        summed.add(tally)
    return summed


def test_a_product_counts_its_multiply_adds_and_moves_its_matrices_once():
    with Counting(RATES) as counting:
        empty(3, 5) @ empty(5, 7)
    found = total(counting)
    assert found.flops == {"float32": 2 * 3 * 5 * 7}
    assert found.bytes == 4 * (15 + 35 + 21) and found.launches == 1
    assert found.seconds == max(210 / 1e3, found.bytes / 10)


def test_half_precision_has_its_own_rate():
    fast = Rates(name="fast memory", full=1e3, tf32=1e4, half=1e6, memory=1e18)
    with Counting(fast) as counting:
        empty(3, 5, dtype=torch.float16) @ empty(5, 7, dtype=torch.float16)
    assert total(counting).seconds == pytest.approx(210 / 1e6)


def test_views_are_free_and_fills_only_write():
    with Counting(RATES) as counting:
        empty(4, 6).t().reshape(3, 8)[1:].expand(2, 2, 8)  # the reshape copies
    assert total(counting).launches == 1
    with Counting(RATES) as counting:
        torch.zeros(5, device=META)
    assert (total(counting).bytes, total(counting).launches) == (20, 1)


def test_what_is_expanded_is_read_once():
    with Counting(RATES) as counting:
        empty(1, 8).expand(100, 8) + empty(100, 8)
    assert total(counting).bytes == 4 * (8 + 800 + 800)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("transposed", [False, True])
def test_both_gradients_of_a_convolution_cost_as_much_as_it_does(groups, transposed):
    """Grouped, too, where PyTorch's own formula counts many times too many."""
    x = empty(2, 8, 10, 10, grad=True)
    weight = empty(8, 8 // groups, 3, 3, grad=True)
    convolve = torch.nn.functional.conv_transpose2d if transposed else torch.nn.functional.conv2d
    with Counting(RATES) as forward:
        y = convolve(x, weight, groups=groups)
    places = x.numel() if transposed else y.numel()
    once = 2 * places * (8 // groups) * 9
    if groups == 1 or not transposed:  # of the others PyTorch's forward formula is wrong as well
        assert sum(total(forward).flops.values()) == once
    with Counting(RATES) as backward:
        torch.autograd.grad(y, [x, weight], torch.empty_like(y))
    assert sum(total(backward).flops.values()) == 2 * once
    assert backward.operations["convolution_backward"].launches == 2


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_convolutions_keep_the_memory_format_of_their_image(memory_format):
    x = empty(2, 8, 10, 10).contiguous(memory_format=memory_format).requires_grad_()
    weight = empty(6, 8, 1, 1, grad=True)
    with Counting(RATES):
        y = torch.nn.functional.conv2d(x, weight)
        dx, dweight = torch.autograd.grad(y, [x, weight], torch.empty_like(y))
    assert y.is_contiguous(memory_format=memory_format) and dx.is_contiguous(memory_format=memory_format)
    assert dweight.shape == weight.shape


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(empty(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


def test_gradients_belong_to_the_component_that_they_are_of():
    model = Model()
    counting = Counting(RATES)
    with labelled(counting, {(Model, "forward"): "model"}), counting, counting.saving():
        y = model(empty(2, 4, grad=True)) * empty(2, 4)
        y.sum().backward()
    product = 2 * 2 * 4 * 4
    assert sum(counting.tallies["model"].flops.values()) == 3 * product  # forward, and two gradients
    assert sum(counting.tallies[OUTSIDE].flops.values()) == 0 and counting.tallies[OUTSIDE].launches > 0
    assert counting.saved["model"] == 4 * 8  # the input; the weight is there anyway
    assert Model.forward.__name__ == "forward"


def test_what_a_checkpoint_computes_anew_belongs_to_the_component_that_it_is():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(empty(4, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(x, self.weight)

    model = Model()
    counting = Counting(RATES)
    with labelled(counting, {(Model, "forward"): "model"}), counting:
        checkpoint(lambda x: model(model(x)), empty(2, 4, grad=True), use_reentrant=False).sum().backward()
    product = 2 * 2 * 4 * 4
    # Two forwards; the first again, whose result is kept for the second one's gradients; two gradients of each.
    assert sum(counting.tallies["model"].flops.values()) == 7 * product
    assert sum(counting.tallies[OUTSIDE].flops.values()) == 0


def test_waits_are_named_by_the_line_of_the_project():
    with Counting(RATES) as counting:
        if empty(1).sum().item() > 0:
            pass
        torch.tensor([1.0, 2.0]).to(META)
        torch.tensor([1.0, 2.0]).to(META, non_blocking=True)  # as of pinned memory
        torch.tensor(3.0).item()  # on the host
    assert sum(counting.waits.values()) == 2
    assert any(
        place.startswith("_local_scalar_dense at tests/benchmarks/test_counting.py:") for place in counting.waits
    )


def test_the_roofline_prints_every_component(tmp_path):
    out = tmp_path / "counts.json"
    result = CliRunner().invoke(roofline.main, ["--cfg=demo", "--clips=4", "--precision=bf16", f"--out={out}"])
    assert result.exit_code == 0, result.output
    counts = json.loads(out.read_text())
    assert {"backbone 64", "D_img 64", "decoder", "plane sampling", "averaging"} <= counts.keys()
    for phase in ("g_main", "g_reg", "d_main", "d_reg"):
        assert f"\n{phase}: " in result.output
    found = result.output.partition("between the phases: ")[2].splitlines()
    assert found[0] == "1 host waits an iteration"
    assert re.fullmatch(r" +1 all_reduce among hosts at training/data/feed.py:\d+", found[1]) and len(found) == 2


def test_the_roofline_of_a_chain_counts_each_of_its_updates(tmp_path):
    out = tmp_path / "counts.json"
    options = ["--cfg=demo", "--method=eg3d-mcghd", "--clips=2", "--precision=fp32", f"--out={out}"]
    result = CliRunner().invoke(roofline.main, options)
    assert result.exit_code == 0, result.output
    assert "An iteration has 5 of g_main." in result.output and "anew" not in result.output
    counts = json.loads(out.read_text())
    config = preset("demo", "eg3d-mcghd")
    hidden, w, steps = config.generator.motion_hidden, config.generator.w_dim, config.training.frames - 1
    cell = 4 * hidden * (w + hidden)
    forwards = (1 + steps) * cell + steps * (hidden**2 + hidden * w + 2 * hidden * w + w**2)
    # Forwards in all six phases; gradients of weights and inputs in the five that train it, but of the components,
    # which are no weights, and of what begins a clip, which are no inputs of anything that is trained.
    no_weights = steps * hidden * w
    no_inputs = (1 + steps) * 4 * hidden * w + 4 * hidden**2
    assert counts["chain of latents"]["flops"]["float32"] == 2 * 2 * (
        6 * forwards + 5 * (2 * forwards - no_weights - no_inputs)
    )


def test_frames_that_are_made_anew_keep_as_much_of_each_clip():
    config = preset("voxceleb", "eg3d-mcghd")
    rates = roofline.rates_in("bf16", "h200")
    kept = []
    for clips in (2, 4, 6):
        part = roofline.count_part(config, clips, torch.bfloat16, rates)
        assert part is not None and part[1] == 1
        kept.append(sum(part[0].saved.values()))
    each = (kept[1] - kept[0]) / 2
    assert kept[2] - kept[1] == pytest.approx(2 * each, rel=1e-3)
    assert 0 <= kept[0] - 2 * each < 31e6 * 4  # and the weights in bfloat16, of 31 million parameters, some twice
    assert roofline.count_part(preset("voxceleb"), 1, None, rates) is None


@pytest.mark.slow
def test_the_paper_s_configuration(tmp_path):
    """No phase has the host wait; what an iteration asks for does not grow unseen."""
    out = tmp_path / "counts.json"
    result = CliRunner().invoke(roofline.main, ["--cfg=voxceleb", "--precision=fp16", f"--out={out}"])
    assert result.exit_code == 0 and result.output.count(" 0 host waits") == 4, result.output
    tallies = json.loads(out.read_text()).values()
    flops = sum(sum(tally["flops"].values()) for tally in tallies)
    launches = sum(tally["launches"] for tally in tallies)
    assert flops == pytest.approx(90e12, rel=0.05)
    assert launches < 17_300 and sum(tally["seconds"] for tally in tallies) < 0.61
