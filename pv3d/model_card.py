"""The card of a published model: a README.md with the YAML front matter that Hugging Face reads."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnnlib import json_lines
from dnnlib.errors import UserError
from dnnlib.files import require_file, shown
from dnnlib.options import options_of, value_of
from training.checkpoints.sources import PUBLISHED
from training.config import Config
from training.runs.options import FREE

GAP = "**To be written:**"  # before what nobody has said yet
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")  # a name such as mit or cc-by-4.0
UNKNOWN_LICENSE = "unknown"  # the front matter's word for it
TAGS = ("pv3d", "video-generation", "3d", "gan", "portrait", "synthetic-media")
PIPELINE = "unconditional-image-generation"  # the nearest of the names that are known there
PLAIN_TYPE = "torch.float32"  # of scores, unless the table says another

Score = dict[str, Any]  # a line of `calc_metrics.py --out`


@dataclass(frozen=True, kw_only=True)
class About:
    """What the user says of a model; None: not said, which leaves a gap in the card."""

    name: str
    license: str | None = None
    trained_on: str | None = None
    cannot: str | None = None

    def check(self) -> None:
        """Raise a UserError if something cannot stand in a card."""
        if self.license is not None and not LICENSE.fullmatch(self.license):
            raise UserError(
                f"--license={shown(self.license)} is no name of a license: give one such as mit or cc-by-4.0, in small "
                "letters."
            )
        for flag, text in (("--name", self.name), ("--trained-on", self.trained_on), ("--cannot", self.cannot)):
            if text is not None and not (text.strip() and text.isprintable()):
                raise UserError(f"{flag} is empty or has more than one line: give a line of text.")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the files say of a model."""

    snapshot: str  # file name of the snapshot that it was made of
    snapshot_sha256: str
    sha256: str  # of the published tensors
    config: Config
    kimg: float
    max_time: float
    networks: Sequence[str]
    clips: int  # whose real camera paths are in it
    scores: Sequence[Score]
    preview: str | None  # file name


def scores_of(path: Path, snapshot: Path, sha256: str) -> list[Score]:
    """Return the scores of a snapshot in a file of `calc_metrics.py`: the last line of each metric.

    Raises:
        UserError: it has none of a snapshot with this checksum, or cannot be read.
    """
    lines = json_lines.read(require_file(path, "file of scores"))
    last: dict[tuple[str, str], Score] = {}
    for line in lines:
        checksum, _, dtype = _scored(line).partition(" ")
        if checksum == sha256 and type(line.get("metric")) is str and type(line.get("value")) in (int, float):
            last[line["metric"], dtype] = line
    if not last:
        others = {_scored(line)[:8] for line in lines} - {""}
        found = f"has scores of other snapshots alone ({', '.join(sorted(others))})" if others else "has no scores"
        raise UserError(
            f"--scores={path} {found}, none of {snapshot} (sha256 {sha256[:8]}...): score it with "
            f"calc_metrics.py --network={snapshot}, or leave them out."
        )
    return list(last.values())


def _scored(line: Score) -> str:
    """Return checksum and data type of the snapshot that a line is about; "" if it says none."""
    source = line.get("source")
    snapshot = source.get("snapshot") if isinstance(source, dict) else None
    return snapshot if isinstance(snapshot, str) else ""


# --- The page ---------------------------------------------------------------------------------------------------------


def model_card(about: About, facts: Facts) -> str:
    """Return the card as Markdown behind its front matter."""
    sections = [_front_matter(about), f"# {about.name}", _introduction(facts)]
    if facts.preview:
        sections.append(f"![Frames of some seeds, seen from side to side]({facts.preview})")
    sections += [_loading(facts), _training(about, facts)]
    if facts.scores:
        sections.append(_score_table(facts))
    return "\n\n".join([*sections, _limits(about, facts), _use(about), _files(facts)]) + "\n"


def _front_matter(about: About) -> str:
    tags = [f"  - {tag}" for tag in TAGS]
    fields = [
        f"license: {about.license or UNKNOWN_LICENSE}",
        "library_name: pv3d",
        f"pipeline_tag: {PIPELINE}",
        "tags:",
        *tags,
    ]
    return "\n".join(["---", *fields, "---"])


