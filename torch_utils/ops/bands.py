"""Work on images band by band, so that what is worked on stays in the processor's last-level cache."""

from collections.abc import Iterator


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
