"""The whole of PV3D in a few minutes: sample the shipped model, train it on, show both on one page."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import click

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.files import file_checksum, require_file
from dnnlib.names import natural_key
from dnnlib.page import Lines, Page, table
from pv3d.command import name_of
from training.checkpoints.sources import SHIPPED

ROOT = Path(__file__).resolve().parent
IS_CHECKOUT = (ROOT / "pyproject.toml").exists()  # else it is where pv3d is installed
MODEL = SHIPPED["heads"]
SCORES = MODEL.with_suffix(".scores.jsonl")  # written by calc_metrics.py --out
SHAPE_RESOLUTION = 64  # of the surfaces' lattices: enough for 64 x 64 pixels
ORBIT = {"cameras": "orbit", "orbit_yaw": 45, "orbit_pitch": 5}


@cli.command()
@cli.option("--outdir", type=click.Path(path_type=Path), default=Path("demo-out"), help="Where everything is written.")
@cli.option(
    "--kimg",
    type=click.FloatRange(min=0, min_open=True),
    default=0.65,
    help="Thousand clips to train on for; 0.65 takes one to two minutes on 2 cores.",
)
@cli.option("--clips", type=click.IntRange(2), default=96, help="Procedural clips to train on.")
def main(outdir: Path, kimg: float, clips: int) -> None:
    """Sample the shipped model, train it on for a minute, and write a page with both."""
    require_file(MODEL, "demo's model")
    outdir = outdir.absolute()
    page = Page("PV3D: heads that turn, faces that move")
    show_samples(page, outdir / "before")
    data = make_data(outdir, clips)
    run = train_on(page, data, outdir / "runs", kimg)
    show_training(page, run)
    path = outdir / "index.html"
    page.write(path)
    click.echo(f"\nOpen {path}")


# --- Commands of this checkout ---------------------------------------------------------------------------------------


def command(*words: str, **options: object) -> list[str]:
    """Return a command line: command("train.py", init_from=path) -> ["train.py", "--init-from", "<path>"]."""
    arguments = list(words)
    for name, value in options.items():
        arguments += ["--" + name.replace("_", "-"), str(value)]
    return arguments


def as_typed(arguments: list[str]) -> str:
    """Return a command line as a user would type it: in this checkout, or anywhere if pv3d is installed."""
    if IS_CHECKOUT:
        return "python " + shlex.join(argument.removeprefix(f"{ROOT}/") for argument in arguments)
    script, *others = arguments
    return shlex.join(["pv3d", name_of(script), *others])


def run_command(arguments: list[str]) -> None:
    """Print a command line and run it."""
    click.echo(f"\n$ {as_typed(arguments)}")
    with subprocess.Popen([sys.executable, *arguments], cwd=ROOT) as process:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            process.wait()  # Ctrl-C reached it too: it tidies up and ends by itself
            raise
    if status:
        raise UserError(f"{arguments[0]} stopped with status {status}; its message is above.")


# --- The shipped model -----------------------------------------------------------------------------------------------


def show_samples(page: Page, outdir: Path) -> None:
    """Show videos of the model: depth and surface, an orbit, one face with several motions and the reverse; scores."""
    page.heading("Frames, depth, surface", "Sampled from the shipped model: six appearances, real camera paths.")
    layers = grid_video(
        outdir / "layers",
        seeds="0-5",
        grid="2x3",
        layers="rgb,depth,shape",
        neural_rendering_resolution=64,
        shape_resolution=SHAPE_RESOLUTION,
    )
    page.videos([(layers, "Each cell: frame, depth, the surface under a light.")])

    page.heading("Turn the camera", "The same heads from 45 degrees left to 45 right: one temporal tri-plane each.")
    orbit = grid_video(outdir / "orbit", seeds="0-11", grid="6x2", **ORBIT)
    turntable = grid_video(
        outdir / "turntable", seeds="0-5", grid="3x2", layers="shape", shape_resolution=SHAPE_RESOLUTION, **ORBIT
    )
    page.videos([(orbit, "Twelve appearances."), (turntable, "The surfaces of six.")])

    page.heading("Appearance and motion are separate codes")
    one_face = grid_video(outdir / "motions", seeds="1", motion_seeds="0-5", grid="6x1", cameras="frontal")
    one_motion = grid_video(outdir / "faces", seeds="0-5", motion_seeds="3", grid="6x1", cameras="shared")
    page.videos(
        [(one_face, "One appearance, six motions."), (one_motion, "One motion and one camera path, six appearances.")]
    )
    show_scores(page)


def show_scores(page: Page) -> None:
    """Show what calc_metrics.py found of the model, if that is there; not what it found of another in its place."""
    if not SCORES.exists():
        return
    checksum = file_checksum(MODEL)
    rows = []
    for line in SCORES.read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        if found["source"]["snapshot"].split()[0] != checksum:
            continue
        details = found["details"]
        beside = details.get("floor", details.get("procedural"))
        error = found["standard_error"]
        rows.append(
            [
                found["metric"],
                f"{found['value']:.3g}" + ("" if error is None else f" ± {error:.1g}"),
                "" if beside is None else f"{beside:.3g}",
            ]
        )
    if rows:
        page.heading(
            "Scores",
            f"Of people it has not seen ({SCORES.parent.name}/README.md). An aim is what true frames score or allow.",
        )
        page.add(table(["metric", "model", "aim"], rows))


def grid_video(outdir: Path, **options: object) -> Path:
    """Make a video of a grid of clips with gen_videos.py, in place of one that is there, however that was made."""
    path = outdir / "grid.mp4"
    for old in (path, path.with_suffix(".json")):
        old.unlink(missing_ok=True)
    run_command(command("gen_videos.py", network=MODEL, outdir=outdir, frames=32, fps=16, **options))
    return path


# --- Training --------------------------------------------------------------------------------------------------------


def make_data(outdir: Path, clips: int) -> Path:
    """Make a dataset of procedural talking heads, unless it is there."""
    path = outdir / f"heads-{clips}.zip"
    if not path.exists():
        run_command(command("dataset_tool.py", "synth", dest=path, clips=clips, frames=16, resolution=64))
    else:
        click.echo(f"\nTaking {path}, which is there.")
    return path


def train_on(page: Page, data: Path, outdir: Path, kimg: float) -> Path:
    """Start a new run from the model's weights; return its folder."""
    arguments = command(
        "train.py",
        outdir=outdir,
        cfg="demo",
        data=data,
        init_from=MODEL,
        resume="none",
        kimg=kimg,
        tick=kimg / 10,
        snap=0,
    )
    run_command(arguments)
    page.heading("Trained on", f"{kimg:g} thousand more clips of procedural heads, on this machine.")
    page.code(as_typed(arguments))
    return max(outdir.glob("[0-9]*/training_options.json"), key=natural_key).parent


def show_training(page: Page, run: Path) -> None:
    """Show a run's newest video and its curves."""
    newest = max(run.glob("fakes*.mp4"), key=natural_key)
    page.videos([(newest, "After training: front view, side view, depth, normals of four fixed seeds.")])
    text = (run / "stats.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    kimg = [row["kimg"] for row in rows]
    losses = lines(rows, "loss/g", "loss/d")
    scores = lines(rows, "scores/real_img", "scores/fake_img", "scores/real_vid", "scores/fake_vid")
    page.charts(
        [
            ("Losses of generator and discriminators.", kimg, losses),
            ("Mean scores of real and fake clips.", kimg, scores),
        ],
        "kimg",
    )


def lines(rows: list[dict], *names: str) -> Lines:
    """Return statistics by their short names; None for a tick that lacks one."""
    return {name.split("/")[1]: [row.get(name) for row in rows] for name in names}


if __name__ == "__main__":
    main()
