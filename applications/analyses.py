"""The files of the analyses of a model: style mixing, what discriminators make of cameras, motion over time."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from applications.camera_alignment import camera_alignment
from applications.charts import write_chart
from applications.frame_pairs import dataset_pairs, generated_pairs
from applications.jobs import Session
from applications.motion_curves import motion_curves
from applications.showing import save_picture
from applications.style_mixing import appearance_codes, appearances, mixing_grid
from dnnlib.files import atomic_folder, write_json
from dnnlib.progress import Counter
from training.cameras import frontal_label
from training.data.dataset import ClipDataset
from training.data.streams import Stream
from training.sampling.clips import latent_code
from training.sampling.records import Product

NUMBERS = "numbers.json"


@dataclass(frozen=True, kw_only=True)
class AnalysisOptions:
    """What is analysed.

    Args:
        seeds: appearances: rows of the grid of style mixing, and those whose motion is measured.
        style_seeds: appearances of the grid's columns.
        layers: rows of w that come from these; None: those of the blocks with motion layers.
        t: time of the grid's frames, 0 to 1.
        motion_seeds: motions of each appearance; the grid has the first.
        frames: times at which motion is measured.
        pairs: pairs of frames that discriminators judge.
        data: dataset to take these of; None: they are generated.
    """

    seeds: Sequence[int]
    style_seeds: Sequence[int]
    layers: Sequence[int] | None
    t: float
    motion_seeds: Sequence[int]
    frames: int
    pairs: int
    data: Path | None


def analysis(session: Session, what: str, options: AnalysisOptions) -> Product:
    """Return the picture, or the folder of numbers and charts, of one of ANALYSES."""
    if what == "style-mixing":
        return _style_mixing(session, options)
    if what == "alignment":
        return _alignment(session, options)
    return _motion(session, options)


def _style_mixing(session: Session, options: AnalysisOptions) -> Product:
    """Return the grid of Fig. 7."""
    frames = (len(options.seeds) + 1) * (len(options.style_seeds) + 1) - 1
    plain = {
        "seeds": list(options.seeds),
        "style_seeds": list(options.style_seeds),
        "layers": None if options.layers is None else list(options.layers),
        "t": options.t,
        "motion_seed": options.motion_seeds[0],
    }

    def write(path: Path, counter: Counter) -> None:
        camera = frontal_label()
        motion = latent_code(options.motion_seeds[0], session.G.config.z_motion_dim, Stream.MOTION)
        rows, columns = (
            appearances(
                session.G,
                appearance_codes(session.G, seeds),
                camera=camera,
                z_motion=motion,
                t=options.t,
                options=session.sampling,
            )
            for seeds in (options.seeds, options.style_seeds)
        )
        grid = mixing_grid(
            session.G,
            rows,
            columns,
            camera=camera,
            t=options.t,
            layers=options.layers,
            options=session.sampling,
        )
        save_picture(path, grid)
        counter.update(frames)

    return session.product("style-mixing.png", frames, plain, write)


def _alignment(session: Session, options: AnalysisOptions) -> Product:
    """Return the numbers and the histograms of Fig. 8."""
    dataset = None if options.data is None else ClipDataset(options.data, session.config.generator.img_resolution)
    plain = {"pairs": options.pairs, "data": None if dataset is None else dataset.fingerprint()}

    def write(path: Path, counter: Counter) -> None:
        if dataset is None:
            pairs = generated_pairs(session.G, session.bank, count=options.pairs, seed=0, options=session.sampling)
        else:
            pairs = dataset_pairs(dataset, session.config, count=options.pairs, seed=0)
        found = camera_alignment(session.discriminators, pairs, counter)
        with atomic_folder(path) as folder:
            for name, svg in found.charts().items():
                write_chart(folder / f"{name}.svg", svg)
            write_json(folder / NUMBERS, found.summary())

    return session.product("alignment", options.pairs, plain, write)


def _motion(session: Session, options: AnalysisOptions) -> Product:
    """Return the numbers and the chart of motion over time."""
    count = len(options.seeds) * len(options.motion_seeds) * options.frames
    plain = {
        "seeds": list(options.seeds),
        "motion_seeds": list(options.motion_seeds),
        "frames": options.frames,
    }
    return session.product("motion", count, plain, partial(_write_motion, session, options))


def _write_motion(session: Session, options: AnalysisOptions, path: Path, counter: Counter) -> None:
    found = motion_curves(
        session.G,
        options.seeds,
        options.motion_seeds,
        options.frames,
        counter,
        session.sampling,
    )
    with atomic_folder(path) as folder:
        write_chart(folder / "curves.svg", found.chart())
        write_json(folder / NUMBERS, found.summary())
