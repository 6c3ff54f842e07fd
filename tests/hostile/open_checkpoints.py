"""Opens hostile checkpoints with every command that takes such a file, in a process of its own.

Prints a line of JSON for each case and command; the test judges.
"""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
import json
import os
import resource
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

import calc_metrics
import checkpoint_tool
import gen_videos
import train
from detectors import torchscript, weights
from dnnlib.errors import UserError
from metrics.statistics_files import load_statistics, read_reference_pickle
from tests.hostile import hostile_contents, hostile_others, hostile_pickles
from tests.hostile.hostile_pickles import MARK, NAME
from tests.hostile.open_data import invoke, watched
from torch_utils import checkpoint
from training.checkpoints import snapshots
from training.config import to_dict
from training.data.dataset import ClipDataset
from training.data.pairs import camera_bank
from training.runs.folder import RunFolder, RunOptions

SECONDS = 20
ADDRESSES = 2**32  # what a runaway may take more than the process has at first
OPTIONS = [
    "--cfg=demo",
    "--img-resolution=32",
    "--plane-resolution=16",
    "--motion-blocks=2",
    "--cbase=128",
    "--cmax=8",
    "--d-cbase=128",
    "--d-cmax=8",
    "--depth-samples=4",
    "--importance-samples=4",
    "--neural-rendering-resolution=8",
    "--batch=2",
    "--workers=0",
    "--device=cpu",
    "--kimg=0.002",
]
SMALL = weights.Source("a small network", "small.pt", "released with these tests")


class Place:
    """Folders: `given` the case's file, `out` what a command writes; the good files."""

    def __init__(self, root: Path, data: Path):
        self.root, self.data, self.given, self.out = root, data, root / "given", root / "out"
        flags = {train._parameter(key): None for key in train.FLAGS}
        with train.main.make_context("train", [*OPTIONS, f"--outdir={root}", f"--data={data}"]) as context:
            flags |= {name: value for name, value in context.params.items() if name in flags}
        config = train.resolve("demo", flags)
        dataset = ClipDataset(data, config.generator.img_resolution)
        average = snapshots.build_networks(config, 0, torch.device("cpu")).G_ema
        content = {
            "config": to_dict(config),
            "weights": {"G_ema": average.state_dict()},
            "progress": {"kimg": 2.0},
            "camera_bank": camera_bank(dataset, seed=0),
        }
        self.good = root / "good.pkl"
        checkpoint.save(self.good, content, "snapshot")
        self.run = RunFolder.create(
            root / "runs",
            train.run_name("demo", data, config, ""),
            RunOptions(config, str(data), dataset.fingerprint(), None),
        )


def inspect(path: Path, place: Place) -> tuple[int, str, str]:
    return invoke(checkpoint_tool.main, "inspect", path)


def gen(path: Path, place: Place) -> tuple[int, str, str]:
    return invoke(gen_videos.main, "--network", path, "--outdir", place.out, "--frames=1", "--seeds=0", "--device=cpu")


def score(path: Path, place: Place) -> tuple[int, str, str]:
    return invoke(calc_metrics.main, "--network", path, "--metrics=we1", "--no-cache", "--device=cpu")


def init(path: Path, place: Place) -> tuple[int, str, str]:
    return invoke(train.main, *OPTIONS, f"--outdir={place.out / 'runs'}", f"--data={place.data}", "--init-from", path)


def resume(path: Path, place: Place) -> tuple[int, str, str]:
    state = place.run / "training-state-000000.002.pt"
    path.rename(state)
    try:
        return invoke(
            train.main, *OPTIONS, f"--outdir={place.run.parent}", f"--data={place.data}", f"--resume={place.run}"
        )
    finally:
        state.rename(path)


def compact(path: Path, place: Place) -> tuple[int, str, str]:
    return invoke(checkpoint_tool.main, "compact", path, place.out / "small.pkl")


def export(path: Path, place: Place) -> tuple[int, str, str]:
    return invoke(checkpoint_tool.main, "export", path, place.out / "a.safetensors")


def read_in(path: Path, place: Place) -> tuple[int, str, str]:
    return invoke(checkpoint_tool.main, "import", path, place.out / "a.pkl")


def _function(function: Callable, path: Path) -> tuple[int, str, str]:
    """What a command would make of what a function does."""
    try:
        function(path)
        return 0, "", ""
    except UserError as error:
        return 2, f"Error: {error}\n", ""
    except Exception:
        return 1, "", traceback.format_exc()


