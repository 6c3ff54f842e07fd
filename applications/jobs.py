"""What the commands of applications share: a model that is loaded, latents that are found or read, files that are made.

Every file has a record beside it of how it was made, as those of `gen_videos.py`: what is there already is not made
again, and what was made with other options is never taken for it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from applications.inversion import Work
from applications.latents import Latents, digest_of, digest_of_latents, load_latents, save_latents, tuned_generator
from applications.losses import Comparison, EmbeddingDistance, FeatureDistance, PixelDistance, Term
from applications.options import COLUMNS, GENERATED, USUAL_OUTPUT, InversionOptions, Output
from applications.running import Inversion, Inverted
from applications.scores import Closeness, closeness
from applications.showing import result_frames, shown_frames, strips_of
from applications.targets import Target
from detectors import load_arcface, load_lpips, weights
from detectors.arcface import SIDE as ARCFACE_SIDE
from detectors.dlib_face import DlibEmbedder
from dnnlib.errors import UserError
from dnnlib.files import with_checksum, write_json
from dnnlib.options import to_dict
from dnnlib.progress import Counter, counted
from torch_utils.startup import Machine
from training.checkpoints import sources
from training.checkpoints.opener import Discriminators, load_discriminators, load_generator
from training.checkpoints.snapshots import Snapshot
from training.config import Config
from training.networks.generator import Generator
from training.sampling import pictures, records
from training.sampling.frame_files import as_arrays, name_of, write_frames
from training.sampling.options import SamplingOptions
from training.sampling.records import Product

LATENTS = "latents.pt"
REPORT = "report.json"
SMALL = 128  # pixels up to which several frames fit into a pass
FRAMES_PER_PASS = 4

Plain = dict[str, Any]


# --- A model ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Session:
    """A model that is loaded, and where files are made.

    Args:
        checksum: of its file.
        model: digest of the generator's weights.
        bank: real camera paths [M, F, 25] of its snapshot.
        discriminators: those that the snapshot has.
        detectors: folder of other networks' weights, to be looked into first.
        software: what computes (`records.software`).
        notes: sentences for the user.
        output: how videos and pictures are written.
    """

    network: Path
    checksum: str
    G: Generator
    discriminators: Discriminators
    config: Config
    model: str
    bank: torch.Tensor
    machine: Machine
    work: Work
    detectors: Path | None
    software: Plain
    outdir: Path
    notes: tuple[str, ...]
    output: Output = USUAL_OUTPUT

    @classmethod
    def open(
        cls,
        network: str | Path,
        outdir: Path,
        machine: Machine,
        *,
        batch: int | None = None,
        recompute: bool = False,
        detectors: Path | None = None,
        output: Output = USUAL_OUTPUT,
    ) -> "Session":
        """Load a snapshot, called as of `sources.found`. UserError if it is none."""
        source = sources.found(network)

        def read(path: Path) -> tuple[Snapshot, Discriminators]:
            return load_generator(path, machine.device, machine.dtype), load_discriminators(path, machine.device)

        (snapshot, discriminators), checksum = with_checksum(source.path, read)
        fitting = FRAMES_PER_PASS if snapshot.config.generator.img_resolution <= SMALL else 1
        return cls(
            network=source.path,
            checksum=checksum,
            G=snapshot.G,
            discriminators=discriminators,
            config=snapshot.config,
            model=digest_of(snapshot.G),
            bank=snapshot.camera_bank,
            machine=machine,
            work=Work(frames_per_pass=batch or fitting, recompute=recompute),
            detectors=detectors,
            software=records.software(machine.device, "applications"),
            outdir=outdir,
            notes=(*source.notes, *snapshot.notes, *machine.notes),
            output=output,
        )

    @property
    def sampling(self) -> SamplingOptions:
        """How frames are sampled."""
        return SamplingOptions(frames_per_batch=self.work.frames_per_pass)

    def product(self, name: str, frames: int, options: Plain, write: Callable[[Path, Counter], None]) -> Product:
        """Return a file to make, that follows from the model and these options."""
        whole = {"network": self.checksum, "precision": self.machine.number_format, **options}
        return Product(
            path=self.outdir / name,
            frames=frames,
            options=lambda: whole,
            software=self.software,
            write=write,
        )


# --- What frames are compared by --------------------------------------------------------------------------------------


def build_comparison(session: Session, target: Target, options: InversionOptions) -> tuple[Comparison, list[str]]:
    """Return what an inversion compares frames by, and sentences about what is left out.

    Raises:
        UserError: weights of LPIPS or ArcFace that were asked for are missing.
    """
    notes = []
    terms = [Term(weight=options.pixels, distance=PixelDistance())]
    D = session.discriminators.D_img
    if options.features and D is None:
        notes.append(f"{session.network} has no image discriminator, so that its features are not compared.")
    elif options.features and D is not None:
        side = session.config.generator.rendering.resolution
        terms.append(Term(weight=options.features, distance=FeatureDistance(D, side)))
    if options.lpips:
        network = load_lpips(kind="public", folder=session.detectors, device=session.machine.device)
        terms.append(Term(weight=options.lpips, distance=_Perceptual(network)))
    if options.identity:
        arcface = load_arcface(kind="public", folder=session.detectors, device=session.machine.device)
        terms.append(Term(weight=options.identity, distance=EmbeddingDistance(partial(_faces, arcface.network))))
    if not any(term.weight for term in terms):
        raise UserError("Nothing is left to compare frames by: give --pixels, --features, --lpips or --identity.")
    return Comparison(terms, target.images.to(session.machine.device)), notes


class _Perceptual:
    """LPIPS as a distance of descriptions."""

    def __init__(self, network: Any):
        self.network = network

    def describe(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of all taps."""
        return list(self.network.features(images))

    def between(self, seen: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return distances [N]."""
        return self.network.distance(seen, wanted)


def _faces(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return ArcFace's embeddings [N, 512] of frames [N, 3, R, R] in [-1, 1]."""
    small = torch.nn.functional.interpolate(images, (ARCFACE_SIDE, ARCFACE_SIDE), mode="bilinear", align_corners=False)
    return network(small)


# --- Latents ----------------------------------------------------------------------------------------------------------


def find_latents(
    session: Session, target: Target, options: InversionOptions, *, with_motion: bool
) -> tuple[Latents, list[str]]:
    """Return the latents of a picture or clip, from the folder if they have been found already.

    A start that was interrupted is gone on with. `report.json` says how close they come.

    Returns:
        latents, and sentences for the user.

    Raises:
        UserError: the folder holds other latents, or the state of another inversion.
    """
    path = session.outdir / LATENTS
    what = {
        "network": session.checksum,
        "target": target.digest(),
        "options": to_dict(options),
        "with_motion": with_motion,
    }
    if records.is_made(path, lambda: what, session.software):
        return load_latents(path, session.G, session.model), [f"{path} is there already, found with the same options."]
    comparison, notes = build_comparison(session, target, options)
    inversion = Inversion(
        G=session.G,
        model=session.model,
        network=session.checksum,
        target=target,
        comparison=comparison,
        options=options,
        with_motion=with_motion,
        work=session.work,
        folder=session.outdir,
    )
    with records.making(path, what, session.software):
        inverted = inversion.run()
        close = write_report(session, target, inverted, options, notes)
        save_latents(path, inverted.latents)
    inversion.forget()
    return inverted.latents, [*notes, f"{path}: {in_words(close)}."]


def write_report(
    session: Session, target: Target, inverted: Inverted, options: InversionOptions, notes: list[str]
) -> Closeness:
    """Write and return how close the result comes to the input; what could not be measured is added to the notes."""
    G = tuned_generator(session.G, inverted.latents)
    result = result_frames(G, inverted.latents, session.sampling)
    close = measure(session, result, pictures.to_uint8(target.images), notes)
    write_json(
        session.outdir / REPORT,
        {
            "input": target.name,
            "frames": len(target),
            **{name: value if value is None or math.isfinite(value) else None for name, value in asdict(close).items()},
            "first_loss": inverted.losses[0],
            "last_loss": inverted.losses[1],
            "seconds": inverted.seconds,
            "seconds_per_frame": inverted.seconds / len(target),
            "options": to_dict(options),
            "notes": notes,
        },
    )
    return close


def measure(session: Session, result: torch.Tensor, target: torch.Tensor, notes: list[str]) -> Closeness:
    """Compare frames uint8 [T, 3, R, R] with those that they should be, by all networks whose weights are there."""
    lpips = None
    missing = [
        source.file for source in (weights.LPIPS, weights.VGG16) if not weights.is_at_hand(source, session.detectors)
    ]
    if missing:
        notes.append(f"LPIPS was not measured, as {' and '.join(missing)} are not at hand (docs/metrics.md).")
    else:
        lpips = load_lpips(kind="public", folder=session.detectors, device="cpu")
    identity = None
    try:
        identity = identity_similarity(DlibEmbedder(), result.cpu(), target.cpu())
        if identity is None:
            notes.append("Identity was not measured, as no face was found in input and result.")
    except UserError as error:
        notes.append(f"Identity was not measured: {error}")
    return closeness(result.cpu(), target.cpu(), lpips=lpips, identity=identity)


def identity_similarity(embedder: DlibEmbedder, a: torch.Tensor, b: torch.Tensor) -> float | None:
    """Return the mean cosine of faces in frames uint8 [N, 3, R, R] and [N, 3, R, R]; None if there are no pairs."""
    faces = [embedder.embed(frames) for frames in (a, b)]
    found = faces[0].found & faces[1].found
    if not found.any():
        return None
    cosines = (faces[0].embeddings * faces[1].embeddings).sum(dim=1)
    return cosines[found].mean().item()


def in_words(close: Closeness) -> str:
    """Return how close a result comes, in a line."""
    words = [f"PSNR {close.psnr:.1f} dB", f"SSIM {close.ssim:.3f}"]
    if close.lpips is not None:
        words.append(f"LPIPS {close.lpips:.3f}")
    if close.identity is not None:
        words.append(f"identity {close.identity:.3f}")
    return ", ".join(words)


# --- Files ------------------------------------------------------------------------------------------------------------


def video(
    session: Session,
    name: str,
    latents: Latents,
    *,
    target: Target | None = None,
    columns: tuple[str, ...] | None = None,
    save: bool = False,
) -> Product:
    """Return the video of latents; of a single frame, the picture (`name` goes without suffix).

    Args:
        columns: of COLUMNS; None: all that there are.
        save: whether the latents are written beside it, as `<name>.pt`; beside a GIF, `<name>.gif.pt`.

    Raises:
        UserError: a label has no room, or what lies there was made with other options.
    """
    is_picture = len(latents) == 1
    output = replace(session.output, format=USUAL_OUTPUT.format) if is_picture else session.output
    columns = columns or (GENERATED if target is None else COLUMNS)
    seen = None if target is None else pictures.to_uint8(target.images)
    options: Plain = {
        "latents": digest_of_latents(latents),
        "columns": list(columns),
        "fps": latents.fps,
        "input": None if target is None else target.digest(),
        **output.options(),
    }
    if output.labels:
        strips_of(columns, session.config.generator.img_resolution * output.scale, output.scale)

    def write(path: Path, counter: Counter) -> None:
        G = tuned_generator(session.G, latents)
        frames = shown_frames(G, latents, columns=columns, target=seen, sampling=session.sampling, output=output)
        if save:
            save_latents(records.beside(path, ".pt"), latents)
        write_frames(path, as_arrays(counted(frames, counter)), count=len(latents), fps=latents.fps)

    place = f"{name}.png" if is_picture else name_of(name, output.format)
    other = session.outdir / f"{name}.{'mp4' if is_picture else 'png'}"
    if other.exists() and records.record_of(other) == records.record_of(session.outdir / place):
        raise UserError(f"{other} was made with other options: choose another --outdir, or remove it.")
    return session.product(place, len(latents), options, write)
