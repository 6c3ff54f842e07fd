"""Standard output and error that take any name, and nobody to read them."""

import io
import os
import sys
from typing import Any


def print_anything() -> None:
    """Let no name end a command that prints it: characters that a stream cannot encode are spelled out."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


class _LossyPipe(io.FileIO):
    """A descriptor to write to; once nobody reads it any more, what is written is thrown away."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def ignore_broken_pipes() -> None:
    """Let printing never end the command: Ctrl-C on `train.py | tee log` also ends tee, which reads what is printed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and stream is getattr(sys, f"__{name}__"):  # nobody has closed or replaced it
            stream.flush()
            pipe = _LossyPipe(stream.fileno(), "wb", closefd=False)
            buffer = io.BufferedWriter(pipe)
            setattr(sys, name, io.TextIOWrapper(buffer, stream.encoding, stream.errors, line_buffering=True))
