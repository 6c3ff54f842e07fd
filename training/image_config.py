"""The options of images beside clips: which part of the image discriminator's frames they are, and how it changes."""

from dataclasses import dataclass

from dnnlib.errors import UserError
from dnnlib.options import option

IMAGES = "Images beside clips"  # of `train.py --help`


@dataclass(frozen=True, kw_only=True)
class ImagesConfig:
    """Images of another dataset that the image discriminator judges in place of clips' frames (docs/training.md)."""

    share: float = option(
        0.0,
        IMAGES,
        "--image-share",
        "Part of the image discriminator's frames that are of --image-data.",
        low=0,
        below=1,
    )
    share_end: float | None = option(
        None, IMAGES, "--image-share-end", "... to which it changes evenly. [default: it stays]", low=0, below=1
    )
    share_fade_kimg: float | None = option(
        None, IMAGES, "--image-share-fade", "... within so many thousand clips of the run.", above=0
    )

    @property
    def wanted(self) -> bool:
        """Whether there ever are images."""
        return self.share > 0 or bool(self.share_end)

    def check(self, *, frames: int, judged: bool) -> None:
        """Raise a UserError unless the options go together, and with the rest of a configuration.

        Args:
            frames: of a clip, in a sample.
            judged: whether there is an image discriminator.
        """
        if (self.share_end is None) != (self.share_fade_kimg is None):
            raise UserError(
                "--image-share-end says to which share images change, and --image-share-fade within how many thousand "
                "clips: give both or neither."
            )
        if self.wanted and not judged:
            raise UserError("--image-share needs the image discriminator: leave out --no-image-discriminator.")
        if self.wanted and frames == 1:
            raise UserError(
                "--image-share is for samples of clips; single frames are images already: give them as --data."
            )
