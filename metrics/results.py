"""What an evaluation found: one line of JSON for each number, and a table for people."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dnnlib import json_lines

HIGHER_IS_BETTER = frozenset({"id", "id-dlib"})
NO_BEST = frozenset({"diversity", "motion"})  # as much as the real ones have is best


@dataclass(frozen=True)
class Result:
    """One number, and what it takes to repeat it."""

    metric: str
    value: float
    standard_error: float | None  # over draws of as many videos; None: unknown
    samples: int  # videos that count
    seconds: float
    protocol: dict[str, Any]  # how the videos were made and looked at
    source: dict[str, Any]  # what was scored
    dataset: str | None = None  # fingerprint of the real videos
    detector: str | None = None
    detector_checksum: str | None = None
    skipped: int = 0  # videos that could not be had
    details: dict[str, float] = field(default_factory=dict)  # other definitions of the number, its parts
    warnings: tuple[str, ...] = ()

    def json(self, **more: Any) -> str:
        """One line, with further values in front; what is not finite becomes null."""
        return json.dumps(_plain({**more, **asdict(self)}), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def append_json(path: Path, results: Sequence[Result], **more: Any) -> None:
    """Appends a line for each result, with further values in front.

    Raises:
        UserError: the disk is full or the folder cannot be written to.
    """
    json_lines.append(path, [result.json(**more) for result in results])


def table(results: Sequence[Result]) -> str:
    """The results as aligned lines: metric, value, standard error, videos, detector; other definitions indented."""
    rows = [("metric", "value", "+-", "videos", "detector")]
    for result in results:
        error = "" if result.standard_error is None else f"{result.standard_error:.2g}"
        rows.append((result.metric, _number(result.value), error, str(result.samples), result.detector or ""))
        rows += [(f"  {name}", _number(value), "", "", "") for name, value in result.details.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:4], widths[1:4], strict=True)),
                row[4],
            ]
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else "unknown"
