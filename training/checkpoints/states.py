"""Whether a training state is whole, finite, and of the networks that shall go on from it.

A state is {networks: {name: weights}, optimizers: {name: Adam's state_dict}, progress: {clips, iteration, ...}, health:
{best, troubles}}; older ones have no health.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from dnnlib.errors import UserError
from training.checkpoints.snapshots import Networks

PARTS = ("networks", "optimizers", "progress")
COUNTERS = {"clips": True, "iteration": True, "inherited": False}  # whether a state must have it
MOMENTS = {"step", "exp_avg", "exp_avg_sq"}  # what Adam keeps for each parameter


def require_finite(state: dict[str, Any], path: Path) -> None:
    """UserError if some number of the state is NaN or infinite, so that no such state takes a good one's place."""
    bad = next(_non_finite(state, ""), None)
    if bad is not None:
        raise UserError(
            f"{path} was not written, because {bad} is not finite: training has diverged; start a new run "
            "with lower --glr and --dlr, from an earlier snapshot (--init-from) if there is one."
        )


def require_sound(state: Any, path: Path) -> None:
    """UserError unless this is a training state of finite numbers, of whatever networks."""
    _raise_first(_flaws(state), path)


def require_fit(state: Any, path: Path, networks: Networks, optimizers: dict[str, torch.optim.Adam]) -> None:
    """UserError unless the state is sound and of these networks and optimisers. Changes nothing."""
    _raise_first(_flaws(state), path)
    _raise_first(_misfits(state, networks, optimizers), path)


def _raise_first(problems: Iterator[str], path: Path) -> None:
    problem = next(problems, None)
    if problem is not None:
        raise UserError(
            f"The training state {path} cannot be used, because {problem}: go on from another one with "
            "--resume=FILE, or start a new run."
        )


def _flaws(state: Any) -> Iterator[str]:
    if not isinstance(state, dict):
        yield "it is no table of networks, optimizers and progress"
        return
    for part in PARTS:
        if not isinstance(state.get(part), dict):
            yield f"it has no {part}"
            return
    yield from _wrong_counters(state["progress"])
    yield from _wrong_health(state.get("health", {}))
    for name, weights in state["networks"].items():
        if not (isinstance(weights, dict) and all(isinstance(value, torch.Tensor) for value in weights.values())):
            yield f"networks.{name} is no table of tensors"
    for bad in _non_finite(state, ""):
        yield f"{bad} is not finite"


def _wrong_counters(progress: dict[str, Any]) -> Iterator[str]:
    for name, needed in COUNTERS.items():
        value = progress.get(name, None if needed else 0)
        if type(value) is not int or value < 0:
            yield f"progress.{name} is {value!r} and no count"
    seconds = progress.get("seconds", 0.0)
    if type(seconds) not in (int, float) or not (math.isfinite(seconds) and seconds >= 0):
        yield f"progress.seconds is {seconds!r} and no duration"
    for name in progress:
        if name not in {*COUNTERS, "seconds"}:
            yield f"progress.{name} is unknown"


def _wrong_health(health: Any) -> Iterator[str]:
    tables = list(health.values()) if isinstance(health, dict) and health.keys() <= {"best", "troubles"} else [None]
    if not all(isinstance(table, dict) and all(type(value) is float for value in table.values()) for table in tables):
        yield "its health is no table of numbers"


def _misfits(state: dict[str, Any], networks: Networks, optimizers: dict[str, torch.optim.Adam]) -> Iterator[str]:
    modules = dict(networks.items())
    for part, own in (("networks", modules), ("optimizers", optimizers)):
        for name in sorted(own.keys() ^ state[part].keys(), key=str):
            yield f"{part}.{name} is {'missing' if name in own else 'one more than this run has'}"
            return
    for name, module in modules.items():
        yield from _wrong_tensors(f"networks.{name}", state["networks"][name], module.state_dict())
    for name, optimizer in optimizers.items():
        yield from _wrong_optimizer(
            f"optimizers.{name}", state["optimizers"][name], optimizer, state["progress"]["iteration"]
        )


def _wrong_tensors(where: str, saved: dict[str, Any], own: dict[str, torch.Tensor]) -> Iterator[str]:
    for name in sorted(saved.keys() ^ own.keys(), key=str):
        yield f"{where}.{name} is {'missing' if name in own else 'one more than this run has'}"
        return
    for name, value in own.items():
        found = saved[name]
        if not isinstance(found, torch.Tensor):
            yield f"{where}.{name} is no tensor"
        elif (found.dtype, found.shape) != (value.dtype, value.shape):
            yield f"{where}.{name} is {_kind(found)}, not {_kind(value)}"


def _wrong_optimizer(where: str, saved: Any, optimizer: torch.optim.Adam, steps: int) -> Iterator[str]:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = saved.get("state") if isinstance(saved, dict) else None
    if not isinstance(moments, dict) or not all(isinstance(value, dict) for value in moments.values()):
        yield f"{where} is no state of Adam"
        return
    try:
        groups = [group["params"] for group in saved["param_groups"]]
    except (KeyError, TypeError):
        groups = None
    if groups != [group["params"] for group in optimizer.state_dict()["param_groups"]]:
        yield f"{where} is of other parameters"
        return
    if steps and not moments:
        yield f"{where} has forgotten its {steps} steps"
    for number in moments.keys() - range(len(parameters)):
        yield f"{where}.state has a parameter {number}, and there are {len(parameters)}"
        return
    for number, values in moments.items():
        like = dict.fromkeys(MOMENTS, parameters[number]) | {"step": torch.zeros([])}
        yield from _wrong_tensors(f"{where}.state.{number}", values, like)
        if bool((values["exp_avg_sq"] < 0).any()) or bool(values["step"] < 1):
            yield f"{where}.state.{number} is out of range"


def _non_finite(value: Any, where: str) -> Iterator[str]:
    """Names of the numbers and tensors in nested containers that hold NaN or infinity."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _non_finite(item, f"{where}.{name}" if where else str(name))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _non_finite(item, f"{where}.{index}")
    elif isinstance(value, torch.Tensor) and value.is_floating_point():
        if not bool(value.isfinite().all()):
            yield where
    elif isinstance(value, float) and not math.isfinite(value):
        yield where


def _kind(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
