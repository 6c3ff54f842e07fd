"""What an evaluation found: one line of JSON for each number, and a table for people."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dnnlib import json_lines

HIGHER_IS_BETTER = frozenset({"id", "id-dlib", "depth"})
NO_BEST = frozenset({"background", "diversity", "motion", "motion-share"})  # as much as the real ones have is best


@dataclass(frozen=True, kw_only=True)
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
    skipped: int = 0  # videos that are missing or damaged
    details: dict[str, float | None] = field(default_factory=dict)  # other definitions of the number, its parts
    warnings: tuple[str, ...] = ()

    def json(self, **more: Any) -> str:
        """Return one line, with further values in front; what is not finite becomes null."""
        return json.dumps(_plain({**more, **asdict(self)}), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def append_json(path: Path, results: Sequence[Result], **more: Any) -> None:
    """Append a line for each result, with further values in front.

    Raises:
        UserError: the disk is full or the folder cannot be written to.
    """
    json_lines.append(path, [result.json(**more) for result in results])


def table(results: Sequence[Result]) -> str:
    """Return the results as aligned lines: metric, value, standard error, videos, detector.

    Other definitions of a number follow it, indented.
    """
    rows = [["metric", "value", "+-", "videos", "detector"]]
    for result in results:
        rows.append(
            [
                result.metric,
                _number(result.value),
                "" if result.standard_error is None else f"{result.standard_error:.2g}",
                str(result.samples),
                result.detector or "",
            ]
        )
        for name, value in result.details.items():
            rows.append([f"  {name}", _number(value), "", "", ""])
    metric_width, *number_widths, _ = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for metric, *numbers, detector in rows:
        cells = [number.rjust(width) for number, width in zip(numbers, number_widths, strict=True)]
        line = "  ".join([metric.ljust(metric_width), *cells, detector])
        lines.append(line.rstrip())
    return "\n".join(lines)


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "unknown"
    return f"{value:.6g}"
