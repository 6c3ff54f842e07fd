"""How many images are beside clips, and which ones: whole numbers that follow from the number of clips alone.

Of the B clips of an iteration the first ones are judged by the video discriminator alone: the image discriminator
judges as many frames of images in their place. Behind c clips of a run there have been floor(S(c)) such places, S being
the integral of the share, computed exactly. So nothing needs to be remembered, and nothing depends on processes or
passes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from training.config import Config


@dataclass(frozen=True, kw_only=True)
class ImageShare:
    """The share of images over a run.

    Args:
        start, end: shares, in [0, 1).
        fade: clips within which the share goes evenly from `start` to `end`; 0: it is `end` from the beginning.
        batch: clips an iteration.
        frames: of a clip, and so images in a place.
    """

    start: Fraction
    end: Fraction
    fade: Fraction
    batch: int
    frames: int

    @classmethod
    def of(cls, config: Config) -> "ImageShare":
        """Return the share of a configuration; decimals count as they are written."""
        images = config.images
        end = images.share if images.share_end is None else images.share_end
        return cls(
            start=_exactly(images.share),
            end=_exactly(end),
            fade=_exactly(images.share_fade_kimg or 0.0) * 1000,
            batch=config.training.batch,
            frames=config.training.frames,
        )

    def at(self, clips: int) -> float:
        """Return the share behind so many clips of the run."""
        if clips >= self.fade:
            return float(self.end)
        return float(self.start + (self.end - self.start) * clips / self.fade)

    def places_before(self, clips: int) -> int:
        """Return in how many places there have been images behind so many clips of the run."""
        fading = min(Fraction(clips), self.fade)
        total = self.end * (clips - fading)
        if fading:
            total += self.start * fading + (self.end - self.start) * fading**2 / (2 * self.fade)
        return math.floor(total)

    def places(self, clips: int) -> int:
        """Return how many of the next iteration's clips have images in their place, the first ones; `clips` before."""
        return self.places_before(clips + self.batch) - self.places_before(clips)

    def statistics(self, clips: int) -> dict[str, float]:
        """Return the share behind so many clips, and thousands of images until then; nothing if there never are any."""
        if not (self.start or self.end):
            return {}
        images = self.places_before(clips) * self.frames
        return {"schedule/image_share": self.at(clips), "schedule/image_kimg": images / 1000}

    def images_in_place_of(self, clip: int) -> Sequence[int]:
        """Return the numbers of the images in the place of clip number `clip` of the run, none where it keeps it."""
        before = clip - clip % self.batch
        place = clip - before
        if place >= self.places(before):
            return range(0)
        first = (self.places_before(before) + place) * self.frames
        return range(first, first + self.frames)


def _exactly(value: float) -> Fraction:
    """Return a number as its shortest decimal has it: 0.29 is 29 / 100."""
    return Fraction(repr(value))
