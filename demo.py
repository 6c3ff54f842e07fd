"""The whole of PV3D in a few minutes: sample the shipped model, train it on, show both on one page."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import click

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.files import require_file
from dnnlib.page import Lines, Page

ROOT = Path(__file__).resolve().parent
MODEL = ROOT / "models" / "heads.pkl"


@cli.command()
@click.option(
    "--outdir", type=click.Path(path_type=Path), default=ROOT / "demo-out", help="Where everything is written."
)
@click.option(
    "--kimg",
    type=click.FloatRange(min=0, min_open=True),
    default=0.4,
    help="Thousand clips to train on for; 0.4 is about a minute on 2 cores.",
)
@click.option("--clips", type=click.IntRange(2), default=96, help="Procedural clips to train on.")
def main(outdir: Path, kimg: float, clips: int):
    """Sample the shipped model, train it on for a minute, and write a page with both."""
    require_file(MODEL, "the demo's model")
    page = Page("PV3D: heads that turn, faces that move")
    sample(page, MODEL, outdir / "before")
    data = make_data(outdir, clips)
    run = train_on(page, data, outdir / "runs", kimg)
    show_training(page, run)
    path = outdir / "index.html"
    page.write(path)
    click.echo(f"\nOpen {path}")


def run_command(*arguments: str) -> None:
    """Runs one of this checkout's commands, printed as a user would type it."""
    click.echo("\n$ python " + shlex.join(str(a).removeprefix(str(ROOT) + "/") for a in arguments))
    with subprocess.Popen([sys.executable, *map(str, arguments)], cwd=ROOT) as process:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            process.wait()  # Ctrl-C reached it too: it tidies up and ends by itself
            raise
    if status:
        raise UserError(f"{arguments[0]} stopped with status {status}; its message is above.")


def make_data(outdir: Path, clips: int) -> Path:
    """Procedural talking heads, made once."""
    path = outdir / f"heads-{clips}.zip"
    if not path.exists():
        run_command("dataset_tool.py", "synth", "--dest", path, "--clips", clips, "--frames", 16, "--resolution", 64)
    return path


def sample(page: Page, model: Path, outdir: Path) -> None:
    """Videos of the model: depth and normals, an orbit, one face with several motions and the reverse."""
    page.heading("Frames, depth and normals", "Sampled from the shipped model: six appearances, real camera paths.")
    layers = ("--layers", "rgb,depth,normals", "--neural-rendering-resolution", "64")
    page.videos(
        [
            (
                video(model, outdir / "layers", "--seeds", "0-5", "--grid", "2x3", "--frames", "32", *layers),
                "Each cell: frame, depth, surface normals.",
            )
        ]
    )
    page.heading("Turn the camera", "The same heads on an orbit: one temporal tri-plane each, any viewpoint.")
    orbit = video(model, outdir / "orbit", "--seeds", "0-11", "--grid", "6x2", "--cameras", "orbit", "--frames", "32")
    page.videos([(orbit, "Twelve appearances.")])
    page.heading("Appearance and motion are separate codes")
    one_face = video(
        model,
        outdir / "motions",
        "--seeds",
        "1",
        "--motion-seeds",
        "0-5",
        "--grid",
        "6x1",
        "--cameras",
        "frontal",
        "--frames",
        "32",
    )
    one_motion = video(
        model,
        outdir / "faces",
        "--seeds",
        "0-5",
        "--motion-seeds",
        "3",
        "--grid",
        "6x1",
        "--cameras",
        "frontal",
        "--frames",
        "32",
    )
    page.videos([(one_face, "One appearance, six motions."), (one_motion, "One motion, six appearances.")])


def video(model: Path, outdir: Path, *arguments: str) -> Path:
    """One grid video."""
    run_command("gen_videos.py", "--network", model, "--outdir", outdir, "--fps", "16", *arguments)
    return outdir / "grid.mp4"


def train_on(page: Page, data: Path, outdir: Path, kimg: float) -> Path:
    """A new run from the model's weights; returns its folder."""
    command = [
        "train.py",
        "--outdir",
        outdir,
        "--cfg",
        "demo",
        "--data",
        data,
        "--init-from",
        MODEL,
        "--resume",
        "none",
        "--kimg",
        kimg,
        "--tick",
        kimg / 10,
        "--snap",
        "0",
    ]
    run_command(*command)
    page.heading("Trained on", f"{kimg:g} thousand more clips of procedural heads, on this machine.")
    page.code("python " + shlex.join(str(a).removeprefix(str(ROOT) + "/") for a in command))
    return sorted(outdir.iterdir())[-1]


def show_training(page: Page, run: Path) -> None:
    """The run's newest video and its curves."""
    newest = sorted(run.glob("fakes*.mp4"))[-1]
    page.videos([(newest, "After training: front view, side view, depth, normals of four fixed seeds.")])
    rows = [json.loads(line) for line in (run / "stats.jsonl").read_text(encoding="utf-8").splitlines()]
    x = [row["kimg"] for row in rows]
    scores = ("scores/real_img", "scores/fake_img", "scores/real_vid", "scores/fake_vid")
    page.charts(
        [
            ("Losses of generator and discriminators.", x, lines(rows, "loss/g", "loss/d")),
            ("Mean scores of real and fake clips.", x, lines(rows, *scores)),
        ],
        "kimg",
    )


def lines(rows: list[dict], *names: str) -> Lines:
    """Statistics by their short names; a tick that lacks one has None."""
    return {name.split("/")[1]: [row.get(name) for row in rows] for name in names}


if __name__ == "__main__":
    main()
