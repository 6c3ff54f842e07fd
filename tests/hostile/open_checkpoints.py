"""Open hostile checkpoints with every command that takes such a file, in a process of its own.

A line of JSON is printed for each case and command; the test judges.
"""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
import json
import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

import calc_metrics
import checkpoint_tool
import gen_videos
import train
from detectors import torchscript, weights
from dnnlib.options import to_dict
from metrics.statistics_files import load_statistics, read_reference_pickle
from pv3d.actions import train as train_action
from tests.helpers.forks import TINY
from tests.hostile import (
    hostile_containers,
    hostile_contents,
    hostile_detectors,
    hostile_pickles,
    hostile_safetensors,
    hostile_statistics,
)
from tests.hostile.hostile_detectors import small_network
from tests.hostile.measured_calls import Ended, call, invoke, measure
from tests.hostile.outcomes import SOUND, Case
from tests.hostile.pickle_makers import MARK, NAME
from torch_utils import checkpoint
from training.checkpoints import snapshots
from training.data.dataset import ClipDataset
from training.data.pairs import camera_bank
from training.runs.folder import RunFolder
from training.runs.options import RunOptions

SECONDS = 20  # that a command has
ADDRESSES = 2**32  # bytes of address space that a runaway may take more than the process has at first
OPTIONS = [*TINY, "--kimg=0.002"]
SMALL = weights.Source(network="a small network", file="small.pt", origin="released with these tests")


class Place:
    """Folders: `given` has the case's file, `out` what a command writes. A sound snapshot, a dataset, and a run."""

    def __init__(self, root: Path, data: Path):
        self.root = root
        self.data = data
        self.given = root / "given"
        self.out = root / "out"
        with train.main.make_context("train", [*OPTIONS, f"--outdir={root}", f"--data={data}"]) as context:
            _, config = train_action.resolve("demo", context.params)
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
            train_action.run_name("demo", [data], config, ""),
            RunOptions(config=config, data=str(data), fingerprint=dataset.fingerprint(), init_from=None),
        )


# --- The commands ----------------------------------------------------------------------------------------------------


def inspect(path: Path, place: Place) -> Ended:
    """Show what a snapshot holds."""
    return invoke(checkpoint_tool.main, "inspect", path)


def gen(path: Path, place: Place) -> Ended:
    """Make a video of a snapshot."""
    return invoke(gen_videos.main, "--network", path, "--outdir", place.out, "--frames=1", "--seeds=0", "--device=cpu")


def score(path: Path, place: Place) -> Ended:
    """Score a snapshot."""
    return invoke(calc_metrics.main, "--network", path, "--metrics=we1", "--no-cache", "--device=cpu")


def init(path: Path, place: Place) -> Ended:
    """Begin training with a snapshot's weights."""
    return invoke(train.main, *OPTIONS, f"--outdir={place.out / 'runs'}", f"--data={place.data}", "--init-from", path)


def resume(path: Path, place: Place) -> Ended:
    """Go on from the file in place of a run's training state."""
    state = place.run / "training-state-000000.002.pt"
    path.rename(state)
    run = [f"--outdir={place.run.parent}", f"--data={place.data}", f"--resume={place.run}"]
    try:
        return invoke(train.main, *OPTIONS, *run)
    finally:
        state.rename(path)


def compact(path: Path, place: Place) -> Ended:
    """Make a smaller snapshot."""
    return invoke(checkpoint_tool.main, "compact", path, place.out / "small.pkl")


def export(path: Path, place: Place) -> Ended:
    """Write a snapshot as safetensors."""
    return invoke(checkpoint_tool.main, "export", path, place.out / "a.safetensors")


def read_in(path: Path, place: Place) -> Ended:
    """Make a snapshot of safetensors."""
    return invoke(checkpoint_tool.main, "import", path, place.out / "a.pkl")


def statistics(path: Path, place: Place) -> Ended:
    """Read the statistics of features."""

    def read() -> None:
        load_statistics(path, *hostile_statistics.ASKED)

    return call(read)


def reference(path: Path, place: Place) -> Ended:
    """Read the reference's statistics of features."""

    def read() -> None:
        read_reference_pickle(path)

    return call(read)