def _introduction(facts: Facts) -> str:
    g = facts.config.generator
    side = g.img_resolution
    return (
        f"A generator of portrait videos in 3D (PV3D): from an appearance code ({g.z_dim} numbers), a motion code "
        f"({g.z_motion_dim}), a time and a camera it makes a frame of {side} x {side} pixels, with depth from "
        f"{g.rendering.resolution} x {g.rendering.resolution} rays. The people that it shows do not exist, but a model "
        "may remember people that it was trained on."
    )


def _loading(facts: Facts) -> str:
    code = [
        "import pv3d",
        "",
        f'm = pv3d.load("FOLDER")  # this folder, or the path or address of {PUBLISHED} with its sha256',
        "cams = pv3d.orbit(frames=48, yaw=30)",
        'm.video(m.appearance(seed=0), m.motion(seed=0), cameras=cams).save("turn.mp4")',
    ]
    return "\n".join(["## Load it", "```python", *code, "```", f"`{PUBLISHED}` has the sha256 `{facts.sha256}`."])


def _training(about: About, facts: Facts) -> str:
    changed = []
    defaults = Config()
    for option in options_of(Config):
        value = value_of(facts.config, option.key)
        if option.key not in FREE and value != value_of(defaults, option.key):
            changed.append(f"| `{option.name}` | {json.dumps(value)} |")
    data = about.trained_on or f"{GAP} which videos, of whom, with whose consent, cut and posed how."
    lines = ["## How it was trained", f"On: {data}", "", f"{facts.kimg:g} thousand clips of two frames (kimg)."]
    if changed:
        lines += ["Options unlike the paper's:", "", "| option | |", "|---|---|", *changed]
    return "\n".join(lines)


def _score_table(facts: Facts) -> str:
    head = f"Of the snapshot that these files were made of, `{facts.snapshot}` (sha256 `{facts.snapshot_sha256}`):"
    lines = ["## Scores", head, "", "| metric | value | standard error | videos | detector |", "|---|---|---|---|---|"]
    warnings: dict[str, None] = {}
    for score in facts.scores:
        _, _, dtype = _scored(score).partition(" ")
        name = f"`{score['metric']}`" + ("" if dtype in ("", PLAIN_TYPE) else f" ({dtype})")
        error = score.get("standard_error")
        cells = [name, f"{score['value']:.4g}", "" if error is None else f"{error:.2g}", score.get("samples", "")]
        lines.append(f"| {' | '.join(map(str, [*cells, score.get('detector') or '']))} |")
        for warning in score.get("warnings") or []:
            warnings[f"* `{score['metric']}`: {warning}"] = None
    return "\n".join([*lines, *([""] if warnings else []), *warnings])


def _limits(about: About, facts: Facts) -> str:
    side = facts.config.generator.img_resolution
    lines = [
        "## What it cannot do",
        f"* {about.cannot}"
        if about.cannot
        else f"* {GAP} from which sides heads look right, whom it shows badly, what moves and what does not.",
        "* Show a person of your choice without an inversion (`edit_videos.py`), speak a text, or follow a sound.",
        f"* Show more than its {side} x {side} pixels, and people or cameras unlike those of its data.",
    ]
    if facts.max_time < 1:
        lines.append(f"* Move for longer than to time {facts.max_time:g}: its clips were shorter than a window.")
    return "\n".join(lines)


def _use(about: About) -> str:
    text = (
        "What it makes is synthetic media: say so wherever you show it, leave the mark in the files' metadata, and do "
        "not make anybody's likeness without their consent, or to deceive, to mock or to identify."
    )
    lines = ["## Use", text]
    if about.license is None:
        lines += ["", f"{GAP} the license, here and in the first lines of this file (`license: {UNKNOWN_LICENSE}`)."]
    return "\n".join(lines)


def _files(facts: Facts) -> str:
    lines = [
        "## Files",
        f"* `{PUBLISHED}`: weights of {', '.join(facts.networks)}, options, and camera paths of {facts.clips} clips of "
        "its data. Safetensors: opening it runs nothing.",
        "* `model.json`: the options and how far training was, for people and other programs.",
        "* `SHA256SUMS`: `sha256sum -c SHA256SUMS` checks the files.",
    ]
    return "\n".join(lines)
