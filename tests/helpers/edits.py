"""Functions that change one place of nested containers, for tables of what may be wrong with a file's content."""

from collections.abc import Callable
from typing import Any

Edit = Callable[[Any], Any]


def at(content: Any, keys: tuple[Any, ...]) -> Any:
    """Return what lies behind these keys."""
    for key in keys:
        content = content[key]
    return content


def drop(*keys: Any) -> Edit:
    """Return a function that takes away what lies behind these keys."""

    def edit(content: Any) -> None:
        del at(content, keys[:-1])[keys[-1]]

    return edit


def put(value: Any, *keys: Any) -> Edit:
    """Return a function that puts another value behind these keys."""

    def edit(content: Any) -> None:
        at(content, keys[:-1])[keys[-1]] = value

    return edit


def fill(value: float, *keys: Any) -> Edit:
    """Return a function that replaces the first number of the tensor behind these keys."""

    def edit(content: Any) -> None:
        at(content, keys).view(-1)[:1].fill_(value)

    return edit


def cut(*keys: Any) -> Edit:
    """Return a function that takes the end of the last axis off the tensor behind these keys."""

    def edit(content: Any) -> None:
        tensor = at(content, keys)
        at(content, keys[:-1])[keys[-1]] = tensor[..., :-1]

    return edit
