"""Packages that only some commands need: imported when they are, and a sentence where they are missing or broken."""

import contextlib
from collections.abc import Iterator

from dnnlib.errors import UserError


@contextlib.contextmanager
def optional_packages(purpose: str, install: str) -> Iterator[None]:
    """Import optional packages in the block.

    Args:
        purpose: what needs them, in the plural, such as "Meshes".
        install: what `pip install` is to be given, such as "scikit-image".

    Raises:
        UserError: one is not installed, or cannot be imported: those built for other versions of their own
            requirements raise all kinds of exceptions, and some exit.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{purpose} need packages that do not import ({reason}): `pip install {install}`.") from error
