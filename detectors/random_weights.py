"""Fixed random weights for smoke tests (`--detector random`): every entry is a function of its name and shape.

Weights of convolutions are centred over their inputs and scaled by a gain, for otherwise an input's signal fades to a
thousandth of the output on the way through a deep network.
"""

import hashlib
import zlib

import numpy as np
import torch
from torch import nn

# Changes with the values below; what results are identified by.
RULE = "1: normals of RandomState(crc32(name)), scaled by kind, convolutions centred and scaled by gain / sqrt(fan-in)"


def fill(network: nn.Module, gain: float) -> str:
    """Gives every parameter and buffer of a network its fixed value, in place; returns the checksum of the rule."""
    state = network.state_dict()
    norms = {name.removesuffix(".running_mean") for name in state if name.endswith(".running_mean")}
    network.load_state_dict(
        {name: torch.from_numpy(_value(name, tuple(tensor.shape), norms, gain)) for name, tensor in state.items()}
    )
    return hashlib.sha256(f"{RULE}; gain {gain}".encode()).hexdigest()


def _value(name: str, shape: tuple[int, ...], norms: set[str], gain: float) -> np.ndarray:
    """The value of one state-dict entry; `norms` names the modules that are BatchNorms."""
    module, leaf = name.rsplit(".", 1)
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    normal = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    normal = normal.astype(np.float32).astype(np.float64)
    if leaf in ("running_mean", "bias"):
        value = 0.1 * normal
    elif leaf == "running_var":
        value = 0.5 + np.abs(normal)
    elif module in norms:
        value = 1 + 0.1 * normal
    elif len(shape) == 1:  # the slopes of a PReLU
        value = 0.25 + 0.05 * normal
    else:
        rows = normal.reshape(shape[0], -1)
        value = (gain * (rows - rows.mean(1, keepdims=True)) / np.sqrt(rows.shape[1])).reshape(shape)
    return np.asarray(value, np.float32)