def state(path: Path, place: Place) -> Ended:
    """Put a detector's weights into a network."""

    def put() -> None:
        weights.put_into(small_network(), weights.read_state(SMALL, path), SMALL, path)

    return call(put)


def script(path: Path, place: Place) -> Ended:
    """Put the weights of a detector's script into a network."""

    def put() -> None:
        network = small_network()
        tensors = torchscript.read_script(SMALL, path)[0]
        weights.put_into(network, torchscript.rename(tensors, network, SMALL, path), SMALL, path)

    return call(put)


def detector(path: Path, place: Place) -> Ended:
    """Score the sound snapshot with the file in place of a public detector's."""
    detectors = ["--metrics=fvd2_9f", "--detectors", path.parent, "--no-cache", "--device=cpu"]
    return invoke(calc_metrics.main, "--network", place.good, *detectors)


EVERY = (inspect, gen, score, init, resume, compact, export, statistics, reference, state, script)
QUICK = (inspect, gen, compact, export, statistics, reference, state, script)
SNAPSHOT = (inspect, gen, score, init, compact, export)


# --- Which cases which commands open ---------------------------------------------------------------------------------

Commands = tuple[Callable[[Path, Place], Ended], ...]
EVERY_SIXTH = 6  # pickle is opened by the slow commands, too
BY_KIND: dict[str, Commands] = {  # by what a case's name begins with
    "snapshot": (inspect, gen, compact, export),
    "header": (inspect, gen, export),
    "config": (inspect, gen, export),
    "weights": SNAPSHOT,
    "part": SNAPSHOT,
    "cut": (*SNAPSHOT, resume),
    "flipped": (inspect, gen, compact, export),
    "flipped behind": (inspect, gen, compact, export),
    "foreign": (inspect, gen, score, init),
    "safetensors": (read_in, inspect, gen),
    "statistics": (statistics,),
    "reference": (reference,),
    "state": (state,),
    "script": (script,),
    "detector": (detector,),
}


def pickle_commands(case: Case, number: int) -> Commands:
    """Return the commands that open the pickle of this number."""
    if case.name in hostile_pickles.SLOW:
        return (inspect, gen)
    if "bomb" in case.name:
        return (inspect, gen, reference, state)
    return EVERY if number % EVERY_SIXTH == 0 else QUICK


def openings(place: Place) -> Iterator[tuple[Case, Commands]]:
    """Yield every case and the commands that open it."""
    sound = Case("snapshot: good", lambda root: Path(shutil.copy(place.good, root / NAME)), SOUND)
    for number, case in enumerate(hostile_pickles.CASES + hostile_containers.CASES):
        yield case, pickle_commands(case, number)
    others = [
        sound,
        *hostile_contents.cases(place.good),
        *hostile_safetensors.cases(place.good),
        *hostile_statistics.CASES,
        *hostile_detectors.CASES,
    ]
    for case in others:
        kind, _, _ = case.name.partition(":")
        yield case, BY_KIND[kind]


# --- What came of them -----------------------------------------------------------------------------------------------


def judge(command: Callable[[Path, Place], Ended], path: Path, place: Place) -> dict:
    """Open a case with a command; return what happened."""
    place.out.mkdir()
    ended = measure(SECONDS, command, path, place)
    files = [path for path in place.out.rglob("*") if not path.is_dir()]
    found = ended | {
        "ran": (place.given / MARK).exists(),
        "left": sorted(str(path.relative_to(place.out)) for path in files),
    }
    shutil.rmtree(place.out)
    return found


def main(root: Path, data: Path, wanted: list[str]) -> None:
    """Open all cases, or those whose names begin as one of `wanted`."""
    torch.set_num_threads(1)
    os.chdir(root)
    place = Place(root, data)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESSES, size + ADDRESSES))
    for case, commands in openings(place):
        if wanted and not case.name.startswith(tuple(wanted)):
            continue
        place.given.mkdir()
        path = case.make(place.given)
        for command in commands:
            about = {
                "name": case.name,
                "sound": case.expected.sound,
                "may_end_well": command.__name__ in case.expected.may_end_well,
            }
            print(json.dumps(about | judge(command, path, place)), flush=True)
        shutil.rmtree(place.given)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
