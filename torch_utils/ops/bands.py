"""Work on images band by band, so that what is worked on stays in the processor's last-level cache."""

from collections.abc import Iterator

import torch

ELEMENTS = 2**17  # of each image, between two operations on it: three images of them fill 1.5 MB


def bands(n: int, height: int, line_bytes: int, most_bytes: int, halo: int = 0) -> Iterator[tuple[slice, slice]]:
    """Yield slices of n images and of their lines, about `most_bytes` together: several whole images, or a part of one.

    Args:
        line_bytes: what one line takes.
        halo: lines that are worked on beside those of a band.
    """
    lines = max(most_bytes // line_bytes, 1)
    images = max(lines // (height + halo), 1)
    for image in range(0, n, images):
        for line in range(0, height, lines):
            last_image = min(image + images, n)
            last_line = min(line + lines, height)
            yield slice(image, last_image), slice(line, last_line)


def image_bands(*images: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield parts [pixels, C] of large images [N, C, H, W], the same of each: views, to work on one after the other.

    Several operations on a part find it in the cache, where on whole images each would read main memory. Images that
    are small, not on a CPU, or not channels-last come back whole.
    """
    if images[0].numel() <= ELEMENTS or not all(_has_rows(image) for image in images):
        yield images
        return
    pixels = max(ELEMENTS // images[0].shape[1], 1)
    rows = [image.permute(0, 2, 3, 1).flatten(0, 2) for image in images]
    yield from zip(*(row.split(pixels) for row in rows), strict=True)


def _has_rows(image: torch.Tensor) -> bool:
    """Return whether an image can be seen as [pixels, C]."""
    on_cpu = image.ndim == 4 and image.device.type == "cpu"
    return on_cpu and image.is_contiguous(memory_format=torch.channels_last)
