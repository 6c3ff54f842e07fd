"""One picture or video of one's own as a small dataset, whatever its quality: for what is made of a single clip."""

from dataclasses import replace
from pathlib import Path

from dnnlib.errors import UserError
from dnnlib.files import refuse_existing
from dnnlib.video import VIDEO_SUFFIXES
from preprocessing import command
from preprocessing.cutting import Segment
from preprocessing.judging import fault_of
from preprocessing.options import CameraOptions, ChoosingOptions, PreprocessOptions
from preprocessing.pipeline import clip_records
from preprocessing.report import licences
from preprocessing.sources import PICTURE_SUFFIXES, is_picture, list_sources
from preprocessing.stages import Workplace
from training.data.writer import write_dataset

# A dataset wants good clips; somebody's only picture is taken as long as a head fits.
LENIENT = ChoosingOptions(
    min_frames=2, min_size=48.0, min_sharpness=0.0, max_outside=0.6, verify=False, per_identity=0, max_flip_error=12.0
)


def make_dataset_of(source: Path, dest: Path, resolution: int) -> tuple[str, ...]:
    """Align a picture or video, fit its cameras, and write what is found as a dataset.

    Results of the stages are kept beside it, in `<dest>.work`.

    Args:
        resolution: side of the frames, pixels.

    Returns:
        The licences of the models that were used, and sentences about what a training set would leave out.

    Raises:
        UserError: it cannot be read, no face is found in it, or none that a head fits; `dest` exists.
    """
    refuse_existing(dest)
    if source.suffix.lower() not in (*PICTURE_SUFFIXES, *VIDEO_SUFFIXES):
        kinds = ", ".join((*PICTURE_SUFFIXES, *VIDEO_SUFFIXES))
        raise UserError(f"{source} is no picture or video by its name: give one of {kinds}.")
    options = PreprocessOptions(cameras=replace(CameraOptions(), resolution=resolution), choosing=LENIENT)
    place = Workplace(root=dest.with_suffix(".work"), options=options)
    videos, _ = list_sources(source)
    workers = 1 if is_picture(source) else 2
    done = command.run(videos, place, source=source, dest=dest, page=None, redo=(), workers=workers)
    with write_dataset(dest) as writer:
        for record in clip_records(done.outcome, place):
            writer.add(record)
    doubts = (_doubt(place, segment) for segment in done.outcome.taken)
    return (*licences(place), *filter(None, doubts))


def _doubt(place: Workplace, segment: Segment) -> str | None:
    """Return why a training set of this resolution would leave a clip out."""
    side = place.options.cameras.resolution
    fault = fault_of(place.posed(segment), side, ChoosingOptions(min_size=float(side)))
    if fault is None:
        return None
    reason, _, _ = fault.partition(" (--")  # options of another command
    return f"Warning: {segment.name}: {reason}. Expect as much of the result."
