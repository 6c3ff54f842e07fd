"""Seeing what happens inside a model: calls of submodules and of functions, without a change to the model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch


@dataclass
class Call:
    """One call: its positional and keyword arguments and its result."""

    inputs: tuple[Any, ...]
    output: Any
    keywords: dict[str, Any] = field(default_factory=dict)


@contextmanager
def recorded(module: torch.nn.Module, *names: str) -> Iterator[dict[str, list[Call]]]:
    """Record the calls of the submodules `names` while the block runs, by name, in order."""
    calls: dict[str, list[Call]] = {name: [] for name in names}
    handles = []
    for name in names:

        def note(_, inputs, output, name=name):
            calls[name].append(Call(inputs, output))

        handles.append(module.get_submodule(name).register_forward_hook(note))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def spy(monkeypatch: pytest.MonkeyPatch, place: Any, name: str) -> list[Call]:
    """Record the calls of the function `name` of a module or an object until the test ends."""
    original, calls = getattr(place, name), []

    def function(*args, **kwargs):
        output = original(*args, **kwargs)
        calls.append(Call(args, output, kwargs))
        return output

    monkeypatch.setattr(place, name, function)
    return calls
