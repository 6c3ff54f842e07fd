"""Compare the numbers of two checkouts, for changes that must not move them: training, frames and metrics.

    python benchmarks/compare_checkouts.py ../old

Both run with this Python, on the CPU, with equal threads. They make a synthetic dataset, train `--cfg=demo` on it from
one seed, sample the shipped model, and score it with random detectors. The exit status is 1 if a bit differs.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import torch

ROOT = Path(__file__).resolve().parent.parent
CLIP = 0.004  # kimg of one iteration of the demo's preset, which has batches of 4 clips
METRICS = "fvd9_9f,kvd9_9f,id3,cd3,we3,diversity4,motion4"


@click.command()
@click.argument("old", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("new", type=click.Path(path_type=Path, exists=True, file_okay=False), default=ROOT)
@click.option("--iterations", type=click.IntRange(1), default=20, show_default=True, help="Iterations of training.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads of every command.")
def main(old: Path, new: Path, iterations: int, threads: int) -> None:
    """Run the commands of the checkouts OLD and NEW (default: this one) and compare what they make."""
    with tempfile.TemporaryDirectory(prefix="pv3d-compare-") as folder:
        places = [Path(folder) / name for name in ("old", "new")]
        for checkout, place in zip((old, new), places, strict=True):
            run_all(checkout.resolve(), place, iterations, threads)
        found = list(differences(*places))
    for line in found:
        click.echo(f"DIFFERENT: {line}")
    click.echo("All numbers are the same." if not found else f"{len(found)} differences.")
    sys.exit(1 if found else 0)


def run_all(checkout: Path, place: Path, iterations: int, threads: int) -> None:
    """Write the dataset, the run, the videos and the scores of a checkout below `place`."""
    data, model = place / "heads.zip", checkout / "models" / "heads.pkl"
    synth = ["--clips=9", "--frames=16", "--resolution=64", "--workers=1"]
    length = [f"--kimg={iterations * CLIP:g}", "--snap=0", "--workers=0"]
    commands = [
        ["dataset_tool.py", "synth", f"--dest={data}", *synth],
        ["train.py", f"--outdir={place / 'runs'}", "--cfg=demo", f"--data={data}", "--device=cpu", *length],
        ["gen_videos.py", f"--outdir={place / 'frames'}", "--seeds=0,1", "--frames=4", "--layers=rgb,depth,normals"],
        ["calc_metrics.py", f"--out={place / 'scores.jsonl'}", f"--metrics={METRICS}", f"--data={data}"],
    ]
    commands[2] += [f"--network={model}", "--device=cpu"]
    commands[3] += [f"--network={model}", "--device=cpu", "--detector=random", "--no-cache"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": ""}
    for command in commands:
        click.echo(f"{checkout.name}: {command[0]}")
        done = subprocess.run([sys.executable, *command], cwd=checkout, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise click.ClickException(
                f"{command[0]} of {checkout} ended with status {done.returncode}:\n{done.stderr}"
            )


# --- What differs -----------------------------------------------------------------------------------------------------


def differences(old: Path, new: Path) -> Iterator[str]:
    """Yield a line for each thing that two folders of `run_all` do not have alike."""
    yield from different_values("dataset", members(old / "heads.zip"), members(new / "heads.zip"))
    yield from different_values("training state", last_state(old), last_state(new))
    yield from different_values("frames", checksums(old / "frames"), checksums(new / "frames"))
    yield from different_values("scores", scores(old), scores(new))


def different_values(where: str, old: Any, new: Any) -> Iterator[str]:
    """Yield the places in nested containers where a tensor or a value is not the same to the last bit."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys(), key=str):
            yield from different_values(f"{where}.{name}", old.get(name), new.get(name))
    elif isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor):
        if not torch.equal(old, new):
            yield where
    elif old != new:
        yield f"{where}: {old!r} and {new!r}"


def members(path: Path) -> dict[str, int]:
    """Return the CRC-32 of every file in a zip."""
    with zipfile.ZipFile(path) as archive:
        return {info.filename: info.CRC for info in archive.infolist()}


def checksums(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file in a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def last_state(place: Path) -> dict[str, Any]:
    """Return the last training state of a run, without the seconds that it took."""
    path = max((place / "runs").glob("*/training-state-*.pt"))
    payload = torch.load(path, weights_only=True)["payload"]
    del payload["progress"]["seconds"]
    return payload


def scores(place: Path) -> dict[str, Any]:
    """Return the results of `calc_metrics.py` by metric, without the seconds that they took."""
    lines = [json.loads(line) for line in (place / "scores.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        del line["seconds"]
    return {line["metric"]: line for line in lines}


if __name__ == "__main__":
    main()