def statistics(path: Path, place: Place) -> tuple[int, str, str]:
    return _function(lambda path: load_statistics(path, *hostile_others.ASKED), path)


def reference(path: Path, place: Place) -> tuple[int, str, str]:
    return _function(read_reference_pickle, path)


def state(path: Path, place: Place) -> tuple[int, str, str]:
    def load(path: Path) -> None:
        network = hostile_others.small()
        weights.put_into(network, weights.read_state(SMALL, path), SMALL, path)

    return _function(load, path)


def script(path: Path, place: Place) -> tuple[int, str, str]:
    def load(path: Path) -> None:
        network = hostile_others.small()
        weights.put_into(
            network, torchscript.rename(torchscript.read_script(SMALL, path)[0], network, SMALL, path), SMALL, path
        )

    return _function(load, path)


def detector(path: Path, place: Place) -> tuple[int, str, str]:
    """The file in place of each public detector's."""
    return invoke(
        calc_metrics.main,
        "--metrics=fvd2_9f",
        "--network",
        place.good,
        "--detectors",
        path.parent,
        "--no-cache",
        "--device=cpu",
    )


EVERY = (inspect, gen, score, init, resume, compact, export, statistics, reference, state, script)
QUICK = (inspect, gen, compact, export, statistics, reference, state, script)
SNAPSHOT = (inspect, gen, score, init, compact, export)


def cases(place: Place) -> Iterator[tuple[str, Callable[[Path], Path], tuple[Callable, ...], frozenset[str]]]:
    """Name, build, commands that open it, and those of them that may end well."""
    yield "snapshot: good", lambda root: Path(shutil.copy(place.good, root / NAME)), QUICK[:4], frozenset()
    for number, (name, build) in enumerate(hostile_pickles.CASES.items()):
        commands = EVERY if number % 6 == 0 else QUICK
        if "bomb" in name:
            commands = (inspect, gen) if name in hostile_pickles.LONG else (inspect, gen, reference, state)
        yield name, build, commands, hostile_contents.READS if name in hostile_pickles.HARMLESS else frozenset()
    for name, data in hostile_contents.damaged(place.good).items():
        bears = frozenset(command.__name__ for command in QUICK) if "flipped" in name else frozenset()
        commands = (inspect, gen, compact, export) if bears else (*SNAPSHOT, resume)
        yield name, partial(hostile_pickles.written, data), commands, bears
    for name, case in hostile_contents.SNAPSHOTS.items():
        commands = SNAPSHOT if name.startswith(("weights", "part")) else (inspect, gen, export)
        yield name, partial(hostile_contents.build, case, place.good), commands, case.bears
    for name, content in hostile_contents.foreign(place.good).items():

        def build(root: Path, content=content) -> Path:
            torch.save(content, root / NAME)
            return root / NAME

        yield f"foreign: {name}", build, (inspect, gen, score, init), hostile_contents.READS
    commands = {
        "safetensors": (read_in, inspect),
        "statistics": (statistics,),
        "reference": (reference,),
        "state": (state,),
        "script": (script,),
        "detector": (detector,),
    }
    for name, (build, bears) in hostile_others.cases(place.good).items():
        yield name, build, commands[name.split(":")[0]], bears


def judge(command: Callable, path: Path, place: Place) -> dict:
    """Opens a case, and says what happened."""
    place.out.mkdir()
    found = {
        **watched(SECONDS, command, path, place),
        "ran": (place.given / MARK).exists(),
        "left": sorted(str(path.relative_to(place.out)) for path in place.out.rglob("*") if not path.is_dir()),
    }
    shutil.rmtree(place.out)
    return found


def main(root: Path, data: Path, wanted: list[str]) -> None:
    """Every command on all cases, or on those whose names begin so."""
    torch.set_num_threads(1)
    os.chdir(root)
    place = Place(root, data)
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + ADDRESSES, has + ADDRESSES))
    for name, build, commands, bears in cases(place):
        if wanted and not name.startswith(tuple(wanted)):
            continue
        place.given.mkdir()
        path = build(place.given)
        for command in commands:
            print(
                json.dumps({"name": name, "bears": command.__name__ in bears, **judge(command, path, place)}),
                flush=True,
            )
        shutil.rmtree(place.given)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
