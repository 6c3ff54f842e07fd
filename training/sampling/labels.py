"""Labels of pictures: a strip of text above each cell, so that no face is covered."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import torch

from dnnlib.errors import UserError
from training.sampling.options import MAX_SCALE

LEAST_SIZE = 10  # of the font, pixels: the smallest that can be read
SIZE_SHARE = 1 / 16  # of a picture's side
MARGIN = 2  # pixels left and right of a text
TEXT = (255, 255, 255)


class Strips:
    """Strips above the cells of one picture, all of one height: lines about each cell, and the names of its pictures.

    Words about a cell stand in one line if there is room for that in all cells, else each in a line of its own.

    Args:
        cells: words about each cell.
        columns: names of the pictures side by side in each cell; of one alone it needs none.
        side: of each picture, pixels.

    Attributes:
        height: of each strip, pixels: even, as 4:2:0 colour is.
    """

    def __init__(self, cells: Sequence[Sequence[str]], columns: Sequence[str], side: int):
        self.side = side
        self.width = side * len(columns)
        self.columns = list(columns) if len(columns) > 1 else []
        joined = [[", ".join(words)] if words else [] for words in cells]
        fits = all(_width(text, side) <= self.width for words in joined for text in words)
        self.cells = joined if fits else [list(words) for words in cells]
        lines = max(map(len, self.cells)) + bool(self.columns)
        self.height = lines * _line_height(side)
        self.height += self.height % 2

    def check(self, scale: int = 1) -> None:
        """Raise a UserError if a text has no room.

        Args:
            scale: how many times larger pictures are shown than they are made, so far.
        """
        about = [(text, len(self.columns) or 1) for words in self.cells for text in words]
        for text, pictures in about + [(name, 1) for name in self.columns]:
            if _width(text, self.side) > self.side * pictures:
                natural = self.side // scale
                fitting = [
                    s for s in range(scale, MAX_SCALE + 1) if _width(text, natural * s) <= natural * s * pictures
                ]
                remedy = f"give --scale={fitting[0]}" if fitting else "leave them out"
                raise UserError(f"--labels have no room for '{text}' in {self.side * pictures} pixels: {remedy}.")

    def draw(self, place: int) -> torch.Tensor:
        """Return the strip of a cell, uint8 [3, height, width]: white on black, each text in the middle."""
        image = PIL.Image.new("RGB", (self.width, self.height))
        canvas = PIL.ImageDraw.Draw(image)
        line_height = _line_height(self.side)
        texts = [(text, 0, self.width) for text in self.cells[place]]
        rows = list(enumerate(texts))
        last = self.height // line_height - 1
        rows += [(last, (name, number * self.side, self.side)) for number, name in enumerate(self.columns)]
        for row, (text, left, width) in rows:
            start = left + (width - _font(self.side).getlength(text)) // 2
            canvas.text((start, row * line_height), text, fill=TEXT, font=_font(self.side))
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def below(strip: torch.Tensor, frames: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Yield pictures uint8 [3, H, W] with a strip [3, h, W] above each: [3, h + H, W]."""
    return (torch.cat([strip, frame], dim=1) for frame in frames)


@cache
def _font(side: int) -> PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont:
    """Return the font that comes with Pillow, in a size for pictures of so many pixels a side."""
    return PIL.ImageFont.load_default(max(LEAST_SIZE, round(side * SIZE_SHARE)))


def _line_height(side: int) -> int:
    font = _font(side)
    assert isinstance(font, PIL.ImageFont.FreeTypeFont)
    return sum(font.getmetrics())


def _width(text: str, side: int) -> float:
    """Return how many pixels a text takes, with its margins."""
    return _font(side).getlength(text) + 2 * MARGIN
