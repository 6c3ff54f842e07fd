"""Low-pass in time: what a tracker finds from frame to frame, without its jitter.

A Gaussian average drags both ends of a clip towards its middle. So a line is fitted around every frame by Gaussian
weights, and its value there is taken: in the midst of a clip that is the Gaussian average itself, and at the ends
steady motion stays as it is.
"""

import numpy as np

NARROWEST = 0.2  # standard deviation in frames, below which neighbours weigh nothing


def low_pass(values: np.ndarray, found: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth values in time, and fill in those that are missing.

    Args:
        values: [F, ...], anything where not found.
        found: bool [F], at least one of them True.
        sigma: standard deviation of the Gaussian in frames; 0 fills gaps alone.

    Returns:
        float64 [F, ...].
    """
    filled = fill_gaps(values, found)
    if sigma < NARROWEST or len(filled) < 3:
        return filled
    flat = filled.reshape(len(filled), -1)
    return (_line_weights(len(filled), sigma) @ flat).reshape(filled.shape)


def fill_gaps(values: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return values float64 [F, ...] with straight lines across what was not found, and the nearest at the ends."""
    frames = np.arange(len(values))
    flat = values.reshape(len(values), -1).astype(np.float64)
    columns = [np.interp(frames, frames[found], column[found]) for column in flat.T]
    return np.stack(columns, axis=1).reshape(values.shape)


def _line_weights(frames: int, sigma: float) -> np.ndarray:
    """Return the matrix [F, F] that takes values to those of lines fitted around each frame (local linear regression).

    For weights w and distances d from the frame, the line's value there is sum w (S2 - S1 d) v / (S0 S2 - S1^2), with
    S_k = sum w d^k.
    """
    numbers = np.arange(frames)
    distance = (numbers[None] - numbers[:, None]).astype(np.float64)
    weights = np.exp(-0.5 * (distance / sigma) ** 2)
    zeroth = weights.sum(axis=1, keepdims=True)
    first = (weights * distance).sum(axis=1, keepdims=True)
    second = (weights * distance**2).sum(axis=1, keepdims=True)
    return weights * (second - first * distance) / (zeroth * second - first**2)
