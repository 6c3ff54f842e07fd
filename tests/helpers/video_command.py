"""gen_videos.py in the test's process, and what became of it."""

from pathlib import Path

from click.testing import CliRunner, Result

import gen_videos


def run(network: Path, outdir: Path, *more: object, frames: int | None = 3) -> Result:
    """Run the command on the CPU, for so many frames a clip; None: nobody says."""
    arguments = [f"--network={network}", f"--outdir={outdir}", "--device=cpu", *map(str, more)]
    length = [] if frames is None else [f"--frames={frames}"]
    return CliRunner().invoke(gen_videos.main, [*length, *arguments])


def done(result: Result) -> list[Path]:
    """Return the files that the command printed."""
    assert result.exit_code == 0, (result.output, result.exc_info)
    return [Path(line) for line in result.stdout.splitlines()]


def refused(result: Result) -> str:
    """Return the sentence that the command ended with."""
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit), (result.output, result.exc_info)
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ") and "Traceback" not in result.output
    return last
