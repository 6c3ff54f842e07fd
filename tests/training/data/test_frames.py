"""training.data.frames: every kind of picture comes out as it looks, upright, or is refused with the true reason."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from tests.hostile.hostile_frames import MAGIC, chunk
from training.data.frames import decode_frame, encode_png, verify_frame

SIDE = 8
ORIENTATION = 0x0112  # the tag of EXIF
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the colour type in a PNG's header
KINDS = [  # colour type, bits a colour, transparent colours
    *((0, bits, clear) for bits in (1, 2, 4, 8) for clear in (b"", struct.pack(">H", 1))),
    *((2, 8, clear) for clear in (b"", struct.pack(">HHH", 1, 2, 3))),
    *((3, bits, clear) for bits in (1, 2, 4, 8) for clear in (b"", b"\0\x80")),
    (4, 8, b""),
    (6, 8, b""),
]


def png(colour: int, bits: int, clear: bytes = b"") -> bytes:
    """Return a PNG of SIDE x SIDE pixels of noise."""
    rng = np.random.default_rng(colour * 100 + bits)
    row_bytes = (SIDE * CHANNELS[colour] * bits + 7) // 8
    rows = b"".join(b"\0" + rng.integers(0, 256, row_bytes, np.uint8).tobytes() for _ in range(SIDE))
    parts = [MAGIC, chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, bits, colour, 0, 0, 0))]
    if colour == 3:
        parts.append(chunk(b"PLTE", rng.integers(0, 256, 3 * 2**bits, np.uint8).tobytes()))
    if clear:
        parts.append(chunk(b"tRNS", clear))
    return b"".join([*parts, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")])


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_png_is_read(kind):
    data = png(*kind)
    expected = np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode_frame(data), expected.transpose(2, 0, 1))
    assert verify_frame(data) == (SIDE, SIDE)


@pytest.mark.parametrize("colour", [0, 2, 4, 6])
def test_sixteen_bits_are_called_so(colour):
    for read in (decode_frame, verify_frame):
        with pytest.raises(ValueError, match="16 bits a colour, not 8"):
            read(png(colour, 16))


@pytest.mark.parametrize("exif", [b"", b"MM\0*\0\0\0\x08"])
def test_a_png_cut_anywhere_is_refused(exif):
    whole = encode_png(np.zeros([3, 8, 8], np.uint8))
    place = whole.index(b"IDAT") - 4
    whole = whole[:place] + chunk(b"eXIf", exif) + whole[place:]
    for length in range(place + 8):
        with pytest.raises(ValueError, match="."):
            decode_frame(whole[:length])


# --- Pictures that are stored sideways --------------------------------------------------------------------------------


def stored_as(orientation: int, kind: str) -> bytes:
    """Return a picture of 24 x 16 pixels whose EXIF says how it is stored."""
    blocks = np.random.default_rng(0).integers(0, 256, [2, 3, 3], np.uint8)
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = orientation
    buffer = io.BytesIO()
    picture = PIL.Image.fromarray(blocks.repeat(SIDE, axis=0).repeat(SIDE, axis=1))
    picture.save(buffer, format=kind, exif=exif, **({"quality": 95} if kind == "jpeg" else {}))
    return buffer.getvalue()


def exif_behind(data: bytes) -> bytes:
    """Return a PNG with its EXIF data moved behind the pixels, where a writer may put them, too."""
    start = data.index(b"eXIf") - 4
    pixels = data.index(b"IDAT") - 4
    end = len(data) - len(chunk(b"IEND", b""))
    assert start < pixels
    return data[:start] + data[pixels:end] + data[start:pixels] + data[end:]


FORMS = [
    pytest.param(stored_as, "jpeg", id="jpeg"),
    pytest.param(stored_as, "png", id="png"),
    pytest.param(lambda orientation, kind: exif_behind(stored_as(orientation, kind)), "png", id="png, behind"),
]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("make", "kind"), FORMS)
def test_pictures_stored_sideways_come_out_upright(make, kind, orientation):
    data = make(orientation, kind)
    image = PIL.Image.open(io.BytesIO(data))
    expected = np.asarray(PIL.ImageOps.exif_transpose(image)).transpose(2, 0, 1)
    upright = decode_frame(data)
    assert np.array_equal(upright, expected)
    assert verify_frame(data) == upright.shape[1:] == ((24, 16) if orientation > 4 else (16, 24))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("exif", [b"", b"\0", b"Exif\0\0", b"MM\0*\0\0\0\xff", b"II*\0\x08\0\0\0\xff\xff" + bytes(40)])
def test_exif_data_without_sense_turn_nothing(exif):
    picture = encode_png(np.random.default_rng(0).integers(0, 256, [3, 8, 16], np.uint8))
    end = chunk(b"IEND", b"")
    data = picture.removesuffix(end) + chunk(b"eXIf", exif) + end
    assert np.array_equal(decode_frame(data), decode_frame(picture))


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_unknown_orientations_turn_nothing(orientation):
    assert decode_frame(stored_as(orientation, "png")).shape == (3, 16, 24)
