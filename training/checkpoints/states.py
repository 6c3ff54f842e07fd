"""Whether a training state is whole, finite, and of the networks that are to go on from it.

A state is {networks: {name: weights}, optimizers: {name: Adam's state_dict}, progress: {clips, iteration, ...}, health:
{best, troubles}, max_time: greatest time of fakes}; older ones have no health, or no max_time (then it was 1).
"""

import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from dnnlib.errors import UserError
from torch_utils.pickles.dtypes import dtype_name
from torch_utils.pickles.reader import is_finite
from training.checkpoints.snapshots import Networks, is_time

PARTS = ("networks", "optimizers", "progress")
HEALTH_PARTS = {"best", "troubles"}
# The counts of a state's progress: what one is where the state lacks it; None: it must have it.
COUNTERS = {
    "clips": None,
    "iteration": None,
    "inherited": 0,
    "stream_start": 0,
}
MOMENTS = {"step", "exp_avg", "exp_avg_sq"}  # what Adam keeps for each parameter

Problems = Iterator[str]  # sentences' parts, of which the first is shown
Optimizers = dict[str, torch.optim.Adam]


def require_finite(state: dict[str, Any], path: Path) -> None:
    """Raise a UserError if some number of the state is NaN or infinite, so that it takes no good one's place."""
    bad = next(_non_finite_entries(state, ""), None)
    if bad is not None:
        raise UserError(
            f"{path} was not written, because {bad} is not finite: training has diverged; start a new run "
            "with lower --glr and --dlr, from an earlier snapshot (--init-from) if there is one."
        )


def require_sound(state: Any, path: Path) -> None:
    """Raise a UserError unless this is a training state of finite numbers, of whatever networks."""
    _raise_first(_flaws(state), path)


def require_fit(
    state: Any, path: Path, networks: Networks, optimizers: Optimizers, untrained: Collection[str] = ()
) -> None:
    """Raise a UserError unless the state is sound and of these networks and optimisers. Changes nothing.

    Args:
        untrained: names of the networks whose optimisers may have made no step.
    """
    _raise_first(_flaws(state), path)
    _raise_first(_misfits(state, networks, optimizers, untrained), path)


def restore_optimizer(optimizer: torch.optim.Optimizer, moments: dict[int, Any]) -> None:
    """Let an optimiser go on from the `state` of another one's state_dict, wherever that one's parameters lay.

    The fused Adam takes elements in the order of memory, on a CPU without a look at strides. Weights lie otherwise on a
    GPU than on a CPU (`snapshots.weight_layout`), so moments are laid out as the weights are here.
    """
    # Learning rates and the like are the configuration's; how they are stored depends on torch's version.
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                kept[name] = torch.empty_like(parameter).copy_(value)


def _raise_first(problems: Problems, path: Path) -> None:
    """Raise a UserError of the first problem; what comes behind it, and may rely on its absence, is not run."""
    problem = next(problems, None)
    if problem is not None:
        raise UserError(
            f"The training state {path} cannot be used, because {problem}: go on from another one with "
            "--resume=FILE, or start a new run."
        )


# --- Of whatever networks ---------------------------------------------------------------------------------------------


def _flaws(state: Any) -> Problems:
    """Yield what is wrong with a state by itself."""
    if not isinstance(state, dict):
        yield "it is no table of networks, optimizers and progress"
        return
    for part in PARTS:
        if not isinstance(state.get(part), dict):
            yield f"it has no {part}"
            return
    yield from _flaws_of_progress(state["progress"])
    yield from _flaws_of_health(state.get("health", {}))
    if not is_time(state.get("max_time", 1.0)):
        yield "its max_time is no number from 0 to 1"
    for name, weights in state["networks"].items():
        if not _is_table(weights, torch.Tensor):
            yield f"networks.{name} is no table of tensors"
    for bad in _non_finite_entries(state, ""):
        yield f"{bad} is not finite"


def _flaws_of_progress(progress: dict[str, Any]) -> Problems:
    for name, default in COUNTERS.items():
        value = progress.get(name, default)
        if type(value) is not int or value < 0:
            yield f"progress.{name} is {value!r} and no count"
    seconds = progress.get("seconds", 0.0)
    if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
        yield f"progress.seconds is {seconds!r} and no duration"
    for name in progress:
        if name not in COUNTERS and name != "seconds":
            yield f"progress.{name} is unknown"


