"""edit_videos.py as tests call it, and what it gives."""

from pathlib import Path

from click.testing import CliRunner, Result

import edit_videos
from applications.latents import Latents, digest_of, load_latents
from training.checkpoints.opener import load_generator

SHORT = ("--steps=3", "--starts=1")


def run(command: str, network: Path, outdir: Path, *more: object) -> Result:
    """Run a command."""
    arguments = [command, f"--network={network}", f"--outdir={outdir}", "--device=cpu", *map(str, more)]
    return CliRunner().invoke(edit_videos.main, arguments)


def done(result: Result) -> list[Path]:
    """The files that a command printed."""
    assert result.exit_code == 0, (result.output, result.exc_info)
    paths = [Path(line) for line in result.stdout.splitlines()]
    assert all(path.is_file() for path in paths)
    return paths


def refused(result: Result) -> str:
    """The sentence of a command that was refused."""
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit), (result.output, result.exc_info)
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ") and "Traceback" not in result.output
    return last


def latents_of(snapshot: Path, path: Path) -> Latents:
    """The latents of a file."""
    G = load_generator(snapshot).G
    return load_latents(path, G, digest_of(G))
