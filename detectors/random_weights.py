"""Fixed random weights, to try things out without the public files: each entry follows from its name and shape.

Weights of convolutions are centred over their inputs and scaled by a gain, for otherwise an input's signal fades to a
thousandth of the output on the way through a deep network.
"""

import hashlib
import zlib

import numpy as np
import torch
from torch import nn

# Changes with the values below; its checksum identifies the weights.
RULE = "1: normals of RandomState(crc32(name)), scaled by kind, convolutions centred and scaled by gain / sqrt(fan-in)"


def fill(network: nn.Module, gain: float, *, positive: bool = False) -> str:
    """Give every parameter and buffer of a network its fixed value, in place; return the checksum of the rule.

    Args:
        network: what is filled.
        gain: of convolutions.
        positive: take the values' absolute ones.
    """
    state = network.state_dict()
    norms = {name.removesuffix(".running_mean") for name in state if name.endswith(".running_mean")}
    for name, tensor in state.items():
        value = torch.from_numpy(_value(name, tensor.shape, norms, gain))
        state[name] = value.abs() if positive else value
    network.load_state_dict(state)
    rule = f"{RULE}; gain {gain}"
    if positive:
        rule += "; absolute"
    return hashlib.sha256(rule.encode()).hexdigest()


def _value(name: str, shape: tuple[int, ...], norms: set[str], gain: float) -> np.ndarray:
    """Return the value of one state-dict entry; `norms` names the modules that are BatchNorms."""
    module, leaf = name.rsplit(".", 1)
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    seed = zlib.crc32(name.encode())
    normal = np.random.RandomState(seed).standard_normal(shape)
    normal = normal.astype(np.float32).astype(np.float64)
    is_prelu = len(shape) == 1
    if leaf in ("running_mean", "bias"):
        value = 0.1 * normal
    elif leaf == "running_var":
        value = 0.5 + abs(normal)
    elif module in norms:
        value = 1 + 0.1 * normal
    elif is_prelu:
        value = 0.25 + 0.05 * normal
    else:
        value = _centred(normal, gain)
    return np.asarray(value, np.float32)


def _centred(normal: np.ndarray, gain: float) -> np.ndarray:
    """Return a convolution's weight: each output's numbers centred and scaled by gain / sqrt(fan-in)."""
    rows = normal.reshape(len(normal), -1)
    fan_in = rows.shape[1]
    centred = rows - rows.mean(1, keepdims=True)
    scaled = gain * centred / np.sqrt(fan_in)
    return scaled.reshape(normal.shape)
