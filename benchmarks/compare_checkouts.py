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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from dnnlib import cli  # noqa: E402
from dnnlib.errors import UserError  # noqa: E402

KIMG_OF_ITERATION = 0.008  # the demo's preset has batches of 8 clips
METRICS = "fvd9_9f,kvd9_9f,id3,cd3,we3,diversity4,motion4"
FOLDER = click.Path(path_type=Path, file_okay=False)


@cli.command()
@click.argument("old", type=FOLDER)
@click.argument("new", type=FOLDER, default=ROOT)
@cli.option("--iterations", type=click.IntRange(1), default=20, help="Iterations of training.")
@cli.option("--threads", type=click.IntRange(1), default=1, help="CPU threads of every command.")
def main(old: Path, new: Path, iterations: int, threads: int) -> None:
    """Run the commands of the checkouts OLD and NEW (default: this one) and compare what they make."""
    for checkout in (old, new):
        if not (checkout / "train.py").is_file():
            raise UserError(f"{checkout} is no checkout of this software: it has no train.py.")
    with tempfile.TemporaryDirectory(prefix="pv3d-compare-") as folder:
        old_place = Path(folder) / "old"
        new_place = Path(folder) / "new"
        run_all(old.resolve(), old_place, iterations, threads)
        run_all(new.resolve(), new_place, iterations, threads)
        found = list(differences(old_place, new_place))
    for line in found:
        click.echo(f"DIFFERENT: {line}")
    if found:
        click.echo(f"{len(found)} differences.")
        raise click.exceptions.Exit(1)
    click.echo("All numbers are the same.")


def run_all(checkout: Path, place: Path, iterations: int, threads: int) -> None:
    """Write the dataset, the run, the videos and the scores of a checkout below `place`."""
    data = f"--data={place / 'heads.zip'}"
    model = f"--network={checkout / 'models' / 'heads.pkl'}"
    cpu = "--device=cpu"
    synth = ["--clips=9", "--frames=16", "--resolution=64", "--workers=1"]
    length = [f"--kimg={iterations * KIMG_OF_ITERATION:g}", "--snap=0", "--workers=0"]
    frames = ["--seeds=0,1", "--frames=4", "--layers=rgb,depth,normals"]
    scores = [f"--metrics={METRICS}", "--detector=random", "--no-cache"]
    commands = [
        ["dataset_tool.py", "synth", f"--dest={place / 'heads.zip'}", *synth],
        ["train.py", f"--outdir={place / 'runs'}", "--cfg=demo", "--precision=fp32", data, cpu, *length],
        ["gen_videos.py", f"--outdir={place / 'frames'}", model, cpu, *frames],
        ["calc_metrics.py", f"--out={place / 'scores.jsonl'}", model, data, cpu, *scores],
    ]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": ""}
    environment |= {"WORLD_SIZE": "1", "RANK": "0"}  # one process, in checkouts with and without --processes
    for command in commands:
        script = command[0]
        click.echo(f"{checkout.name}: {script}")
        done = subprocess.run([sys.executable, *command], cwd=checkout, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"{script} of {checkout} ended with status {done.returncode}:\n{done.stderr}")


# --- What differs -----------------------------------------------------------------------------------------------------


def differences(old: Path, new: Path) -> Iterator[str]:
    """Yield a line for each thing that two folders of `run_all` do not have alike."""
    for name, read in RESULTS.items():
        yield from different_values(name, read(old), read(new))


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


def dataset_members(place: Path) -> dict[str, int]:
    """Return the CRC-32 of every file in the dataset."""
    with zipfile.ZipFile(place / "heads.zip") as archive:
        return {info.filename: info.CRC for info in archive.infolist()}


def video_checksums(place: Path) -> dict[str, str]:
    """Return the sha256 of every video."""
    found = {}
    for path in (place / "frames").iterdir():
        content = path.read_bytes()
        found[path.name] = hashlib.sha256(content).hexdigest()
    return found


def last_state(place: Path) -> dict[str, Any]:
    """Return the last training state of a run, without the seconds that it took."""
    path = max((place / "runs").glob("*/training-state-*.pt"))
    payload = torch.load(path, weights_only=True)["payload"]
    del payload["progress"]["seconds"]
    return payload


def scores(place: Path) -> dict[str, Any]:
    """Return the results of `calc_metrics.py` by metric, without the seconds that they took."""
    text = (place / "scores.jsonl").read_text(encoding="utf-8")
    found = {}
    for line in text.splitlines():
        result = json.loads(line)
        del result["seconds"]
        found[result["metric"]] = result
    return found


RESULTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "dataset": dataset_members,
    "training state": last_state,
    "frames": video_checksums,
    "scores": scores,
}


if __name__ == "__main__":
    main()