def _flaws_of_health(health: Any) -> Problems:
    sound = (
        _is_table(health, dict)
        and health.keys() <= HEALTH_PARTS
        and all(_is_table(table, float) for table in health.values())
    )
    if not sound:
        yield "its health is no table of numbers"


def _is_table(value: Any, kind: type) -> bool:
    """Whether this is a dictionary of values of a kind."""
    if not isinstance(value, dict):
        return False
    return all(isinstance(item, kind) for item in value.values())


def _non_finite_entries(value: Any, where: str) -> Problems:
    """Yield the names of the numbers and tensors in nested containers that hold NaN or infinity."""
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for name, item in value.items():
            inner = f"{where}.{name}" if where else str(name)
            yield from _non_finite_entries(item, inner)
    elif isinstance(value, torch.Tensor):
        if not is_finite(value):
            yield where
    elif isinstance(value, float) and not math.isfinite(value):
        yield where


# --- Of these networks ------------------------------------------------------------------------------------------------


def _misfits(state: dict[str, Any], networks: Networks, optimizers: Optimizers, untrained: Collection[str]) -> Problems:
    """Yield how a sound state differs from one of these networks and optimisers."""
    modules = dict(networks.items())
    saved_networks = state["networks"]
    saved_optimizers = state["optimizers"]
    yield from _other_names("networks", saved_networks, modules)
    yield from _other_names("optimizers", saved_optimizers, optimizers)
    for name, module in modules.items():
        yield from _misfits_of_tensors(f"networks.{name}", saved_networks[name], module.state_dict())
    for name, optimizer in optimizers.items():
        steps = 0 if name in untrained else state["progress"]["iteration"]
        yield from _misfits_of_optimizer(f"optimizers.{name}", saved_optimizers[name], optimizer, steps)


def _other_names(where: str, saved: Mapping[Any, Any], own: Mapping[str, Any]) -> Problems:
    """Yield what is in one of two tables alone."""
    for name in sorted(saved.keys() ^ own.keys(), key=str):
        problem = "missing" if name in own else "one more than this run has"
        yield f"{where}.{name} is {problem}"


def _misfits_of_tensors(where: str, saved: dict[str, Any], own: Mapping[str, torch.Tensor]) -> Problems:
    yield from _other_names(where, saved, own)
    for name, value in own.items():
        found = saved[name]
        if not isinstance(found, torch.Tensor):
            yield f"{where}.{name} is no tensor"
        elif _form(found) != _form(value):
            yield f"{where}.{name} is {_form(found)}, not {_form(value)}"


def _form(tensor: torch.Tensor) -> str:
    """Return a tensor's type and shape, such as "float32 [3, 4]"."""
    return f"{dtype_name(tensor.dtype)} {list(tensor.shape)}"


def _misfits_of_optimizer(where: str, saved: Any, optimizer: torch.optim.Adam, steps: int) -> Problems:
    if not isinstance(saved, dict) or not _is_table(saved.get("state"), dict):
        yield f"{where} is no state of Adam"
        return
    moments = saved["state"]
    if _parameter_numbers(saved) != _parameter_numbers(optimizer.state_dict()):
        yield f"{where} is of other parameters"
    if steps and not moments:
        yield f"{where} has forgotten its {steps} steps"
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    count = len(parameters)
    for number in moments.keys() - range(count):
        yield f"{where}.state has a parameter {number}, and there are {count}"
    for number, values in moments.items():
        place = f"{where}.state.{number}"
        like = dict.fromkeys(MOMENTS, parameters[number])
        like["step"] = torch.zeros([])
        yield from _misfits_of_tensors(place, values, like)
        if (values["exp_avg_sq"] < 0).any() or values["step"] < 1:
            yield f"{place} is out of range"


def _parameter_numbers(state: dict[str, Any]) -> list[Any] | None:
    """Return the numbers of the parameters in each group of an optimiser's state; None if there are no groups."""
    try:
        return [group["params"] for group in state["param_groups"]]
    except (LookupError, TypeError):
        return None
